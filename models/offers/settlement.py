"""How an offer is settled: with `credit` the buyer's credit is held when it is accepted, taken when it is fulfilled,
released when it is cancelled. With `none` the parties see to it themselves, and nothing moves here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from contract import offers
from contract.errors import ParleyError, invalid
from models.ledger.actions import Ledger
from models.ledger.book import Draft
from models.ledger.document import account_id
from models.ledger.telling import tell_changed
from realtime.publisher import Publisher
from storage.mongo import Document, Transaction

CODE = "offer"


@dataclass(frozen=True, slots=True)
class Moved:
    """A transfer that a step made, its accounts after it, and what the offer remembers of it."""

    transfer: Document
    accounts: list[Document]
    fields: dict[str, Any]


class Settlement:
    def __init__(self, ledger: Ledger, publisher: Publisher) -> None:
        self._ledger = ledger
        self._publisher = publisher

    @asynccontextmanager
    async def turn(self, offer: Document) -> AsyncIterator[None]:
        """Steps of this process that move the same people's money do not get into each other's way."""
        async with self._ledger.turn(_accounts(offer) if offer["settlement"] == "credit" else ()):
            yield

    async def settle(
        self, offer: Document, action: offers.Action, by: str, amount: int | None, tx: Transaction
    ) -> Moved | None:
        """`offer` as it is after the step. Raises credit_limit_exceeded or amount_exceeded."""
        if offer["settlement"] == "none":
            if amount is not None:
                raise invalid("amount", "nothing was held for this offer")
            return None
        if action == "accept":
            buyer, seller = _accounts(offer)
            wanted = self._draft(offer, action, by, kind="pending", debit=buyer, credit=seller, amount=_total(offer))
        elif action == "fulfil":
            if by == offer["buyer_id"] and amount is not None and amount < _total(offer):
                raise ParleyError("forbidden", "Only the seller can take less than was agreed.")
            wanted = self._draft(offer, action, by, kind="post", pending_id=offer["hold_id"], amount=amount)
        elif action == "cancel":
            wanted = self._draft(offer, action, by, kind="void", pending_id=offer["hold_id"])
        else:
            return None
        try:
            (transfer,), accounts = await self._ledger.apply([wanted], tx)
        except ParleyError as error:
            if by != offer["buyer_id"]:
                error.details = None  # how much credit the buyer has is the buyer's to know
            raise
        return Moved(transfer, accounts, _remembered(action, transfer))

    @staticmethod
    def _draft(offer: Document, action: offers.Action, by: str, **fields: Any) -> Draft:
        about = {"offer_id": offer["_id"], "conversation_id": offer["conversation_id"]}
        return Draft(key=f"{CODE}:{offer['_id']}:{action}", code=CODE, by=by, about=about, **fields)

    async def tell(self, moved: Moved) -> None:
        """Each of the two hears of their own account."""
        await tell_changed(self._publisher, moved.accounts, moved.transfer)


def _accounts(offer: Document) -> tuple[str, str]:
    """The buyer's, who owes, and the seller's, who is owed."""
    currency = offer["total"]["currency"]
    return (
        account_id(offer["buyer_id"], currency, "payable"),
        account_id(offer["seller_id"], currency, "receivable"),
    )


def _total(offer: Document) -> int:
    total: int = offer["total"]["amount"]
    return total


def _remembered(action: offers.Action, transfer: Document) -> dict[str, Any]:
    if action == "accept":
        return {"hold_id": transfer["_id"]}
    return {"captured": {"amount": transfer["amount"] if action == "fulfil" else 0, "currency": transfer["currency"]}}
