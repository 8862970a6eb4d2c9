"""Search by words and their beginnings, in what the caller may see.

A query is folded into terms (see `words`); a message matches when it has each of them. The term that most likely is the
rarest is looked up in the index of each conversation and the rest are checked on the lines that it leads to; messages
that the index does not have yet, or that are being changed, are looked at themselves. What is shown is checked once
more as it reads now.

Newest first means by (time, seq, conversation), falling, so that messages of one millisecond are in order as well.
Conversations are searched in batches, the youngest first; within a batch hits are newest first, so for up to BATCH
conversations the whole result is. A cursor says which conversations its batch has by where it begins and ends, because
conversations are joined and left while someone reads on.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import NamedTuple

from contract import chat
from contract.errors import invalid
from contract.types import parse_time
from models.context import Context
from models.conversations.actions import Conversations
from models.conversations.document import id_of, to_message
from models.messages.document import VERSION, lines_of, message_id
from models.messages.firstwords import first_words
from models.messages.store import MessageStore, WordStore
from models.messages.words import QUERY_WORDS_MAX, Query, parse
from models.paging import decode_cursor, encode_cursor
from storage.mongo import Document

BATCH = 100
CONCURRENT = 8


class Hit(NamedTuple):
    created_at: datetime
    seq: int
    conversation_id: str


class Wanted(NamedTuple):
    """`first`: the words of the first version of the index, while there are blocks of it."""

    user_id: str
    query: Query
    first: list[str]


class Place(NamedTuple):
    """Conversations whose keys are below `start`, down to `end`, and their hits below `after`; empty: no bound."""

    start: str = ""
    end: str = ""
    after: Hit | None = None

    def encode(self) -> str:
        after = self.after
        return encode_cursor([self.start, self.end, [after[0].isoformat(), *after[1:]] if after is not None else None])

    @classmethod
    def decode(cls, cursor: str) -> Place:
        start, end, after = decode_cursor(cursor, tuple[str, str, tuple[str, int, str] | None])
        try:
            return cls(start, end, Hit(parse_time(after[0]), *after[1:]) if after is not None else None)
        except ValueError:
            raise invalid("cursor", "is not one this list gave") from None


class Search:
    """`migrated`: whether no block of the first version is left."""

    def __init__(
        self,
        store: MessageStore,
        index: WordStore,
        conversations: Conversations,
        migrated: Callable[[], Awaitable[bool]],
    ) -> None:
        self._store = store
        self._index = index
        self._conversations = conversations
        self._migrated = migrated

    async def search(self, context: Context, payload: chat.Search) -> chat.MessageList:
        query = parse(payload.query)
        if query is None:
            raise invalid("query", f"must have one to {QUERY_WORDS_MAX} words")
        if payload.conversation_id is not None:
            scope = [await self._conversations.require(context.user_id, payload.conversation_id)]
        else:
            scope = await self._conversations.outlines(context.user_id)
            # A fixed order, so that new activity between two pages moves nothing from one batch to another.
            scope.sort(key=_key)
        first = [] if await self._migrated() else first_words(payload.query)
        place = Place.decode(payload.cursor) if payload.cursor is not None else Place()
        return await self._page(Wanted(context.user_id, query, first), scope, place, payload.limit)

    async def _page(self, wanted: Wanted, scope: list[Document], place: Place, limit: int) -> chat.MessageList:
        """Fills one page, from as many batches as it takes. `scope` rises, and is gone through from its end."""
        keys = [_key(conversation) for conversation in scope]
        picked: list[Hit] = []
        following: Place | None = None
        while high := bisect_left(keys, place.start) if place.start else len(keys):
            low = max(bisect_left(keys, place.end), high - 2 * BATCH) if place.end else max(high - BATCH, 0)
            end = keys[low] if low < high else place.end
            hits = await self._hits(wanted, scope[low:high])
            if place.after is not None:
                hits = [hit for hit in hits if hit < place.after]
            room = limit - len(picked)
            picked += hits[:room]
            if len(hits) > room:
                following = Place(place.start, end, hits[room - 1] if room else place.after)
                break
            place = Place(start=end)
            if len(picked) == limit and low > 0:
                following = place
                break
        ids = [message_id(hit.conversation_id, hit.seq) for hit in picked]
        items: list[chat.Message] = []
        found = {id_of(message): message for message in await self._store.find_many(ids)}
        for message in [found[identifier] for identifier in ids if identifier in found]:
            lines, _ = await lines_of([message])
            if any(wanted.query.matches(said["words"]) for said in lines):
                items.append(to_message(message))
        return chat.MessageList(items=items, next_cursor=following.encode() if following is not None else None)

    async def _hits(self, wanted: Wanted, batch: list[Document]) -> list[Hit]:
        """All matches in these conversations, newest first."""
        gate = asyncio.Semaphore(CONCURRENT)
        looked_at = await self._index.to_look_at([conversation["_id"] for conversation in batch])

        async def one(conversation: Document) -> list[Hit]:
            conversation_id: str = conversation["_id"]
            floor: int = conversation["members"][wanted.user_id]["joined_seq"]
            async with gate:
                lines = await self._lines(wanted, conversation, conversation_id in looked_at)
            return [Hit(said["created_at"], said["seq"], conversation_id) for said in lines if said["seq"] > floor]

        results = await asyncio.gather(*[one(conversation) for conversation in batch])
        return sorted({hit for hits in results for hit in hits}, reverse=True)

    async def _lines(self, wanted: Wanted, conversation: Document, look: bool) -> list[Document]:
        """Those that match."""
        conversation_id = conversation["_id"]
        last: int = conversation["last_seq"]
        stored: int = conversation.get("stored_seq", last)
        tokens = {wanted.query.token, max(wanted.first, key=len, default=wanted.query.token)}
        blocks = await self._index.with_token(conversation_id, tokens, look)
        again = {mark["seq"] for block in blocks for mark in block.get("changing", ())}
        if wanted.first and conversation.get("edited"):
            changed = await self._index.first_version_changed(conversation_id)
            again.update(seq for block in changed for seq in block["changed"])
        lines: list[Document] = []
        for block in blocks:
            current = block.get("version") == VERSION
            for said in block.get("lines", ()):
                if current and wanted.query.matches(said["words"]):
                    lines.append(said)
                elif not current and _has_all(said["words"], wanted):
                    again.add(said["seq"])  # its words do not tell
        lines = [said for said in lines if said["seq"] <= stored and said["seq"] not in again]
        others = await self._store.range(conversation_id, stored, last) if last > stored else []
        if looked := [message_id(conversation_id, seq) for seq in again if seq <= stored]:
            others += await self._store.find_many(looked)
        said_by_others, _ = await lines_of(others)
        return lines + [said for said in said_by_others if wanted.query.matches(said["words"])]


def _has_all(words: list[str], wanted: Wanted) -> bool:
    """In a line of the first version: by its words or by those of today."""
    return wanted.query.matches(words) or (
        bool(wanted.first) and all(any(word.startswith(first) for word in words) for first in wanted.first)
    )


def _key(conversation: Document) -> str:
    return f"{conversation['created_at'].isoformat(timespec='milliseconds')} {conversation['_id']}"
