"""The outside world, one package a kind: what we ask of it, and who answers."""
