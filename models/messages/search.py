"""Search by words and their beginnings, in what the caller may see: pages of it.

Newest first means by (time, seq, conversation), falling, so that messages of one millisecond are in order as well.
Conversations are searched in batches, the youngest first; within a batch hits are newest first, so for up to BATCH
conversations the whole result is. A cursor says which conversations its batch has by where it begins and ends, because
conversations are joined and left while someone reads on.

A page looks at BLOCKS_MAX blocks of messages and at BATCHES_MAX batches, and is over then, however little it has found
(`finding` says what a block is). A batch with more blocks than that is cut into smaller ones. A conversation with more,
or the only one there is, is searched by itself, by `seq` from its end, and the cursor says how far.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple
from weakref import WeakValueDictionary

from contract import chat
from contract.errors import ParleyError, invalid
from contract.types import parse_time
from models.context import Context
from models.conversations.actions import Conversations
from models.conversations.document import id_of, to_message
from models.messages.document import BLOCK, lines_of, message_id
from models.messages.finding import Finding, Hit, Wanted
from models.messages.firstwords import first_words
from models.messages.store import MessageStore
from models.messages.words import QUERY_WORDS_MAX, parse
from models.paging import decode_cursor, encode_cursor
from storage.mongo import Document

BATCH = 100
BATCHES_MAX = 5
BLOCKS_MAX = 64
AT_ONCE = 2  # of all users
UNDER_WAY_MAX = 8  # of one, who may type faster than is searched
RETRY_MS = 1_000


class Place(NamedTuple):
    """Conversations whose keys are below `start`, down to `end`, and their hits below `after`; empty: no bound.

    `below`: of the youngest of them, which is the one that `only` makes `start` of, only messages below this seq.
    """

    start: str = ""
    end: str = ""
    after: Hit | None = None
    below: int | None = None

    def encode(self) -> str:
        after = [self.after[0].isoformat(), *self.after[1:]] if self.after is not None else None
        return encode_cursor([self.start, self.end, after, self.below])

    @classmethod
    def decode(cls, cursor: str) -> Place:
        start, end, after, below = decode_cursor(cursor, tuple[str, str, tuple[str, int, str] | None, int | None])
        try:
            hit = Hit(parse_time(after[0]), *after[1:]) if after is not None else None
        except ValueError:
            raise invalid("cursor", "is not one this list gave") from None
        return cls(start, end, hit, below)


class _Page:
    """What a page has so far. `following`: where the next begins; None: there is none."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.picked: list[Hit] = []
        self.following: Place | None = None
        self.looked = 0

    @property
    def room(self) -> int:
        return self.limit - len(self.picked)

    @property
    def blocks_left(self) -> int:
        return BLOCKS_MAX - self.looked


