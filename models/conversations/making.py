"""Makes conversations. A direct one of two people exists once, and one that is made again under its client_id too."""

from __future__ import annotations

import hashlib

import msgspec

from contract import chat
from contract.errors import ParleyError, invalid
from models.context import Context, new_id, now
from models.conversations.actions import Conversations
from models.conversations.document import direct_key, new_member, to_conversation
from models.conversations.limits import weight
from models.conversations.store import ConversationStore
from models.users.actions import Users
from storage.mongo import Document


def _fingerprint(payload: msgspec.Struct) -> str:
    return hashlib.sha256(msgspec.json.encode(payload, order="deterministic")).hexdigest()


class Making:
    def __init__(self, store: ConversationStore, users: Users, conversations: Conversations) -> None:
        self._store = store
        self._users = users
        self._conversations = conversations

    async def create(self, context: Context, payload: chat.Create) -> chat.ConversationData:
        others = list(dict.fromkeys(payload.participant_ids))
        if context.user_id in others:
            raise invalid("participant_ids", "names the others only; you are in it anyway")
        if payload.type == "direct" and len(others) != 1:
            raise invalid("participant_ids", "a direct conversation has exactly one other person")
        if payload.type == "direct" and payload.title is not None:
            raise invalid("title", "a direct conversation has none")
        names = await self._users.names([context.user_id, *others])
        document = self._new(context, payload, others, names)
        # First: what is there already costs nothing of what one may have.
        if (data := await self._existing(context, document)) is not None:
            return data
        limits = self._conversations.limits
        await limits.make(document)
        if not await self._store.insert(document):
            await limits.not_made(document)
            if (data := await self._existing(context, document)) is not None:
                return data
            raise ParleyError("conflict")
        data = chat.ConversationData(conversation=to_conversation(document, context.user_id))
        await self._conversations.announce(document, context.origin)
        return data

    @staticmethod
    def _new(context: Context, payload: chat.Create, others: list[str], names: dict[str, str]) -> Document:
        at = now()
        everyone = [context.user_id, *others]
        heavy = weight(len(everyone))
        document: Document = {
            "_id": new_id("c"), "type": payload.type, "title": payload.title,
            "create_key": f"{context.user_id}:{payload.client_id}", "create_hash": _fingerprint(payload),
            "participant_ids": everyone,
            "members": {user_id: new_member(names[user_id], "member", 0, heavy) for user_id in everyone},
            "last_seq": 0, "last_message": None, "pinned_message_ids": [], "created_at": at, "updated_at": at,
            "touched_at": at, "changed_at": at,
        }  # fmt: skip
        if payload.type == "group":
            document["members"][context.user_id]["role"] = "owner"
            document["brought"] = len(others)
        else:
            document["direct_key"] = direct_key(*everyone)
        return document

    async def _existing(self, context: Context, wanted: Document) -> chat.ConversationData | None:
        """The conversation that was there first: the same client_id again, or the two people's direct one."""
        found = await self._store.find_by("create_key", wanted["create_key"])
        if found is not None and found["create_hash"] != wanted["create_hash"]:
            raise ParleyError("idempotency_mismatch")
        if found is None and "direct_key" in wanted:
            found = await self._store.find_by("direct_key", wanted["direct_key"])
        if found is None:
            return None
        if found["create_key"] == wanted["create_key"]:  # and the first attempt may not have come to this
            self._conversations.limits.announcing(context.user_id, found)
            await self._conversations.announce(found, context.origin)
        conversation = await self._conversations.show_one(found, context.user_id)
        return chat.ConversationData(conversation=conversation, duplicate=True)
