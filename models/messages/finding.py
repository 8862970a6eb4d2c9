"""Which messages of some conversations match a search: which blocks of messages to look at, and what matches in them.

A query is folded into terms (see `words`); a message matches when it has each of them. The term that most likely is the
rarest leads to blocks by their index, without reading them; the rest is checked on their lines. Messages that the index
does not have yet, or that are being changed, are looked at themselves. To look at a block is the unit of work: it may
be 64 texts of 10,000 characters. Few are read at once, and between pieces of matching others have their turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from models.messages.document import BLOCK, VERSION, block_id, block_number, lines_of, message_id
from models.messages.store import MessageStore, WordStore
from models.messages.words import Query
from storage.mongo import Document

CONCURRENT = 8
READ_AT_ONCE = 4
# Comparisons of a word said with a word looked for, a few milliseconds.
PIECE = 50_000


class Hit(NamedTuple):
    created_at: datetime
    seq: int
    conversation_id: str


class Wanted(NamedTuple):
    """`first`: the words of the first version of the index, while there are blocks of it."""

    user_id: str
    query: Query
    first: list[str]

    @property
    def terms(self) -> int:
        return len(self.query.words) + len(self.query.runs) + len(self.first)


class Finding:
    def __init__(self, store: MessageStore, index: WordStore) -> None:
        self._store = store
        self._index = index

    async def blocks(self, wanted: Wanted, conversations: Sequence[Document]) -> dict[str, list[int]]:
        """Conversation → the numbers of its blocks that there is to look at, rising."""
        gate = asyncio.Semaphore(CONCURRENT)
        looked_at = await self._index.to_look_at([conversation["_id"] for conversation in conversations])

        async def one(conversation: Document) -> list[int]:
            async with gate:
                return await self._numbers(wanted, conversation, conversation["_id"] in looked_at)

        found = await asyncio.gather(*[one(conversation) for conversation in conversations])
        return {conversation["_id"]: numbers for conversation, numbers in zip(conversations, found, strict=True)}

    async def _numbers(self, wanted: Wanted, conversation: Document, look: bool) -> list[int]:
        conversation_id: str = conversation["_id"]
        last: int = conversation["last_seq"]
        stored: int = conversation.get("stored_seq", last)
        tokens = {wanted.query.token, max(wanted.first, key=len, default=wanted.query.token)}
        numbers = await self._index.with_token(conversation_id, tokens, look)
        if wanted.first and conversation.get("edited"):
            numbers |= await self._index.first_version_changed(conversation_id)
        if last > stored:
            numbers.update(range(block_number(stored + 1), block_number(last) + 1))
        return sorted(numbers)

    async def hits(self, wanted: Wanted, conversation: Document, numbers: Sequence[int]) -> list[Hit]:
        """All that match in these blocks, newest first."""
        conversation_id: str = conversation["_id"]
        floor: int = conversation["members"][wanted.user_id]["joined_seq"]
        found: set[Hit] = set()
        for start in range(0, len(numbers), READ_AT_ONCE):
            for said in await self._lines(wanted, conversation, numbers[start : start + READ_AT_ONCE]):
                if said["seq"] > floor:
                    found.add(Hit(said["created_at"], said["seq"], conversation_id))
        return sorted(found, reverse=True)

    async def _lines(self, wanted: Wanted, conversation: Document, numbers: Sequence[int]) -> list[Document]:
        """Those that match."""
        conversation_id: str = conversation["_id"]
        last: int = conversation["last_seq"]
        stored: int = conversation.get("stored_seq", last)
        versions = (VERSION, 1) if wanted.first else (VERSION,)
        keys = [block_id(conversation_id, number, version) for number in numbers for version in versions]
        blocks = await self._index.read(keys)
        again = {seq for block in blocks for seq in _changing(block)}
        lines: list[Document] = []
        work = 0
        for block in blocks:
            current = block.get("version") == VERSION
            for said in block.get("lines", ()):
                if current and wanted.query.matches(said["words"]):
                    lines.append(said)
                elif not current and _has_all(said["words"], wanted):
                    again.add(said["seq"])  # its words do not tell
                work += len(said["words"]) * wanted.terms
                if work > PIECE:
                    work = 0
                    await asyncio.sleep(0)
        lines = [said for said in lines if said["seq"] <= stored and said["seq"] not in again]
        others: list[Document] = []
        if looked := [message_id(conversation_id, seq) for seq in again if seq <= stored]:
            others += await self._store.find_many(looked)
        for number in numbers:
            low, high = max(stored, number * BLOCK), min(last, (number + 1) * BLOCK)
            others += await self._store.range(conversation_id, low, high) if high > low else []
        said_by_others, _ = await lines_of(others)
        return lines + [said for said in said_by_others if wanted.query.matches(said["words"])]


def _changing(block: Document) -> list[int]:
    """Messages that may say something else than the block has."""
    if block.get("version") == VERSION:
        return [mark["seq"] for mark in block.get("changing", ())]
    return list(block.get("changed", ()))


def _has_all(words: list[str], wanted: Wanted) -> bool:
    """In a line of the first version: by its words or by those of today."""
    return wanted.query.matches(words) or (
        bool(wanted.first) and all(any(word.startswith(first) for word in words) for first in wanted.first)
    )
