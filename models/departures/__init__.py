"""Departures: who left which conversation lately, for processes that were not told."""
