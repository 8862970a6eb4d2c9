"""What people can do with an offer. A step is one transaction: the offer, the message of it in the conversation's
sequence, and the transfers in the ledger are all there or none is.

Of several steps for one version one wins, because a step is a compare-and-set on the version inside its transaction;
the others are told what the offer is now. A repeat finds the message that its first time left under the same client_id,
and gets the offer as it was then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import msgspec

from contract import offers as contract
from contract.errors import ParleyError, invalid
from contract.rooms import user_room
from models.context import Context, new_id, now
from models.conversations.actions import Conversations
from models.messages.actions import ClientIdTaken, Messages
from models.messages.document import draft, payload_hash
from models.offers.document import as_of, other_party, status_at, to_offer
from models.offers.machine import after, find
from models.offers.pricing import price
from models.offers.settlement import Moved, Settlement
from models.offers.store import OfferStore
from models.paging import decode_place, encode_place
from realtime.publisher import Publisher
from storage.mongo import Database, Document, Transaction

_SAID: dict[contract.Action, str] = {
    "create": "made an offer", "counter": "made a counter-offer", "accept": "accepted the offer",
    "decline": "declined the offer", "withdraw": "withdrew the offer", "expire": "The offer has expired",
    "fulfil": "marked the offer as fulfilled", "cancel": "cancelled the offer",
}  # fmt: skip


@dataclass(slots=True)
class _Wish:
    """A step that someone wants to take. `changes` is what a counter-offer puts on the table."""

    action: contract.Action
    by: str
    version: int
    client_id: str
    fingerprint: str
    note: str | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    amount: int | None = None


class Offers:
    def __init__(
        self, store: OfferStore, database: Database, conversations: Conversations, messages: Messages,
        settlement: Settlement, publisher: Publisher,
    ) -> None:  # fmt: skip
        self._store = store
        self._database = database
        self._conversations = conversations
        self._messages = messages
        self._settlement = settlement
        self._publisher = publisher

    # Commands

    async def create(self, context: Context, payload: contract.CreateOffer) -> contract.OfferData:
        conversation = await self._conversations.require_recent(context.user_id, payload.conversation_id)
        other = _other(conversation, context.user_id, payload.to_user_id)
        items, total = price(payload.items)
        fingerprint = payload_hash("offer:create", payload)
        if (repeated := await self._repeated(context, payload.client_id, fingerprint)) is not None:
            return repeated
        at = now()
        parties = (context.user_id, other) if payload.side == "buy" else (other, context.user_id)
        offer: Document = {
            "_id": new_id("o"), "conversation_id": payload.conversation_id, "party_ids": list(parties),
            "buyer_id": parties[0], "seller_id": parties[1], "status": "pending", "version": 1,
            "created_by": context.user_id, "awaiting_user_id": other, "items": items, "total": total,
            "terms": payload.terms, "settlement": payload.settlement,
            "expires_at": at + timedelta(seconds=payload.expires_in_s), "hold_id": None, "captured": None,
            "history": [], "created_at": at, "updated_at": at,
        }  # fmt: skip
        offer["history"].append(_step(offer, "create", context.user_id, payload.note))
        wish = _Wish("create", context.user_id, 0, payload.client_id, fingerprint)

        async def write(seq: int) -> Document:
            async def work(session: Transaction) -> Document:
                await self._store.insert(offer, session)
                return await self._message(offer, wish, seq, session)

            return await self._database.transact(work)

        try:
            await self._messages.commit(payload.conversation_id, write)
        except ClientIdTaken:
            return await self._repeat(context, payload.client_id, fingerprint)
        return await self._tell(context.origin, offer, None)

    async def respond(self, context: Context, payload: contract.RespondOffer) -> contract.OfferData:
        changes: dict[str, Any] = {}
        if payload.action == "counter":
            if payload.items is not None:
                changes["items"], changes["total"] = price(payload.items)
            if payload.terms is not None:
                changes["terms"] = payload.terms
            expires_in_s = payload.expires_in_s or contract.EXPIRES_IN_DEFAULT_S
            changes["expires_at"] = now() + timedelta(seconds=expires_in_s)
            if payload.items is None and payload.terms is None and payload.expires_in_s is None:
                raise invalid("items", "a counter-offer changes items, terms or expires_in_s")
        else:
            for name in ("items", "terms", "expires_in_s"):
                if getattr(payload, name) is not None:
                    raise invalid(name, "belongs to a counter-offer")
        wish = self._wish(context, payload.action, payload)
        wish.changes = changes
        return await self._take(context, payload.offer_id, wish)

    async def fulfil(self, context: Context, payload: contract.FulfilOffer) -> contract.OfferData:
        wish = self._wish(context, "fulfil", payload)
        wish.amount = payload.amount
        return await self._take(context, payload.offer_id, wish)

    async def cancel(self, context: Context, payload: contract.CancelOffer) -> contract.OfferData:
        return await self._take(context, payload.offer_id, self._wish(context, "cancel", payload))

    async def get(self, context: Context, payload: contract.OfferTarget) -> contract.OfferData:
        return contract.OfferData(offer=to_offer(await self._require(context.user_id, payload.offer_id), now()))

    async def list_mine(self, context: Context, payload: contract.ListOffers) -> contract.OfferList:
        before, at = decode_place(payload.cursor), now()
        found = [
            document
            for document in await self._store.of_party(context.user_id)
            if (before is None or (document["updated_at"], document["_id"]) < before)
            and payload.conversation_id in (None, document["conversation_id"])
            and payload.status in (None, status_at(document, at))
        ]
        found.sort(key=lambda document: (document["updated_at"], document["_id"]), reverse=True)
        page = found[: payload.limit]
        whole = await self._store.find_many([document["_id"] for document in page])
        return contract.OfferList(
            items=[to_offer(whole[document["_id"]], at) for document in page if document["_id"] in whole],
            next_cursor=encode_place(page[-1]["updated_at"], page[-1]["_id"]) if len(found) > len(page) else None,
        )

    # A step

    @staticmethod
    def _wish(
        context: Context,
        action: contract.Action,
        payload: contract.RespondOffer | contract.FulfilOffer | contract.CancelOffer,
    ) -> _Wish:
        fingerprint = payload_hash(f"offer:{action}", payload)
        return _Wish(action, context.user_id, payload.version, payload.client_id, fingerprint, payload.note)

    async def _require(self, user_id: str, offer_id: str) -> Document:
        offer = await self._store.find(offer_id)
        if offer is None:
            raise ParleyError("not_found", "There is no such offer.")
        if user_id not in offer["party_ids"]:
            raise ParleyError("not_a_participant", "This offer is between others.")
        return offer

    async def _take(self, context: Context, offer_id: str, wish: _Wish) -> contract.OfferData:
        offer = await self._require(context.user_id, offer_id)
        if (repeated := await self._repeated(context, wish.client_id, wish.fingerprint)) is not None:
            return repeated
        await self._conversations.require_recent(context.user_id, offer["conversation_id"])
        self._check(offer, wish)  # again in the transaction; what is refused anyway need not wait for one
        taken: list[tuple[Document, Moved | None]] = []

        async def write(seq: int) -> Document:
            async def work(session: Transaction) -> tuple[Document, Document, Moved | None]:
                current = await self._store.find(offer_id, session)
                assert current is not None
                stepped, moved = await self._apply(current, wish, session)
                return await self._message(stepped, wish, seq, session), stepped, moved

            async with self._settlement.turn(offer):
                message, stepped, moved = await self._database.transact(work)
            taken[:] = [(stepped, moved)]
            return message

        try:
            await self._messages.commit(offer["conversation_id"], write)
        except ClientIdTaken:
            return await self._repeat(context, wish.client_id, wish.fingerprint)
        stepped, moved = taken[0]
        return await self._tell(context.origin, stepped, moved)

    def _check(self, offer: Document, wish: _Wish) -> contract.Status:
        """The state that the step leads to. Raises, with the offer as it is, if it may not be taken."""
        at = now()
        buyer_id, seller_id = offer["party_ids"]
        try:
            if offer["status"] in ("pending", "accepted") and status_at(offer, at) != "expired":
                if wish.version != offer["version"]:
                    raise ParleyError("offer_version_stale")
                if wish.action == "counter" and offer["version"] >= contract.VERSIONS_MAX:
                    raise ParleyError("offer_closed", f"An offer has at most {contract.VERSIONS_MAX} versions.")
            return find(
                status_at(offer, at), wish.action, wish.by, offer["awaiting_user_id"], (buyer_id, seller_id)
            ).next  # fmt: skip
        except ParleyError as error:
            error.details = {"offer": _plain(offer)}
            raise

    async def _apply(
        self, offer: Document, wish: _Wish, session: Transaction
    ) -> tuple[Document, Moved | None]:  # fmt: skip
        """(the offer after the step, what was moved for it)."""
        status = self._check(offer, wish)
        at = max(now(), offer["updated_at"])
        awaiting = other_party(offer, wish.by) if status == "pending" else None
        fields: dict[str, Any] = {
            **wish.changes, "status": status, "version": offer["version"] + 1, "awaiting_user_id": awaiting,
            "updated_at": at,
        }  # fmt: skip
        moved = await self._settlement.settle({**offer, **fields}, wish.action, wish.by, wish.amount, session)
        if moved is not None:
            fields |= moved.fields
        stepped = {**offer, **fields}
        step = _step(stepped, wish.action, wish.by, wish.note)
        await self._store.step(offer, fields, step, session)
        return {**stepped, "history": [*offer["history"], step]}, moved

    async def _message(self, offer: Document, wish: _Wish, seq: int, session: Transaction) -> Document:
        made = draft(wish.by, wish.client_id, "offer", _SAID[wish.action], now(), fingerprint=wish.fingerprint)
        made["offer"] = {
            "offer_id": offer["_id"], "version": offer["version"], "action": wish.action, "status": offer["status"],
            "total": offer["total"],
        }  # fmt: skip
        return await self._messages.place(offer["conversation_id"], seq, made, session)

    # Telling

    async def _repeated(self, context: Context, client_id: str, fingerprint: str) -> contract.OfferData | None:
        """What the command got the first time, if this is not the first."""
        message = await self._messages.repeated(context.user_id, client_id, fingerprint)
        if message is None:
            return None
        offer = await self._require(context.user_id, message["offer"]["offer_id"])
        return contract.OfferData(offer=to_offer(as_of(offer, message["offer"]["version"]), now()), duplicate=True)

    async def _repeat(self, context: Context, client_id: str, fingerprint: str) -> contract.OfferData:
        data = await self._repeated(context, client_id, fingerprint)
        if data is None:
            raise ParleyError("conflict")
        return data

    async def _tell(self, origin: str | None, offer: Document, moved: Moved | None) -> contract.OfferData:
        data = contract.OfferData(offer=to_offer(offer, now()))
        await self._publisher.publish(contract.UPDATED, _rooms(offer["party_ids"]), data, origin=origin)
        if moved is not None:
            await self._settlement.tell(moved)
        return data


def _other(conversation: Document, user_id: str, to_user_id: str | None) -> str:
    """Whom the offer is made to."""
    others = [participant for participant in conversation["participant_ids"] if participant != user_id]
    if conversation["type"] == "direct" and to_user_id in (None, *others):
        return str(others[0])
    if to_user_id is None:
        raise invalid("to_user_id", "is needed in a group")
    if to_user_id not in others:
        raise invalid("to_user_id", "is not another participant of this conversation")
    return to_user_id


def _step(offer: Document, action: contract.Action, by: str, note: str | None) -> Document:
    """An entry of the history of the offer as it is after the step."""
    assert after(action) == offer["status"]
    table = {name: offer[name] for name in ("version", "items", "total", "terms", "expires_at")}
    return {**table, "action": action, "by": by, "note": note, "at": offer["updated_at"]}


def _rooms(user_ids: Sequence[str]) -> list[str]:
    return [user_room(user_id) for user_id in user_ids]


def _plain(offer: Document) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(to_offer(offer, now()))
    return plain
