"""What people can do with an offer, and what time does.

A repeat finds the message that its first time left under the same client_id, and gets the offer as it was then.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from contract import offers as contract
from contract import rules as rules_contract
from contract.errors import ParleyError, invalid
from contract.money import TOTAL_MAX
from contract.rooms import user_room
from models.context import Actions, Context, fingerprint, new_id, now
from models.conversations.actions import Conversations
from models.messages.actions import ClientIdTaken, Messages
from models.offers.document import as_of, other_party, status_at, to_offer, to_update
from models.offers.figures import figures
from models.offers.machine import SYSTEM
from models.offers.pricing import price, reprice
from models.offers.settlement import Moved, Settlement
from models.offers.steps import Steps, Wish
from models.offers.store import OfferStore
from models.paging import decode_place, encode_place
from models.rules.actions import Rules
from realtime.publisher import Publisher
from storage.mongo import Document

_FASTER = ("offer_version_stale", "offer_closed", "offer_expired", "offer_not_your_turn")
# Stays open, and is left to people.
_UNABLE = ("amount_exceeded", "credit_limit_exceeded", "not_a_participant")
WHOLE_AT_ONCE = 25  # offers read with their histories: 6 MiB at most
# Longer than any client_id that a client may send, so that nobody can be there before.
BY_ITSELF = "a step that was taken by itself, and by nobody's device:".ljust(64, ".")


class Offers:
    def __init__(
        self, store: OfferStore, steps: Steps, conversations: Conversations, messages: Messages,
        settlement: Settlement, rules: Rules, publisher: Publisher,
    ) -> None:  # fmt: skip
        self._store = store
        self._steps = steps
        self._conversations = conversations
        self._messages = messages
        self._settlement = settlement
        self._rules = rules
        self._publisher = publisher

    # Commands

    def actions(self) -> Actions:
        return {
            contract.CREATE: self.create,
            contract.RESPOND: self.respond,
            contract.FULFIL: self.fulfil,
            contract.CANCEL: self.cancel,
            contract.GET: self.get,
            contract.LIST: self.list_mine,
            rules_contract.FIGURES: self.figures,
        }

    async def create(self, context: Context, payload: contract.CreateOffer) -> contract.OfferData:
        print_ = fingerprint("offer:create", payload)
        if (repeated := await self._repeated(context, payload.client_id, print_)) is not None:
            return repeated
        conversation = await self._conversations.require_recent(context.user_id, payload.conversation_id)
        other = _other(conversation, context.user_id, payload.to_user_id)
        items, total = price(payload.items)
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
        wish = Wish("create", context.user_id, context.user_id, 0, payload.client_id, print_)
        try:
            await self._steps.first(offer, wish, payload.note)
        except ClientIdTaken:
            return await self._repeat(context, payload.client_id, print_)
        return await self._tell(context.origin, offer, None)

    async def respond(self, context: Context, payload: contract.RespondOffer) -> contract.OfferData:
        changes: dict[str, Any] = {}
        if payload.action == "counter":
            if payload.items is not None:
                changes["items"], changes["total"] = price(payload.items)
            if payload.terms is not None:
                changes["terms"] = payload.terms
            if payload.expires_in_s is not None:
                changes["expires_at"] = now() + timedelta(seconds=payload.expires_in_s)
            if not changes:
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
        at = now()
        found = await self._store.page(
            context.user_id, payload.status, payload.conversation_id, at, payload.limit + 1,
            decode_place(payload.cursor),
        )  # fmt: skip
        items, done = await self._whole([document["_id"] for document in found[: payload.limit]], at)
        last = found[done - 1] if len(found) > done else None
        more = encode_place(last["updated_at"], last["_id"]) if last is not None else None
        return contract.OfferList(items=items, next_cursor=more)

    async def _whole(self, offer_ids: Sequence[str], at: datetime) -> tuple[list[contract.Offer], int]:
        """(the offers with their histories, of how many of the ids): a page of long histories is shorter."""
        items: list[contract.Offer] = []
        size = 0
        for start in range(0, len(offer_ids), WHOLE_AT_ONCE):
            batch = offer_ids[start : start + WHOLE_AT_ONCE]
            documents = await self._store.find_many(batch)
            for count, offer_id in enumerate(batch, start + 1):
                if offer_id in documents:
                    items.append(to_offer(documents[offer_id], at))
                    size += len(msgspec.json.encode(items[-1]))
                if size > contract.PAGE_BYTES_MAX:
                    return items, count
        return items, len(offer_ids)

    async def figures(self, context: Context, payload: rules_contract.GetFigures) -> rules_contract.Figures:
        at = now()
        since = at - timedelta(days=payload.days)
        offers = await self._store.changed_since(context.user_id, since, rules_contract.FIGURES_MAX + 1)
        counted, complete = offers[: rules_contract.FIGURES_MAX], len(offers) <= rules_contract.FIGURES_MAX
        return figures(counted, context.user_id, at, complete)

    # A step

    @staticmethod
    def _wish(
        context: Context,
        action: contract.Action,
        payload: contract.RespondOffer | contract.FulfilOffer | contract.CancelOffer,
    ) -> Wish:
        user_id, print_ = context.user_id, fingerprint(f"offer:{action}", payload)
        return Wish(action, user_id, user_id, payload.version, payload.client_id, print_, payload.note)

    async def _require(self, user_id: str, offer_id: str) -> Document:
        offer = await self._store.find(offer_id)
        if offer is None:
            raise ParleyError("not_found", "There is no such offer.")
        if user_id not in offer["party_ids"]:
            raise ParleyError("not_a_participant", "This offer is between others.")
        return offer

    async def _take(self, context: Context, offer_id: str, wish: Wish) -> contract.OfferData:
        offer = await self._require(context.user_id, offer_id)
        if (repeated := await self._repeated(context, wish.client_id, wish.fingerprint)) is not None:
            return repeated
        if "total" in wish.changes and wish.changes["total"]["currency"] != offer["total"]["currency"]:
            raise invalid("items", f"the offer is in {offer['total']['currency']}")
        try:
            # Again in the transaction; what is refused anyway need not wait for one.
            self._steps.check(offer, wish, now())
            stepped, moved = await self._steps.take(offer, wish)
        except ClientIdTaken:
            return await self._repeat(context, wish.client_id, wish.fingerprint)
        except ParleyError:
            # A repeat that overtook its first time is refused because of that, and must not hear that it lost.
            if (repeated := await self._repeated(context, wish.client_id, wish.fingerprint)) is not None:
                return repeated
            raise
        return await self._tell(context.origin, stepped, moved)

    # What happens by itself: jobs

    async def expire(self, what: dict[str, Any]) -> None:
        """An offer's time is over. Nothing, if the offer took another step before or this was done before."""
        offer = await self._store.find(what["offer_id"])
        if offer is None or (offer["status"], offer["version"]) != ("pending", what["version"]):
            return
        proposer = other_party(offer, offer["awaiting_user_id"])
        await self._by_itself(offer, Wish("expire", SYSTEM, proposer, offer["version"], "", ""))

    async def answer(self, what: dict[str, Any]) -> None:
        """The seller's rules answer, as the seller; nothing, if they say nothing or somebody was faster.

        The answer after an acceptance that the buyer's credit does not cover is the one that a lower price would get.
        Were there none, whoever has no credit would learn from the silence which prices are accepted.
        """
        offer = await self._store.find(what["offer_id"])
        if offer is None or (status_at(offer, now()), offer["version"]) != ("pending", what["version"]):
            return
        seller_id = offer["seller_id"]
        if offer["awaiting_user_id"] != seller_id:
            return
        for decision in await self._rules.decide(offer):
            wish = Wish(decision.action, seller_id, seller_id, offer["version"], "", "", rule_ids=decision.rule_ids)
            if decision.action == "counter":
                wish.changes = _countered(offer, decision.prices, now())
                if wish.changes["total"]["amount"] > TOTAL_MAX:
                    return
            if await self._by_itself(offer, wish):
                return

    async def _by_itself(self, offer: Document, wish: Wish) -> bool:
        """False if it may not be taken as things are."""
        wish.client_id = f"{BY_ITSELF} {wish.action} {offer['_id']} {offer['version']}"
        try:
            stepped, moved = await self._steps.take(offer, wish)
        except ClientIdTaken:
            return True  # it was done before
        except ParleyError as error:
            if error.code in (*_FASTER, *_UNABLE):
                return False
            raise
        await self._tell(None, stepped, moved)
        return True

    # Telling

    async def _repeated(self, context: Context, client_id: str, print_: str) -> contract.OfferData | None:
        """What the command got the first time, if this is not the first."""
        message = await self._messages.repeated(context.user_id, client_id, print_)
        if message is None:
            return None
        offer = await self._require(context.user_id, message["offer"]["offer_id"])
        return contract.OfferData(offer=to_offer(as_of(offer, message["offer"]["version"]), now()), duplicate=True)

    async def _repeat(self, context: Context, client_id: str, print_: str) -> contract.OfferData:
        data = await self._repeated(context, client_id, print_)
        if data is None:
            raise ParleyError("conflict")
        return data

    async def _tell(self, origin: str | None, offer: Document, moved: Moved | None) -> contract.OfferData:
        at = now()
        await self._publisher.publish(contract.UPDATED, _rooms(offer["party_ids"]), to_update(offer, at), origin=origin)
        if moved is not None:
            await self._settlement.tell(moved)
        return contract.OfferData(offer=to_offer(offer, at))


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


def _countered(offer: Document, prices: Sequence[int], at: datetime) -> dict[str, Any]:
    """What a rule's counter-offer changes. How long it binds the seller is not for the buyer alone to say."""
    items, total = reprice(offer["items"], prices)
    last = at + timedelta(seconds=contract.EXPIRES_IN_DEFAULT_S)
    return {"items": items, "total": total, "expires_at": min(offer["expires_at"], last)}


def _rooms(user_ids: Sequence[str]) -> list[str]:
    return [user_room(user_id) for user_id in user_ids]
