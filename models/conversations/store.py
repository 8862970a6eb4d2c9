"""The conversations collection, with a short memory of documents for the path of a message.

The memory answers "may this person write here, and what is the next seq?" without a round trip. It is a hint: the
message's unique (conversation, seq) decides, membership changes are told to every process over the bus, and an entry
is believed for CACHE_S at most. Heads are moved in the background, see `moving`.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

from pymongo import UpdateOne
from pymongo.errors import DuplicateKeyError

from contract.rooms import user_room
from models.context import now
from models.conversations.document import id_of
from models.conversations.heads import Tail, apply
from models.conversations.listing import Listing
from models.conversations.moving import Index, Mover
from realtime.bus import Bus
from storage.mongo import Database, Document

CACHE_S = 5.0
CACHE_MAX = 20_000
TOUCHES_MAX = 10
FINDS_MAX = 3
# Clocks of processes differ: who changes a message may stamp it so much earlier than who wrote it.
SKEW = timedelta(seconds=10)


class Messages(Tail, Protocol):
    """What the conversations ask of the messages."""

    async def find_many(self, identifiers: Iterable[str]) -> list[Document]: ...


class News(NamedTuple):
    """`active`: there are messages; `changed`: it is different itself; `edited`: messages that were there are."""

    conversation_id: str
    participant_ids: list[str]
    last_seq: int
    active: bool
    changed: bool
    edited: bool


def _last_id(document: Document) -> str:
    return id_of(document["last_message"])


def _last_was_changed(document: Document) -> bool:
    """Perhaps: some message was, since about when the last was written."""
    last, edited_at = document["last_message"], document.get("edited_at")
    return last is not None and edited_at is not None and edited_at >= last["created_at"] - SKEW


def _as_found(document: Document, found: dict[str, Document]) -> Document:
    last = document["last_message"]
    fresh = found.get(_last_id(document)) if last is not None else None
    if fresh is not None and fresh["version"] > last["version"]:
        last = fresh
    alive = {identifier for identifier, message in found.items() if message["deleted_at"] is None}
    pins = [identifier for identifier in document["pinned_message_ids"] if identifier in alive]
    return {**document, "last_message": last, "pinned_message_ids": pins}


def _now(*names: str) -> Document:
    return dict.fromkeys(names, now())


class ConversationStore:
    def __init__(self, database: Database, bus: Bus, messages: Messages, index: Index, alone: bool) -> None:
        self._conversations = database.collection("conversations")
        self._messages = messages
        self.mover = Mover(self, messages, index, alone)
        self.listing = Listing(self._conversations, self.mover)
        self._cache: OrderedDict[str, tuple[float, Document]] = OrderedDict()
        self._forgotten_at: OrderedDict[str, float] = OrderedDict()
        self._audiences: OrderedDict[str, tuple[list[str], Sequence[str], int]] = OrderedDict()
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
        """As it is now, messages beyond the stored head included."""
        for _ in range(FINDS_MAX):
            asked_at = time.monotonic()
            found: Document | None = await self._conversations.find_one({"_id": conversation_id})
            if found is None:
                return None
            await self.mover.bring_up([found])
            # What was read before a change that we were told of meanwhile must not come back as what we remember.
            if self._forgotten_at.get(conversation_id, 0.0) < asked_at:
                self._remember(found)
                break
        return found

    async def find_stored(self, conversation_id: str) -> Document | None:
        """Only what is stored of it."""
        found: Document | None = await self._conversations.find_one({"_id": conversation_id})
        return found

    async def find_by(self, field: str, value: str) -> Document | None:
        found: Document | None = await self._conversations.find_one({field: value})
        if found is not None:
            await self.mover.bring_up([found])
        return found

    async def recent(self, conversation_id: str) -> Document | None:
        """From memory if it is fresh, else from the database. Only for what a unique index decides in the end."""
        entry = self._cache.get(conversation_id)
        if entry is not None and entry[0] > time.monotonic():
            return entry[1]
        return await self.find(conversation_id)

    async def as_messages_are(self, documents: Sequence[Document]) -> list[Document]:
        """The conversations with their last and their pinned messages as these are now; deleted ones are not pinned.

        What a conversation stores of its messages follows them a moment later, or never, if the process that changed
        one dies in between. Nothing is looked up for one without pins whose last message was not changed.
        """
        wanted = {identifier for document in documents for identifier in document["pinned_message_ids"]}
        wanted |= {_last_id(document) for document in documents if _last_was_changed(document)}
        if not wanted:
            return list(documents)
        found = {id_of(message): message for message in await self._messages.find_many(wanted)}
        return [_as_found(document, found) for document in documents]

    async def audience(self, conversation_id: str, seq: int | None = None) -> Sequence[str]:
        """The rooms of its participants, or of those who may see this message; nobody, if it is not there."""
        document = await self.recent(conversation_id)
        if document is None:
            return ()
        kept: tuple[list[str], Sequence[str], int] | None = self._audiences.get(conversation_id)
        participants, members = document["participant_ids"], document["members"]
        if kept is None or kept[0] is not participants:
            rooms = [user_room(user_id) for user_id in participants]
            newest = max((members[user_id]["joined_seq"] for user_id in participants), default=0)
            kept = self._audiences[conversation_id] = (participants, rooms, newest)
            if len(self._audiences) > CACHE_MAX:
                self._audiences.popitem(last=False)
        if seq is not None and seq <= kept[2]:
            return [user_room(user_id) for user_id in participants if members[user_id]["joined_seq"] < seq]
        return kept[1]

    async def with_news(self, user_ids: Sequence[str], since: datetime, active: Document) -> list[News]:
        """Of these users' conversations whose last activity is `active`: those with messages or changes since `since`,
        or with messages beyond their stored head."""
        query = {"participant_ids": {"$in": list(user_ids)}, "updated_at": active}
        fields = {"participant_ids": 1, "last_seq": 1, "updated_at": 1, "changed_at": 1, "edited_at": 1}
        found: list[Document] = await self._conversations.find(query, fields).to_list(None)
        beyond: dict[str, int] = await self.mover.beyond({document["_id"]: document["last_seq"] for document in found})
        news: list[News] = []
        for document in found:
            conversation_id = document["_id"]
            active_since = conversation_id in beyond or document["updated_at"] >= since
            changed, edited = (name in document and document[name] >= since for name in ("changed_at", "edited_at"))
            if active_since or changed or edited:
                last_seq: int = beyond.get(conversation_id) or document["last_seq"]
                news.append(News(conversation_id, document["participant_ids"], last_seq, active_since, changed, edited))
        return news

    # Heads

    def note(self, message: Document) -> None:
        """A message of this process is durable: it is the conversation's last from here on."""
        entry = self._cache.get(message["conversation_id"])
        if entry is not None and entry[1]["last_seq"] == message["seq"] - 1:
            apply(entry[1], [message])
        self.mover.note(message)

    def moved(self, user_id: str) -> list[str]:
        """Conversations of a user with messages that this process has written and their stored heads lack."""
        entries = [(key, self._cache[key][1]) for key in self.mover.heads.pending if key in self._cache]
        return [key for key, document in entries if user_id in document["members"]]

    def unsure(self, conversation_id: str) -> None:
        """A message may be durable or not: the next look asks the database, and if nobody looks, we do."""
        self.mover.heads.forget(conversation_id)
        self._cache.pop(conversation_id, None)
        self.mover.look_later(conversation_id)

    def outrun(self, conversation_id: str) -> None:
        """Another process has written to it."""
        self.mover.heads.forget(conversation_id)
        self._cache.pop(conversation_id, None)

    async def heads(self, conversation_ids: Sequence[str]) -> dict[str, int]:
        cursor = self._conversations.find({"_id": {"$in": list(conversation_ids)}}, {"last_seq": 1})
        return {found["_id"]: found["last_seq"] for found in await cursor.to_list(None)}

    async def move(self, moves: Sequence[tuple[str, int, Document]]) -> bool:
        """See `moving.Stored`."""
        writes = [UpdateOne({"_id": key, "last_seq": seq}, update) for key, seq, update in moves]
        result = await self._conversations.bulk_write(writes, ordered=False)
        return bool(result.matched_count == len(moves))

    async def mark(self, conversation_id: str, user_id: str, marks: dict[str, int], at: datetime) -> None:
        """Raises high-water marks; a lower value changes nothing."""
        changes: dict[str, Any] = {f"members.{user_id}.{name}": value for name, value in marks.items()}
        changes["touched_at"] = at
        await self._conversations.update_one({"_id": conversation_id, "participant_ids": user_id}, {"$max": changes})

    async def change(self, query: dict[str, Any], change: dict[str, Any]) -> bool:
        """Any other change; tells every process to forget what it remembers. False if the query matched nothing."""
        change = {**change, "$max": _now("touched_at", "changed_at")}
        result = await self._conversations.update_one(query, change)
        if result.matched_count:
            await self._bus.publish("conversation_changed", {"id": query["_id"]})
        return bool(result.matched_count)

    async def unpin(self, message: Document) -> bool:
        """False if it was not pinned."""
        identifier = id_of(message)
        query = {"_id": message["conversation_id"], "pinned_message_ids": identifier}
        return await self.change(query, {"$pull": {"pinned_message_ids": identifier}})

    async def rename_member(self, conversation_id: str, user_id: str, name: str) -> bool:
        """False if they are not in it any more."""
        here = {"_id": conversation_id, "participant_ids": user_id}
        return await self.change(here, {"$set": {f"members.{user_id}.name": name}})

    async def touch(self, conversation_id: str) -> None:
        """A message is about to be changed, or was."""
        await self._conversations.update_one({"_id": conversation_id}, {"$max": _now("touched_at", "edited_at")})

    async def follow(self, message: Document) -> None:
        """A message was changed: the copy on the conversation follows, if it is of this message and older."""
        conversation_id = message["conversation_id"]
        await self.touch(conversation_id)  # again: this process may have been stopped for long since it was about to
        of_this = {"_id": conversation_id, "last_seq": message["seq"]}
        older = {**of_this, "last_message.version": {"$lt": message["version"]}}
        for _ in range(TOUCHES_MAX):
            result = await self._conversations.update_one(older, {"$set": {"last_message": message}})
            self._cache.pop(conversation_id, None)
            if result.modified_count:
                return
            stored = await self._conversations.find_one(
                {"_id": conversation_id}, {"last_seq": 1, "last_message.version": 1}
            )
            if stored is None or stored["last_seq"] > message["seq"]:
                return
            if stored["last_seq"] < message["seq"]:
                # The head has not come to this message yet, and would bring the copy from before the change.
                await self.mover.move(conversation_id)
            elif stored["last_message"]["version"] >= message["version"]:
                return

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
