"""A step of an offer, as one transaction.

The offer, the message of it in the conversation's sequence, the transfers in the ledger and the job that will tell of
its expiry are all there or none is.

Of several steps for one version one wins, because a step is a compare-and-set on the version inside its transaction;
the others are told what the offer is now.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from contract import offers as contract
from contract.errors import ParleyError
from models.context import now
from models.conversations.actions import Conversations
from models.jobs.actions import Jobs
from models.messages.actions import Messages
from models.messages.document import draft
from models.offers.document import other_party, status_at, to_offer
from models.offers.machine import after, find
from models.offers.settlement import Moved, Settlement
from models.offers.store import OfferStore
from models.rules.actions import Rules
from storage.mongo import Database, Document, Transaction

_SAID: dict[contract.Action, str] = {
    "create": "made an offer", "counter": "made a counter-offer", "accept": "accepted the offer",
    "decline": "declined the offer", "withdraw": "withdrew the offer", "expire": "The offer has expired",
    "fulfil": "marked the offer as fulfilled", "cancel": "cancelled the offer",
}  # fmt: skip


@dataclass(slots=True)
class Wish:
    """A step that someone wants to take. `changes` is what a counter-offer puts on the table.

    `sender` is whose message tells of it: an expiry's is that of the one whose proposal has expired. `rule_ids`: the
    seller's rules took it.
    """

    action: contract.Action
    by: str
    sender: str
    version: int
    client_id: str
    fingerprint: str
    note: str | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    amount: int | None = None
    rule_ids: list[str] | None = None


class Steps:
    def __init__(
        self, store: OfferStore, database: Database, conversations: Conversations, messages: Messages,
        settlement: Settlement, rules: Rules, jobs: Jobs,
    ) -> None:  # fmt: skip
        self._store = store
        self._database = database
        self._conversations = conversations
        self._messages = messages
        self._settlement = settlement
        self._rules = rules
        self._jobs = jobs

    async def first(self, offer: Document, wish: Wish, note: str | None) -> None:
        """Makes the offer. Raises ClientIdTaken."""
        wish.note = note
        offer["history"] = [_entry(offer, wish)]

        async def write(seq: int) -> Document:
            async def work(tx: Transaction) -> Document:
                # First, so that one that was done before is known by its message, whatever else is there already.
                message = await self._message(offer, wish, seq, tx)
                await self._store.insert(offer, tx)
                await self._foresee(offer, tx)
                return message

            return await self._database.transact(work)

        await self._messages.commit(offer["conversation_id"], write)
        await self._announce(offer)

    async def take(self, offer: Document, wish: Wish) -> tuple[Document, Moved | None]:
        """(the offer after the step, what was moved for it). Raises ClientIdTaken."""
        taken: list[tuple[Document, Moved | None]] = []

        async def write(seq: int) -> Document:
            async def work(tx: Transaction) -> tuple[Document, Document, Moved | None]:
                current = await self._store.find(offer["_id"], tx)
                assert current is not None
                stepped, moved = await self._apply(current, wish, tx)
                return await self._message(stepped, wish, seq, tx), stepped, moved

            if wish.action in ("accept", "counter"):
                await self._require_both(offer)
            message, stepped, moved = await self._database.transact(work)
            taken[:] = [(stepped, moved)]
            return message

        # The turn first: whoever waits for it must not hold up the conversation.
        async with self._settlement.turn(offer):
            await self._messages.commit(offer["conversation_id"], write)
        await self._announce(taken[0][0])
        return taken[0]

    async def _require_both(self, offer: Document) -> None:
        """Nobody is bound to anything new after one of the two has left; out of it they may get at any time."""
        conversation = await self._conversations.find(offer["conversation_id"])
        if conversation is None or not set(offer["party_ids"]) <= set(conversation["participant_ids"]):
            raise ParleyError("not_a_participant", "One of the two is not in the conversation any more.")

    def check(self, offer: Document, wish: Wish, at: datetime) -> contract.Status:
        """The state that the step leads to. Raises, with the offer as it is, if it may not be taken at that moment."""
        state = status_at(offer, at)
        if wish.action == "expire":
            if offer["status"] == "pending" and state != "expired":
                raise ParleyError("conflict", "The offer has not expired yet.")
            state = offer["status"]
        buyer_id, seller_id = offer["party_ids"]
        try:
            if state in ("pending", "accepted"):
                if wish.version != offer["version"]:
                    raise ParleyError("offer_version_stale")
                if wish.action == "counter" and offer["version"] >= contract.VERSIONS_MAX:
                    raise ParleyError("offer_closed", f"An offer has at most {contract.VERSIONS_MAX} versions.")
            return find(state, wish.action, wish.by, offer["awaiting_user_id"], (buyer_id, seller_id)).next
        except ParleyError as error:
            error.details = {"offer": _plain(offer)}
            raise

    async def _apply(
        self, offer: Document, wish: Wish, tx: Transaction
    ) -> tuple[Document, Moved | None]:  # fmt: skip
        """(the offer after the step, what was moved for it)."""
        # One moment for the check and the step: a counter-offer that keeps its expiry must not be written after it.
        at = max(now(), offer["updated_at"])
        status = self.check(offer, wish, at)
        awaiting = other_party(offer, wish.by) if status == "pending" else None
        fields: dict[str, Any] = {
            **wish.changes, "status": status, "version": offer["version"] + 1, "awaiting_user_id": awaiting,
            "updated_at": at,
        }  # fmt: skip
        moved = await self._settlement.settle({**offer, **fields}, wish.action, wish.by, wish.amount, tx)
        if moved is not None:
            fields |= moved.fields
        stepped = {**offer, **fields}
        step = _entry(stepped, wish)
        if wish.action == "counter" and _size([*offer["history"], step]) > contract.HISTORY_BYTES_MAX:
            raise ParleyError("offer_closed", "The history of this offer is as large as one may be.")
        await self._store.step(offer, fields, step, tx)
        if status == "pending":
            await self._foresee(stepped, tx)
        return {**stepped, "history": [*offer["history"], step]}, moved

    async def _message(self, offer: Document, wish: Wish, seq: int, tx: Transaction) -> Document:
        said = _SAID[wish.action] + (" (by a rule)" if wish.rule_ids is not None else "")
        made = draft(wish.sender, wish.client_id, "offer", said, now(), fingerprint=wish.fingerprint)
        made["offer"] = {
            "offer_id": offer["_id"], "version": offer["version"], "action": wish.action, "status": offer["status"],
            "total": offer["total"],
        }  # fmt: skip
        return await self._messages.place(offer["conversation_id"], seq, made, tx)

    async def _foresee(self, offer: Document, tx: Transaction) -> None:
        """What will happen if nobody answers: the seller's rules do, and in the end it expires.

        That it has expired is so without the job, which writes it and tells.
        """
        what = {"offer_id": offer["_id"], "version": offer["version"]}
        await self._jobs.add("offer.expire", what, tx, offer["expires_at"])
        if offer["awaiting_user_id"] == offer["seller_id"] and await self._rules.has_any(offer["seller_id"], tx):
            await self._jobs.add("offer.answer", what, tx)

    async def _announce(self, offer: Document) -> None:
        if offer["awaiting_user_id"] == offer["seller_id"]:
            await self._jobs.announce()


def _entry(offer: Document, wish: Wish) -> Document:
    """An entry of the history of the offer as it is after the step."""
    assert after(wish.action) == offer["status"]
    table = {name: offer[name] for name in ("version", "items", "total", "terms", "expires_at")}
    return {
        **table, "action": wish.action, "by": wish.by, "note": wish.note, "rule_ids": wish.rule_ids,
        "at": offer["updated_at"],
    }  # fmt: skip


def _size(history: list[Document]) -> int:
    return len(msgspec.json.encode(history))


def _plain(offer: Document) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(to_offer(offer, now()))
    return plain
