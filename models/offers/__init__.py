"""Offers: what two people of a conversation haggle over, until one of them ends it."""
