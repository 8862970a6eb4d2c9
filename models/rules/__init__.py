"""Rules: how a seller wants offers answered while they are away."""
