"""Jobs: work that follows from a change, and is written down with it."""
