"""Money: whole minor units of one currency, never a float."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from contract.types import END, Payload, Resource

# A price or a payment; sums stay within what JavaScript can count to.
AMOUNT_MAX = 10**12
TOTAL_MAX = 2**53 - 1

Amount = Annotated[int, Meta(ge=0, le=AMOUNT_MAX, description="whole minor units (cents, paise)")]
PositiveAmount = Annotated[int, Meta(ge=1, le=AMOUNT_MAX, description="whole minor units (cents, paise)")]
Currency = Annotated[str, Meta(max_length=3, pattern="^[A-Z]{3}" + END, description="ISO 4217")]


class Price(Payload):
    """What something costs; as a client sends it."""

    amount: Amount
    currency: Currency


class PositiveMoney(Payload):
    """What a client pays."""

    amount: PositiveAmount
    currency: Currency


class Money(Resource):
    """An amount, as the server sends it."""

    amount: int
    currency: str
