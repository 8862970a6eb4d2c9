"""The conversations collection, with a short memory of documents for the path of a message.

The memory answers "may this person write here, and what is the next seq?" without a round trip. It is a hint: the
message's unique (conversation, seq) decides, membership changes are told to every process over the bus, and an entry
is believed for CACHE_S at most. Heads are moved in the background, see `heads`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from pymongo import UpdateOne
from pymongo.errors import DuplicateKeyError, PyMongoError

from contract.rooms import user_room
from models.context import now
from models.conversations.heads import TAIL_MAX, Heads, Index, Tail, advance, apply, contiguous
from realtime.bus import Bus
from storage.mongo import Database, Document

log = logging.getLogger("parley.conversations")

CACHE_S = 5.0
CACHE_MAX = 20_000
# Heads move so long after their messages; longer while moving them takes long.
FLUSH_S = 0.2
FLUSH_MAX = 256
PENDING_MAX = 10_000
MOVES_MAX = 20
# A message of another process that is older has not been told of by it, or its head would be here.
ORPHANED_AFTER = timedelta(seconds=5)
TOUCHES_MAX = 10


class ConversationStore:
    def __init__(self, database: Database, bus: Bus, tail: Tail, index: Index, alone: bool) -> None:
        self._conversations = database.collection("conversations")
        self._tail = tail
        self._index = index
        self._alone = alone
        self._heads = Heads(tail, alone)
        self._flushing: asyncio.Task[None] | None = None
        self._cache: OrderedDict[str, tuple[float, Document]] = OrderedDict()
        self._forgotten_at: OrderedDict[str, float] = OrderedDict()
        self._audiences: OrderedDict[str, tuple[list[str], Sequence[str]]] = OrderedDict()
        self._looking_again: set[str] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._bus = bus
        # Called with (conversation_id, last_seq) when messages were found that nobody may have been told of.
        self.orphaned: Callable[[str, int], Awaitable[None]] | None = None
        bus.subscribe("conversation_changed", self._forget)

    async def insert(self, document: Document) -> bool:
        """False if its direct_key or create_key exists already."""
        try:
            await self._conversations.insert_one(document)
        except DuplicateKeyError:
            return False
        return True

    async def find(self, conversation_id: str) -> Document | None:
        """As it is now, messages beyond the stored head included."""
        asked_at = time.monotonic()
        found: Document | None = await self._conversations.find_one({"_id": conversation_id})
        if found is None:
            return None
        await self._bring_up([found])
        # What was read before a change that we were told of meanwhile must not come back as what we remember.
        if self._forgotten_at.get(conversation_id, 0.0) < asked_at:
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

    async def audience(self, conversation_id: str) -> Sequence[str]:
        """The rooms of its participants; nobody, if it is not there."""
        document = await self.recent(conversation_id)
        if document is None:
            return ()
        kept: tuple[list[str], Sequence[str]] | None = self._audiences.get(conversation_id)
        if kept is None or kept[0] is not document["participant_ids"]:
            participants = document["participant_ids"]
            kept = self._audiences[conversation_id] = (participants, [user_room(user_id) for user_id in participants])
            if len(self._audiences) > CACHE_MAX:
                self._audiences.popitem(last=False)
        return kept[1]

    async def of_user(self, user_id: str, before: datetime | None = None) -> list[Document]:
        """All of a user's conversations active up to `before`, newest activity first."""
        query: dict[str, Any] = {"participant_ids": user_id}
        if before is not None:
            query["updated_at"] = {"$lte": before}
        found: list[Document] = await self._conversations.find(query).to_list(None)
        await self._bring_up(found)
        found.sort(key=lambda document: (document["updated_at"], document["_id"]), reverse=True)
        return found

    async def shared(self, user_id: str, others: Sequence[str]) -> set[str]:
        """Which of the others share a conversation with the user."""
        query = {"participant_ids": user_id}
        found = await self._conversations.find(query, {"participant_ids": 1}).to_list(None)
        known = {participant for document in found for participant in document["participant_ids"]}
        return known.intersection(others)

    # Heads

    def note(self, message: Document) -> None:
        """A message of this process is durable: it is the conversation's last from here on."""
        conversation_id = message["conversation_id"]
        self._heads.note(message)
        entry = self._cache.get(conversation_id)
        if entry is not None and entry[1]["last_seq"] == message["seq"] - 1:
            apply(entry[1], [message])
        if self._flushing is None:
            self._flushing = asyncio.ensure_future(self._flush_forever())

    def unsure(self, conversation_id: str) -> None:
        """A message may be durable or not: the next look asks the database."""
        self._heads.forget(conversation_id)
        self._cache.pop(conversation_id, None)

    async def stop(self) -> None:
        """Stores the heads that are still to be moved."""
        if self._flushing is not None:
            self._flushing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._flushing
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(PyMongoError):
            while self._heads.pending:
                await self._flush()

    async def _flush_forever(self) -> None:
        """Ends when nothing is left to move."""
        wait_s = FLUSH_S
        try:
            while self._heads.pending:
                await asyncio.sleep(wait_s)
                started = time.monotonic()
                try:
                    await self._flush()
                except PyMongoError as error:
                    log.warning("heads of %d conversations not stored yet: %s", len(self._heads.pending), error)
                # Moving heads must not take the database from those who wait to send, unless it falls behind.
                behind = sum(map(len, self._heads.pending.values())) > PENDING_MAX
                wait_s = FLUSH_S if behind else max(FLUSH_S, 3 * (time.monotonic() - started))
        finally:
            self._flushing = None

    async def _flush(self) -> None:
        """Moves the heads of up to FLUSH_MAX conversations, each over all that is known beyond it."""
        some = [(key, list(messages)) for key, messages in list(self._heads.pending.items())[:FLUSH_MAX]]
        if not some:
            return
        await self._index.add([message for _, messages in some for message in messages])
        result = await self._conversations.bulk_write(
            [UpdateOne({"_id": key, "last_seq": new[0]["seq"] - 1}, advance(new)) for key, new in some], ordered=False
        )
        if result.matched_count == len(some):
            for key, messages in some:
                self._heads.settle(key, messages[-1]["seq"])
            return
        # Another process has moved some of them, or is behind with messages before ours.
        cursor = self._conversations.find({"_id": {"$in": [key for key, _ in some]}}, {"last_seq": 1})
        stored = {found["_id"]: found["last_seq"] for found in await cursor.to_list(None)}
        for key, messages in some:
            if stored.get(key, messages[-1]["seq"]) < messages[-1]["seq"]:
                await self._move(key)
            else:
                self._heads.settle(key, messages[-1]["seq"])

    async def _move(self, conversation_id: str) -> int | None:
        """Moves the stored head over whatever follows it in the database. The new head, if this call moved it."""
        for _ in range(MOVES_MAX):
            stored = await self._conversations.find_one({"_id": conversation_id}, {"last_seq": 1})
            if stored is None:
                self._heads.settle(conversation_id, 1 << 62)
                return None
            seq = stored["last_seq"]
            messages = contiguous(seq, await self._tail.range(conversation_id, seq, seq + TAIL_MAX))
            if not messages:
                self._heads.settle(conversation_id, seq)
                return None
            await self._index.add(messages)
            moved = await self._conversations.update_one({"_id": conversation_id, "last_seq": seq}, advance(messages))
            if moved.matched_count:
                self._heads.settle(conversation_id, messages[-1]["seq"])
                return int(messages[-1]["seq"])
        return None

    async def _bring_up(self, documents: Sequence[Document]) -> None:
        strange = await self._heads.bring_up(documents)
        for conversation_id, messages in strange.items():
            if self._alone or messages[0]["created_at"] < now() - ORPHANED_AFTER:
                await self._adopt(conversation_id)
            elif conversation_id not in self._looking_again:
                # Most likely another process is about to move the head. If not, it has died.
                self._looking_again.add(conversation_id)
                task = asyncio.ensure_future(self._look_again(conversation_id))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _look_again(self, conversation_id: str) -> None:
        await asyncio.sleep(ORPHANED_AFTER.total_seconds())
        self._looking_again.discard(conversation_id)
        try:
            await self.find(conversation_id)
        except PyMongoError as error:
            log.warning("could not look at %s again: %s", conversation_id, error)

    async def _adopt(self, conversation_id: str) -> None:
        """A process died between a message and telling of it: whoever moves the head says that there is something."""
        seq = await self._move(conversation_id)
        if seq is not None and self.orphaned is not None:
            await self.orphaned(conversation_id, seq)

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
        of_this = {"_id": conversation_id, "last_seq": message["seq"]}
        older = {**of_this, "last_message.version": {"$lt": message["version"]}}
        for _ in range(TOUCHES_MAX):
            result = await self._conversations.update_one(older, {"$set": {"last_message": message}})
            self._cache.pop(conversation_id, None)
            if result.modified_count:
                return
            stored = await self._conversations.find_one({"_id": conversation_id}, {"last_seq": 1})
            if stored is None or stored["last_seq"] >= message["seq"]:
                return
            # The head has not come to this message yet, and would bring the copy from before the change.
            await self._move(conversation_id)

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
