"""`python -m models.offers`: draws the states of an offer, as docs/offers.md shows them."""

from __future__ import annotations

from models.offers.machine import draw

if __name__ == "__main__":
    print(draw(), end="")
