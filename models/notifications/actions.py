"""Notifications in the app: what to tell whom, what they have read, and what they do not want to hear.

A user keeps the newest KEPT_MAX; older ones are forgotten when new ones come. One of a mention does not keep what the
message says: whoever looks at it reads the message as it is now, if they may see it now. So nothing that was edited or
deleted, or is said among people who one is not among any more, lives on here, whatever died on the way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from msgspec import UNSET

from contract import system
from contract.chat import Message
from contract.errors import invalid
from contract.rooms import user_room
from contract.text import excerpt
from models.context import Actions, Context, now
from models.conversations.actions import Conversations
from models.conversations.document import id_of
from models.notifications.document import to_notification
from models.notifications.store import NotificationStore
from models.paging import decode_place, encode_place
from realtime.publisher import Publisher
from storage.mongo import Document

KEPT_MAX = 500
EXCERPT_CHARS = 140


class Messages(Protocol):
    """What the notifications ask of the messages."""

    async def find_many(self, identifiers: Iterable[str]) -> list[Document]: ...


class Notifications:
    def __init__(
        self, store: NotificationStore, messages: Messages, conversations: Conversations, publisher: Publisher
    ) -> None:
        self._store = store
        self._messages = messages
        self._conversations = conversations
        self._publisher = publisher

    # What other nouns tell

    def actions(self) -> Actions:
        return {
            system.NOTIFICATIONS: self.list_mine,
            system.NOTIFICATIONS_READ: self.mark_read,
            system.PREFERENCES: self.preferences,
        }

    async def added(self, conversation: Document, by_user_id: str, user_ids: list[str]) -> None:
        by = conversation["members"][by_user_id]["name"]
        title = conversation["title"] or "a group"
        # A second time in the same group is a second notification: the seq they joined at tells them apart.
        joined = {user_id: conversation["members"][user_id]["joined_seq"] for user_id in user_ids}
        await self._tell(
            {user_id: f"n_added_{conversation['_id']}_{seq}_{user_id}" for user_id, seq in joined.items()},
            "conversation_added", f"{by} added you to {title}", "", {"conversation_id": conversation["_id"]},
        )  # fmt: skip

    async def mentioned(self, message: Message, conversation: Document, user_ids: list[str]) -> None:
        by = conversation["members"].get(message.sender_id, {}).get("name", "Someone")  # who has left by now
        data = {"conversation_id": message.conversation_id, "message_id": message.id, "seq": message.seq}
        ids = {user_id: _of_mention(message.id, user_id) for user_id in user_ids if user_id != message.sender_id}
        await self._tell(ids, "mention", f"{by} mentioned you", excerpt(message.text, EXCERPT_CHARS), data)

    async def untold(self, messages: Sequence[Document]) -> list[str]:
        """Ids of those of these messages that mention someone who was not notified of it."""
        ids = {
            _of_mention(id_of(message), user_id): id_of(message)
            for message in messages
            for user_id in message["mentions"]
            if user_id != message["sender_id"]
        }
        there = await self._store.existing(list(ids)) if ids else set()
        return list(dict.fromkeys(about for identifier, about in ids.items() if identifier not in there))

    async def _tell(self, ids: dict[str, str], kind: system.Kind, title: str, body: str, data: dict[str, Any]) -> None:
        muted = await self._store.muted_kinds(list(ids)) if ids else {}
        documents: list[Document] = [
            {
                "_id": identifier, "user_id": user_id, "kind": kind, "title": title, "body": "", "data": data,
                "read_at": None, "created_at": now(),
            }
            for user_id, identifier in ids.items()
            if kind not in muted.get(user_id, ())
        ]  # fmt: skip
        if not documents:
            return
        for document in await self._store.insert(documents):
            event = system.NotificationEvent(notification=to_notification(document, body))
            await self._publisher.publish(system.NOTIFICATION_EVENT, [user_room(document["user_id"])], event)

    # Commands

    async def list_mine(self, context: Context, payload: system.ListNotifications) -> system.NotificationList:
        everything = await self._store.of_user(context.user_id)
        if len(everything) > KEPT_MAX:
            await self._store.forget([document["_id"] for document in everything[KEPT_MAX:]])
            everything = everything[:KEPT_MAX]
        before = decode_place(payload.cursor)
        matching = [
            document
            for document in everything
            if (before is None or (document["created_at"], document["_id"]) < before)
            and payload.kind in (None, document["kind"])
            and payload.unread in (None, document["read_at"] is None)
        ]
        page = matching[: payload.limit]
        bodies = await self._bodies(context.user_id, page)
        more = len(matching) > payload.limit
        return system.NotificationList(
            items=[to_notification(document, bodies.get(document["_id"], "")) for document in page],
            next_cursor=encode_place(page[-1]["created_at"], page[-1]["_id"]) if more else None,
            unread=sum(document["read_at"] is None for document in everything),
        )

    async def _bodies(self, user_id: str, page: Sequence[Document]) -> dict[str, str]:
        """What the messages say that they tell of, where the reader may see them; nothing of a deleted one."""
        about = {document["_id"]: document["data"] for document in page if document["kind"] == "mention"}
        if not about:
            return {}
        messages, joined = await asyncio.gather(
            self._messages.find_many({data["message_id"] for data in about.values()}),
            self._conversations.joined_at(user_id, {data["conversation_id"] for data in about.values()}),
        )
        said = {
            id_of(message): message["text"]
            for message in messages
            if message["deleted_at"] is None and message["seq"] > joined.get(message["conversation_id"], message["seq"])
        }
        return {
            identifier: excerpt(said[data["message_id"]], EXCERPT_CHARS)
            for identifier, data in about.items()
            if data["message_id"] in said
        }

    async def mark_read(self, context: Context, payload: system.ReadNotifications) -> system.NotificationsRead:
        if payload.all == (payload.ids is not None):
            raise invalid("ids", "give either ids or all: true")
        unread = [
            document["_id"] for document in await self._store.of_user(context.user_id) if document["read_at"] is None
        ]
        wanted = set(unread if payload.ids is None else payload.ids)
        marked = [identifier for identifier in unread if identifier in wanted]
        if marked:
            await self._store.mark_read(context.user_id, marked, now())
        return system.NotificationsRead(ids=marked, unread=len(unread) - len(marked))

    async def preferences(self, context: Context, payload: system.SetPreferences) -> system.PreferencesData:
        if payload.muted_kinds is not UNSET:
            await self._store.set_muted_kinds(context.user_id, sorted(set(payload.muted_kinds)))
        muted: Any = (await self._store.muted_kinds([context.user_id])).get(context.user_id, [])
        return system.PreferencesData(preferences=system.Preferences(muted_kinds=muted))


def _of_mention(message_id: str, user_id: str) -> str:
    return f"n_{message_id}_{user_id}"
