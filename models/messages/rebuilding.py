"""Makes a block of search's words of what its messages say now, while others write to it and to them.

A block is read first, then its messages, and written only if it is as it was read. So whatever changes a message must
say so in the block before (a mark), and either its mark is still there afterwards, or the change was read.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta

from contract.errors import ParleyError
from models.context import now
from models.messages.document import BLOCK, block_id, rebuilt
from models.messages.store import MessageStore, WordStore
from storage.mongo import Document

ATTEMPTS_MAX = 20
# A change that was announced so long ago has been made, or its process died: no call takes so long. Clocks may differ.
MARKED_FOR = timedelta(minutes=2)


class Rebuilding:
    def __init__(self, store: MessageStore, blocks: WordStore) -> None:
        self._store = store
        self._blocks = blocks

    async def rebuild(
        self, conversation_id: str, number: int, done: Collection[str] = (), carried: Sequence[Document] = ()
    ) -> None:
        """Takes away the marks `done` and those that are too old, adds `carried`. Raises conflict."""
        key = block_id(conversation_id, number)
        for _ in range(ATTEMPTS_MAX):
            before = await self._blocks.block(key)
            messages = await self._store.range(conversation_id, number * BLOCK, (number + 1) * BLOCK)
            left = [*_left(before, done), *carried]
            at = now() if carried or before is None else before.get("marked_at")
            if await self._blocks.write(key, before, await rebuilt(conversation_id, messages, left, at)):
                return
        raise ParleyError("conflict")

    async def replace(self, conversation_id: str, number: int) -> bool:
        """Removes the block of the first version, after rebuilding its successor. False if there is none.

        What it calls changed may be changing once more by a process of the version before: it stays marked for long
        enough.
        """
        key = block_id(conversation_id, number, version=1)
        for attempt in range(ATTEMPTS_MAX):
            block = (await self._blocks.first_version([key])).get(key)
            if block is None:
                return attempt > 0
            carried = [{"seq": seq, "mark": "first version"} for seq in block.get("changed", ())]
            await self.rebuild(conversation_id, number, ["first version"], carried)
            if await self._blocks.remove(block):
                return True
        raise ParleyError("conflict")


def _left(block: Document | None, done: Collection[str]) -> list[Document]:
    if block is None or "changing" not in block or block["marked_at"] < now() - MARKED_FOR:
        return []
    return [mark for mark in block["changing"] if mark["mark"] not in done]