class Search:
    """`migrated`: whether no block of the first version is left."""

    def __init__(
        self,
        store: MessageStore,
        finding: Finding,
        conversations: Conversations,
        migrated: Callable[[], Awaitable[bool]],
    ) -> None:
        self._store = store
        self._finding = finding
        self._conversations = conversations
        self._migrated = migrated
        self._mine: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._all = asyncio.Semaphore(AT_ONCE)

    async def search(self, context: Context, payload: chat.Search) -> chat.MessageList:
        """One at a time for a user and AT_ONCE in all: each reads up to thousands of messages from the database, where
        everybody's writes are. Raises rate_limited for who has more under way than can be read."""
        mine = self._mine.setdefault(context.user_id, asyncio.Semaphore(UNDER_WAY_MAX))
        if mine.locked():
            raise ParleyError("rate_limited", "So many searches are under way; wait for them.", retry_after_ms=RETRY_MS)
        turn = self._turns.setdefault(context.user_id, asyncio.Lock())
        async with mine, turn, self._all:
            return await self._search(context, payload)

    async def _search(self, context: Context, payload: chat.Search) -> chat.MessageList:
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
        page = _Page(payload.limit)
        wanted = Wanted(context.user_id, query, first)
        await self._fill(page, wanted, scope, place)
        cursor = page.following.encode() if page.following is not None else None
        return chat.MessageList(items=await self._shown(wanted, page.picked), next_cursor=cursor)

    async def _fill(self, page: _Page, wanted: Wanted, scope: list[Document], place: Place) -> None:
        """`scope` rises, and is gone through from its end."""
        keys = [_key(conversation) for conversation in scope]
        batches = 0
        while high := bisect_left(keys, place.start) if place.start else len(keys):
            if batches == BATCHES_MAX or (batches and not page.room):
                page.following = place
                return
            batches += 1
            low = max(bisect_left(keys, place.end), high - 2 * BATCH) if place.end else max(high - BATCH, 0)
            blocks = await self._finding.blocks(wanted, scope[low:high])
            fit = _fit([len(blocks[conversation["_id"]]) for conversation in scope[low:high]])
            if page.looked and (fit == 0 or sum(map(len, blocks.values())) > page.blocks_left):
                page.following = place
                return
            apart = len(scope) == 1 or place.below is not None  # nothing to put in order among others
            if not apart and (fit == high - low or (fit and not place.end)):
                low = high - fit
                end = keys[low] if low < high else place.end
                following = await self._together(page, wanted, scope[low:high], blocks, place, end)
            else:
                youngest = scope[high - 1]
                end = place.end or keys[high - 1]
                following = await self._alone(page, wanted, youngest, blocks[youngest["_id"]], place, end)
            if following is None:
                return
            place = following

    async def _together(
        self, page: _Page, wanted: Wanted, batch: Sequence[Document], blocks: dict[str, list[int]], place: Place,
        end: str,
    ) -> Place | None:  # fmt: skip
        """The hits of a batch, newest first. What is next, or None if the page is over before."""
        hits: list[Hit] = []
        for conversation in batch:
            numbers = blocks[conversation["_id"]]
            hits += await self._finding.hits(wanted, conversation, numbers)
            page.looked += len(numbers)
        hits.sort(reverse=True)
        if place.after is not None:
            hits = [hit for hit in hits if hit < place.after]
        room = page.room
        page.picked += hits[:room]
        if len(hits) <= room:
            return Place(end)
        page.following = Place(place.start, end, hits[room - 1])
        return None

    async def _alone(
        self, page: _Page, wanted: Wanted, conversation: Document, numbers: Sequence[int], place: Place, end: str
    ) -> Place | None:
        """The hits of one conversation of a batch, by seq. What is next, or None if the page is over before."""
        key = _key(conversation)
        below = place.below if place.start == _only(key) else None  # else the one that it was about was left meanwhile
        for number in reversed(numbers):
            if below is not None and number * BLOCK + 1 >= below:
                continue
            if not page.room or not page.blocks_left:
                page.following = Place(_only(key), end, place.after, below)
                return None
            page.looked += 1
            found = await self._finding.hits(wanted, conversation, [number])
            hits = [
                hit
                for hit in sorted(found, key=lambda hit: hit.seq, reverse=True)
                if (below is None or hit.seq < below) and (place.after is None or hit < place.after)
            ]
            room = page.room
            page.picked += hits[:room]
            if len(hits) > room:
                page.following = Place(_only(key), end, place.after, hits[room - 1].seq)
                return None
            below = number * BLOCK + 1
        return Place(end) if key == end else Place(key, end, place.after)

    async def _shown(self, wanted: Wanted, picked: Sequence[Hit]) -> list[chat.Message]:
        """As they read now."""
        ids = [message_id(hit.conversation_id, hit.seq) for hit in picked]
        items: list[chat.Message] = []
        found = {id_of(message): message for message in await self._store.find_many(ids)}
        for message in [found[identifier] for identifier in ids if identifier in found]:
            lines, _ = await lines_of([message])
            if any(wanted.query.matches(said["words"]) for said in lines):
                items.append(to_message(message))
        return items


def _fit(counts: Sequence[int]) -> int:
    """How many of the last ones a page can look at together."""
    fit = total = 0
    for count in reversed(counts):
        total += count
        if total > BLOCKS_MAX:
            break
        fit += 1
    return fit


def _key(conversation: Document) -> str:
    return f"{conversation['created_at'].isoformat(timespec='milliseconds')} {conversation['_id']}"


def _only(key: str) -> str:
    """The bound above it and below all others."""
    return f"{key} "
