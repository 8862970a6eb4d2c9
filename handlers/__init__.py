"""Socket.IO namespaces, one file each. A handler calls one action and returns what the acknowledgement carries."""
