"""Migration 1: blocks of search's words of the first version are rebuilt, which split words at vowel signs.

Goes through all conversations by the ids of those who made them, in SLICES slices, and in each conversation through the
blocks that it may have.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from models.conversations.actions import Conversations
from models.messages.document import BLOCK, block_id
from models.messages.rebuilding import Rebuilding
from models.messages.store import WordStore
from storage.migrations import Step

NUMBER = 1
SLICES = 256
# For one step: slices without conversations, ids of blocks that may be there, and blocks that are.
SLICES_AT_ONCE = 16
IDS_AT_ONCE = 256
BLOCKS_AT_ONCE = 8
# Words are indexed before the stored head moves: a process may have died in between.
BEYOND_HEAD = 2


class Reindexing:
    def __init__(self, blocks: WordStore, rebuilding: Rebuilding, conversations: Conversations) -> None:
        self._blocks = blocks
        self._rebuilding = rebuilding
        self._conversations = conversations

    async def step(self, position: Any) -> Step:
        """`position`: (slice, conversation, number) of the last block that was looked at."""
        first, conversation_id, number = position or (0, "", 0)
        after = (conversation_id, number)
        for slice_ in range(first, min(first + SLICES_AT_ONCE, SLICES)):
            places = list(islice(await self._places(slice_, after), IDS_AT_ONCE))
            if places:
                return await self._rebuild(slice_, places)
            after = ("", 0)
        following = first + SLICES_AT_ONCE
        return Step([following, "", 0] if following < SLICES else None, 0)

    async def _places(self, slice_: int, after: tuple[str, int]) -> Iterator[tuple[str, int]]:
        """(conversation, number of a block) in this slice, rising."""
        low = f"u_{slice_:02x}" if slice_ else ""
        high = f"u_{slice_ + 1:02x}" if slice_ + 1 < SLICES else "\U0010ffff"
        made = sorted(await self._conversations.made_between(low, high))
        return (
            (conversation_id, number)
            for conversation_id, last_seq in made
            if conversation_id >= after[0]
            for number in range(last_seq // BLOCK + BEYOND_HEAD)
            if (conversation_id, number) > after
        )

    async def _rebuild(self, slice_: int, places: list[tuple[str, int]]) -> Step:
        found = await self._blocks.first_version([block_id(*place, version=1) for place in places])
        wanted = [place for place in places if block_id(*place, version=1) in found]
        for place in wanted[:BLOCKS_AT_ONCE]:
            await self._rebuilding.replace(*place)
        last = wanted[BLOCKS_AT_ONCE - 1] if len(wanted) > BLOCKS_AT_ONCE else places[-1]
        return Step([slice_, *last], min(len(wanted), BLOCKS_AT_ONCE))
