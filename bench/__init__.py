"""Load generators and seeds. They speak the public contract only and import nothing of the server."""
