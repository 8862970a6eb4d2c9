"""The conversations collection, with a short memory of documents for the path of a message.

The memory answers "may this person write here, and what is the next seq?" without a round trip. It is a hint: the
message's unique (conversation, seq) decides, membership changes are told to every process over the bus, and an entry
is believed for CACHE_S at most.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pymongo import UpdateOne
from pymongo.errors import DuplicateKeyError

from models.context import now
from realtime.bus import Bus
from storage.batch import Batches
from storage.mongo import Database, Document

CACHE_S = 5.0
CACHE_MAX = 20_000
HEALED_KEPT = 256


def _head_before(message: Document) -> Document:
    return {"_id": message["conversation_id"], "last_seq": message["seq"] - 1}


def _advance(message: Document) -> Document:
    return {
        "$set": {"last_seq": message["seq"], "last_message": without_words(message)},
        "$max": {"updated_at": message["created_at"], "touched_at": message["created_at"]},
        "$inc": {f"members.{message['sender_id']}.sent": 1},
    }


def without_words(message: Document) -> Document:
    """The copy of a message that a conversation keeps: search looks only at the original."""
    return {name: value for name, value in message.items() if name != "words"}


def _was_moved_by_inserter(message: Document, conversation: Document | None) -> bool:
    if conversation is None or conversation["last_seq"] < message["seq"]:
        return False
    return message["seq"] not in conversation.get("healed", ())


class ConversationStore:
    def __init__(self, database: Database, bus: Bus) -> None:
        self._conversations = database.collection("conversations")
        self._advances = Batches(self._advance_batch)
        self._cache: OrderedDict[str, tuple[float, Document]] = OrderedDict()
        self._forgotten_at: OrderedDict[str, float] = OrderedDict()
        self._bus = bus
        bus.subscribe("conversation_changed", self._forget)

    async def insert(self, document: Document) -> bool:
        """False if its direct_key or create_key exists already."""
        try:
            await self._conversations.insert_one(document)
        except DuplicateKeyError:
            return False
        return True

    async def find(self, conversation_id: str) -> Document | None:
        asked_at = time.monotonic()
        found: Document | None = await self._conversations.find_one({"_id": conversation_id})
        # What was read before a change that we were told of meanwhile must not come back as what we remember.
        if found is not None and self._forgotten_at.get(conversation_id, 0.0) < asked_at:
            self._remember(found)
        return found

    async def find_by(self, field: str, value: str) -> Document | None:
        found: Document | None = await self._conversations.find_one({field: value})
        return found

    async def recent(self, conversation_id: str) -> Document | None:
        """From memory if it is fresh, else from the database. Only for what a unique index decides in the end."""
        entry = self._cache.get(conversation_id)
        if entry is not None and entry[0] > time.monotonic():
            return entry[1]
        return await self.find(conversation_id)

    async def of_user(self, user_id: str, before: datetime | None = None) -> list[Document]:
        """All of a user's conversations active up to `before`, newest activity first."""
        query: dict[str, Any] = {"participant_ids": user_id}
        if before is not None:
            query["updated_at"] = {"$lte": before}
        found: list[Document] = await self._conversations.find(query).to_list(None)
        found.sort(key=lambda document: (document["updated_at"], document["_id"]), reverse=True)
        return found

    async def shared(self, user_id: str, others: Sequence[str]) -> set[str]:
        """Which of the others share a conversation with the user."""
        query = {"participant_ids": user_id}
        found = await self._conversations.find(query, {"participant_ids": 1}).to_list(None)
        known = {participant for document in found for participant in document["participant_ids"]}
        return known.intersection(others)

    async def advance(self, message: Document, own: bool) -> bool:
        """Moves the head on to this message if it is the next one, and says whether this call did.

        `own`: the caller has just inserted the message. Anyone else who moves the head over it leaves its seq in
        `healed`, which is how its inserter, whose batch tells only totals, learns that it was late.
        """
        if own:
            moved = await self._advances.submit(message)
        else:
            update = _advance(message)
            update["$push"] = {"healed": {"$each": [message["seq"]], "$slice": -HEALED_KEPT}}
            moved = bool((await self._conversations.update_one(_head_before(message), update)).modified_count)
        entry = self._cache.get(message["conversation_id"])
        if entry is not None and moved and entry[1]["last_seq"] == message["seq"] - 1:
            # All that the update changed, at once: whoever holds this document may count with it.
            entry[1]["last_seq"] = message["seq"]
            entry[1]["last_message"] = message
            if message["sender_id"] in entry[1]["members"]:
                entry[1]["members"][message["sender_id"]]["sent"] += 1
        return moved

    async def _advance_batch(self, messages: Sequence[Document]) -> list[bool]:
        """One message per conversation, which the log's locks see to."""
        writes = [UpdateOne(_head_before(message), _advance(message)) for message in messages]
        result = await self._conversations.bulk_write(writes, ordered=False)
        if result.matched_count == len(messages):
            return [True] * len(messages)
        ids = [message["conversation_id"] for message in messages]
        cursor = self._conversations.find({"_id": {"$in": ids}}, {"last_seq": 1, "healed": 1})
        now_at = {found["_id"]: found for found in await cursor.to_list(None)}
        return [_was_moved_by_inserter(message, now_at.get(message["conversation_id"])) for message in messages]

    async def mark(self, conversation_id: str, user_id: str, marks: dict[str, int], at: datetime) -> None:
        """Raises high-water marks; a lower value changes nothing."""
        changes: dict[str, Any] = {f"members.{user_id}.{name}": value for name, value in marks.items()}
        changes["touched_at"] = at
        await self._conversations.update_one({"_id": conversation_id, "participant_ids": user_id}, {"$max": changes})

    async def change(self, query: dict[str, Any], change: dict[str, Any]) -> bool:
        """Any other change; tells every process to forget what it remembers. False if the query matched nothing."""
        change = {**change, "$max": {"touched_at": now()}}
        result = await self._conversations.update_one(query, change)
        if result.matched_count:
            await self._bus.publish("conversation_changed", {"id": query["_id"]})
        return bool(result.matched_count)

    async def rename_member(self, user_id: str, name: str) -> list[str]:
        found = await self._conversations.find({"participant_ids": user_id}, {"_id": 1}).to_list(None)
        for document in found:
            await self.change({"_id": document["_id"]}, {"$set": {f"members.{user_id}.name": name}})
        return [document["_id"] for document in found]

    async def touch(self, message: Document) -> None:
        """A message was changed: the copy on the conversation follows, if it is of this message and older."""
        conversation_id = message["conversation_id"]
        await self._conversations.update_one({"_id": conversation_id}, {"$max": {"touched_at": now()}})
        last = without_words(message)
        result = await self._conversations.update_one(
            {
                "_id": conversation_id, "last_seq": message["seq"],
                "last_message.version": {"$lt": message["version"]},
            },
            {"$set": {"last_message": last}},
        )  # fmt: skip
        if result.modified_count:
            self._cache.pop(conversation_id, None)

    def _remember(self, document: Document) -> None:
        self._cache[document["_id"]] = (time.monotonic() + CACHE_S, document)
        self._cache.move_to_end(document["_id"])
        while len(self._cache) > CACHE_MAX:
            self._cache.popitem(last=False)

    async def _forget(self, data: dict[str, Any]) -> None:
        self._cache.pop(data["id"], None)
        self._forgotten_at[data["id"]] = time.monotonic()
        self._forgotten_at.move_to_end(data["id"])
        while len(self._forgotten_at) > CACHE_MAX:
            self._forgotten_at.popitem(last=False)
