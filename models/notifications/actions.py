"""Notifications in the app: what to tell whom, what they have read, and what they do not want to hear.

A user keeps the newest KEPT_MAX; older ones are forgotten when new ones come.
"""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from contract import system
from contract.chat import Message
from contract.errors import invalid
from contract.rooms import user_room
from models.context import Context, now
from models.notifications.document import to_notification
from models.notifications.store import NotificationStore
from models.paging import decode_place, encode_place
from realtime.publisher import Publisher
from storage.mongo import Document

KEPT_MAX = 500
EXCERPT_CHARS = 140


class Notifications:
    def __init__(self, store: NotificationStore, publisher: Publisher) -> None:
        self._store = store
        self._publisher = publisher

    # What other nouns tell

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
        ids = {user_id: f"n_{message.id}_{user_id}" for user_id in user_ids if user_id != message.sender_id}
        await self._tell(ids, "mention", f"{by} mentioned you", message.text[:EXCERPT_CHARS], data)

    async def _tell(self, ids: dict[str, str], kind: system.Kind, title: str, body: str, data: dict[str, Any]) -> None:
        muted = await self._store.muted_kinds(list(ids)) if ids else {}
        documents: list[Document] = [
            {
                "_id": identifier, "user_id": user_id, "kind": kind, "title": title, "body": body, "data": data,
                "read_at": None, "created_at": now(),
            }
            for user_id, identifier in ids.items()
            if kind not in muted.get(user_id, ())
        ]  # fmt: skip
        if not documents:
            return
        for document in await self._store.insert(documents):
            event = system.NotificationEvent(notification=to_notification(document))
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
        more = len(matching) > payload.limit
        return system.NotificationList(
            items=[to_notification(document) for document in page],
            next_cursor=encode_place(page[-1]["created_at"], page[-1]["_id"]) if more else None,
            unread=sum(document["read_at"] is None for document in everything),
        )

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
