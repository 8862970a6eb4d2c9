"""Changes to a conversation that its members should read about: each leaves a system message in the sequence."""

from __future__ import annotations

from functools import partial
from typing import Any

from contract import chat
from contract.errors import ParleyError, invalid
from models.context import Context, new_id, now
from models.conversations.actions import Conversations, split_update
from models.conversations.document import to_conversation
from models.messages.document import draft, message_id, split_id
from models.messages.log import Log
from models.messages.store import MessageStore
from models.notifications.actions import Notifications
from realtime.bus import Bus
from storage.mongo import Document


def _listing(names: list[str]) -> str:
    shown = names[:5]
    rest = len(names) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")


class Membership:
    def __init__(
        self, conversations: Conversations, store: MessageStore, log: Log, notifications: Notifications, bus: Bus
    ) -> None:
        self._conversations = conversations
        self._store = store
        self._log = log
        self._notifications = notifications
        self._bus = bus

    async def create(self, context: Context, payload: chat.Create) -> chat.ConversationData:
        """Makes a conversation; people put into a group are notified. A repeat does what the first attempt did not."""
        data = await self._conversations.create(context, payload)
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
        names = {user_id: document["members"][user_id]["name"] for user_id in document["participant_ids"]}
        if add:
            joined = await self._log.between(document["_id"], partial(self._add, context, document["_id"], add))
            added = _listing([joined["members"][user_id]["name"] for user_id in add])
            await self._say(context, document, f"{names[context.user_id]} added {added}")
        if remove:
            await self._log.between(document["_id"], partial(self._conversations.remove_members, document, remove))
        gone = remove
        if document["members"][context.user_id]["role"] == "owner":
            # A repeat does what its first attempt may not have come to; who was never in it has nothing to end.
            gone = list(dict.fromkeys(payload.remove))
        await self._tell_left(document, gone)
        if remove:
            removed = _listing([names[user_id] for user_id in remove])
            own = remove == [context.user_id]
            await self._say(
                context, document, f"{removed} left" if own else f"{names[context.user_id]} removed {removed}"
            )
        if not payload.add and not payload.remove:
            return chat.ConversationData(conversation=to_conversation(document, context.user_id))
        fresh = await self._conversations.changed(document, context.origin, remove)
        if add:
            await self._notifications.added(joined, context.user_id, add)
        return chat.ConversationData(conversation=to_conversation(fresh, context.user_id))

    async def _add(self, context: Context, conversation_id: str, user_ids: list[str]) -> Document:
        """They come in after the last message, and no message is between the look at the last and their coming in."""
        document = await self._conversations.require(context.user_id, conversation_id)
        await self._conversations.add_members(document, user_ids)
        return await self._conversations.require(context.user_id, conversation_id)

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
        own, shared = split_update(payload)
        await self._check_shared(document, shared)
        if own:
            await self._conversations.set_own(context.user_id, document, own)
        if shared:
            await self._conversations.set_shared(context.user_id, document, shared)
            if shared.get("title", document["title"]) != document["title"]:
                name = document["members"][context.user_id]["name"]
                await self._say(context, document, f"{name} changed the title to “{shared['title']}”")
        if not own and not shared:
            return chat.ConversationData(conversation=to_conversation(document, context.user_id))
        fresh = await self._conversations.changed(document, context.origin)
        return chat.ConversationData(conversation=to_conversation(fresh, context.user_id))

    async def _check_shared(self, document: Document, shared: dict[str, Any]) -> None:
        if "title" in shared and document["type"] == "direct":
            raise invalid("title", "a direct conversation has none")
        pins: list[str] = shared.get("pinned_message_ids", [])
        if pins:
            found = {
                message_id(message["conversation_id"], message["seq"]) for message in await self._store.find_many(pins)
            }
            for index, identifier in enumerate(pins):
                place = split_id(identifier)
                if place is None or place[0] != document["_id"] or identifier not in found:
                    raise invalid(f"pinned_message_ids[{index}]", "is not a message of this conversation")
            shared["pinned_message_ids"] = list(dict.fromkeys(pins))

    async def _tell_left(self, document: Document, user_ids: list[str]) -> None:
        """Every process ends what these people's connections had by being in the conversation."""
        for user_id in user_ids:
            others = [other for other in document["participant_ids"] if other != user_id]
            known = await self._conversations.shared(user_id, others)
            strangers = [other for other in others if other not in known]
            await self._bus.publish(
                "left_conversation",
                {"user_id": user_id, "conversation_id": document["_id"], "strangers": strangers},
            )

    async def _say(self, context: Context, document: Document, text: str) -> None:
        """Appends a system message. Its sender hears of it too: no acknowledgement carries it."""
        await self._log.append(document["_id"], draft(context.user_id, new_id("sys"), "system", text, now()))
