"""What goes over the wire: payloads, commands, events, endpoints, error codes, room names.

This package is the one place where the contract is written. It does no I/O and imports nothing of ours; the
dispatcher, the REST layer, the documentation and the TypeScript types are all derived from it.
"""
