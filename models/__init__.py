"""The domain, one package a noun: its document, its store (the only code that touches the collection), its actions."""
