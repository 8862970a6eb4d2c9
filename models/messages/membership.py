"""Changes to a conversation that its members should read about: each leaves a system message in the sequence."""

from __future__ import annotations

from functools import partial
from typing import Any

from msgspec import UNSET

from contract import chat
from contract.errors import ParleyError, invalid
from models.context import Context, new_id, now
from models.conversations.actions import Conversations
from models.conversations.document import id_of, seq_of
from models.conversations.making import Making
from models.departures.actions import Departures
from models.messages.document import draft
from models.messages.log import Log
from models.messages.store import MessageStore
from models.notifications.actions import Notifications
from realtime.bus import Bus
from storage.mongo import Document


def _split_update(payload: chat.Update) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the caller's own fields, everyone's fields) that were sent."""
    sent = {name: getattr(payload, name) for name in ("muted", "archived", "title", "pinned_message_ids")}
    given = {name: value for name, value in sent.items() if value is not UNSET}
    own: dict[str, Any] = {name: given.pop(name) for name in ("muted", "archived") if name in given}
    return own, given


def _listing(names: list[str]) -> str:
    shown = names[:5]
    rest = len(names) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")


async def strangers_of(user_id: str, document: Document, conversations: Conversations) -> list[str]:
    """Those in the conversation whom someone who is not in it any more shares no other with."""
    others = [other for other in document["participant_ids"] if other != user_id]
    known = await conversations.shared(user_id, others)
    return [other for other in others if other not in known]


class Membership:
    def __init__(
        self, conversations: Conversations, making: Making, departures: Departures, store: MessageStore, log: Log,
        notifications: Notifications, bus: Bus,
    ) -> None:  # fmt: skip
        self._conversations = conversations
        self._making = making
        self._departures = departures
        self._store = store
        self._log = log
        self._notifications = notifications
        self._bus = bus

    async def create(self, context: Context, payload: chat.Create) -> chat.ConversationData:
        """Makes a conversation; people put into a group are notified. A repeat does what the first attempt did not."""
        data = await self._making.create(context, payload)
        if payload.type == "group":
            document = await self._conversations.require(context.user_id, data.conversation.id)
            others = [user_id for user_id in document["participant_ids"] if user_id != context.user_id]
            first = [user_id for user_id in others if document["members"][user_id]["joined_seq"] == 0]
            await self._notifications.added(document, context.user_id, first)
        return data

    async def members(self, context: Context, payload: chat.Members) -> chat.ConversationData:
        document = await self._conversations.require(context.user_id, payload.conversation_id)
        add = [user_id for user_id in dict.fromkeys(payload.add) if user_id not in document["participant_ids"]]
        remove = [user_id for user_id in dict.fromkeys(payload.remove) if user_id in document["participant_ids"]]
        self._authorise(context.user_id, document, payload, remove)
        leaves = not payload.add and payload.remove == [context.user_id]
        if (payload.add or payload.remove) and not leaves:  # whom others put in must always get out
            self._conversations.limits.announcing(context.user_id, document, more=len(add))
        names = {user_id: document["members"][user_id]["name"] for user_id in document["participant_ids"]}
        if add:
            joined = await self._join(context, document, add)
            added = _listing([joined["members"][user_id]["name"] for user_id in add])
            await self._say(context, document, f"{names[context.user_id]} added {added}")
        removed: list[str] = []
        if remove:
            await self._departures.leaving(document["_id"], remove)
            leave = partial(self._conversations.remove_members, document["_id"], remove)
            removed = await self._log.between(document["_id"], leave)
        gone = remove
        if document["members"][context.user_id]["role"] == "owner":
            # A repeat does what its first attempt may not have come to; who was never in it has nothing to end.
            gone = list(dict.fromkeys(payload.remove))
        await self._tell_left(document, gone)
        if removed:
            them = _listing([names[user_id] for user_id in removed])
            own = removed == [context.user_id]
            await self._say(context, document, f"{them} left" if own else f"{names[context.user_id]} removed {them}")
        if not payload.add and not payload.remove:
            return chat.ConversationData(conversation=await self._conversations.show_one(document, context.user_id))
        fresh = await self._conversations.changed(document, context.origin, remove)
        if add:
            await self._notifications.added(joined, context.user_id, add)
        return chat.ConversationData(conversation=await self._conversations.show_one(fresh, context.user_id))

    async def _join(self, context: Context, document: Document, user_ids: list[str]) -> Document:
        names, weight = await self._conversations.admit(context.user_id, document, user_ids)
        try:
            return await self._log.between(document["_id"], partial(self._add, context, document["_id"], names, weight))
        except ParleyError:  # of what else happens nobody knows whether they are in it
            await self._conversations.limits.not_added(document, user_ids, weight)
            raise

    async def _add(self, context: Context, conversation_id: str, names: dict[str, str], weight: int) -> Document:
        """They come in after the last message, and no message is between the look at the last and their coming in."""
        document = await self._conversations.require(context.user_id, conversation_id)
        return await self._conversations.add_members(context.user_id, document, names, weight)

    @staticmethod
    def _authorise(user_id: str, document: Document, payload: chat.Members, remove: list[str]) -> None:
        if document["type"] == "direct":
            raise ParleyError("forbidden", "A direct conversation always has the same two people; make a group.")
        if set(payload.add) & set(payload.remove):
            raise invalid("remove", "names someone who is also in add")
        owner = document["members"][user_id]["role"] == "owner"
        if any(removed != user_id for removed in remove) and not owner:
            raise ParleyError("forbidden", "Only an owner may remove others.")

    async def update(self, context: Context, payload: chat.Update) -> chat.ConversationData:
        document = await self._conversations.require(context.user_id, payload.conversation_id)
        own, shared = _split_update(payload)
        await self._check_shared(context.user_id, document, shared)
        if own:
            await self._conversations.set_own(context.user_id, document, own)
        if shared:
            self._conversations.limits.announcing(context.user_id, document)
            await self._conversations.set_shared(context.user_id, document, shared)
            if shared.get("title", document["title"]) != document["title"]:
                name = document["members"][context.user_id]["name"]
                await self._say(context, document, f"{name} changed the title to “{shared['title']}”")
        if not own and not shared:
            return chat.ConversationData(conversation=await self._conversations.show_one(document, context.user_id))
        fresh = await self._conversations.changed(document, context.origin, only=None if shared else context.user_id)
        return chat.ConversationData(conversation=await self._conversations.show_one(fresh, context.user_id))

    async def _check_shared(self, user_id: str, document: Document, shared: dict[str, Any]) -> None:
        if "title" in shared and document["type"] == "direct":
            raise invalid("title", "a direct conversation has none")
        if "pinned_message_ids" in shared:
            shared["pinned_message_ids"] = await self._pins(user_id, document, shared["pinned_message_ids"])

    async def _pins(self, user_id: str, document: Document, wanted: list[str]) -> list[str]:
        """What is pinned if this person, who sees messages after they joined and no others, wants these."""
        joined_seq = document["members"][user_id]["joined_seq"]
        found = {id_of(message): message for message in await self._store.find_many(wanted)} if wanted else {}
        for index, identifier in enumerate(wanted):
            message = found.get(identifier)
            if message is None or message["conversation_id"] != document["_id"] or message["seq"] <= joined_seq:
                raise invalid(f"pinned_message_ids[{index}]", "is not a message of this conversation")
            if message["deleted_at"] is not None:
                raise invalid(f"pinned_message_ids[{index}]", "was deleted")
        unseen = [each for each in await self._conversations.pinned(document) if seq_of(each) <= joined_seq]
        pins = [*unseen, *dict.fromkeys(wanted)]
        if len(pins) > chat.PINS_MAX:
            before = f"{len(unseen)} of them from before you joined"
            raise invalid("pinned_message_ids", f"a conversation has at most {chat.PINS_MAX}, {before}")
        return pins

    async def _tell_left(self, document: Document, user_ids: list[str]) -> None:
        """Every process ends what these people's connections had by being in the conversation."""
        for user_id in user_ids:
            strangers = await strangers_of(user_id, document, self._conversations)
            await self._bus.publish(
                "left_conversation",
                {"user_id": user_id, "conversation_id": document["_id"], "strangers": strangers},
            )

    async def _say(self, context: Context, document: Document, text: str) -> None:
        """Appends a system message. Its sender hears of it too: no acknowledgement carries it."""
        await self._log.append(document["_id"], draft(context.user_id, new_id("sys"), "system", text, now()))
