"""Search's words follow the messages: words of a text that was edited or deleted do not stay.

    mark the block --> change the message --> tell of it --> rebuild the block, without the mark

The mark makes search look at the message itself, so nobody waits for the rest, which is done FOLLOW_S later, once for
the changes of one block that come together. If the process dies after the mark, the mark stays, and `tidy`, a job,
finds it and rebuilds the block. A block that was rebuilt has a line for each of its messages, also for those that the
stored head has not come to yet; and since `WordStore.add` leaves lines alone that are there, nobody who moves the head
brings old words back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from contract.errors import ParleyError
from models.context import now
from models.messages.document import block_number, number_of
from models.messages.rebuilding import MARKED_FOR, Rebuilding
from models.messages.store import WordStore
from storage.mongo import Document

log = logging.getLogger("parley.search")

# Changes wait so long for others of their block.
FOLLOW_S = 0.2
# Blocks; changes in more than that are left to `tidy`.
WAITING_MAX = 1_000
TIDY_ROUNDS_MAX = 20
PAUSE_S = 0.02


class Indexing:
    """`migrated`: whether no block of the first version is left."""

    def __init__(self, blocks: WordStore, rebuilding: Rebuilding, migrated: Callable[[], Awaitable[bool]]) -> None:
        self._blocks = blocks
        self._rebuilding = rebuilding
        self._migrated = migrated
        self._waiting: dict[tuple[str, int], set[str]] = {}
        self._following: asyncio.Task[None] | None = None

    async def changing(self, message: Document, mark: str) -> None:
        """This message is about to say something else."""
        await self._blocks.mark(message, mark, now())

    def changed(self, message: Document, mark: str) -> None:
        """It does. What cannot be done now is left to `tidy`."""
        place = message["conversation_id"], block_number(message["seq"])
        if place in self._waiting or len(self._waiting) < WAITING_MAX:
            self._waiting.setdefault(place, set()).add(mark)
        if self._following is None:
            self._following = asyncio.create_task(self._follow(), name="search index")

    async def stop(self) -> None:
        if self._following is not None:
            await self._following

    async def _follow(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(FOLLOW_S)
                waiting, self._waiting = self._waiting, {}
                for place, marks in waiting.items():
                    await self._rebuild(place, marks)
        finally:
            self._following = None

    async def _rebuild(self, place: tuple[str, int], marks: set[str]) -> None:
        try:
            await self._rebuilding.rebuild(*place, marks)
            if not await self._migrated():
                await self._rebuilding.replace(*place)
        except Exception as error:
            log.warning("search follows a change in block %d of %s later: %s", place[1], place[0], error)

    async def tidy(self) -> None:
        """Rebuilds blocks whose changes were announced and never ended."""
        for _ in range(TIDY_ROUNDS_MAX):
            blocks = await self._blocks.marked_before(now() - MARKED_FOR)
            for block in blocks:
                number = number_of(block["_id"])
                try:
                    await self._rebuilding.rebuild(block["conversation_id"], number)
                except ParleyError as error:  # others write to it all the time: the next run tries again
                    log.info("block %s is not tidied yet: %s", block["_id"], error)
                await asyncio.sleep(PAUSE_S)
            if not blocks:
                return
