"""The MongoDB client, index creation and the embedded database. Motor appears only here and in the store.py files."""
