"""Moves stored heads, in the background, over the messages beyond them; and says so where nobody else may have.

One conversation whose head cannot be moved does not hold up the others: when many are moved in one step and it fails,
they are moved one by one, and what fails by itself is tried again later (`held`).

What must be done of every message is done before the head is moved over it, by whoever moves it: search gets its
words, and whoever is mentioned is notified, if they were not. So whatever dies or fails, it is done in the end.

A head that is moved over messages of another process tells its participants a little later (`chat:head`): most likely
that process lives and has told them of the messages, but if it has died between the two, nobody else will.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any, Protocol

from models.context import now
from models.conversations.heads import TAIL_MAX, Heads, Tail, advance, contiguous
from models.conversations.held import Complaints, Held
from ops.tasks import end
from storage.mongo import Document

# Heads move so long after their messages; longer while moving them takes long.
FLUSH_S = 0.2
FLUSH_MAX = 256
# A database under load gets less at once, or the whole would reach its time limit and be done again.
FLUSH_MIN = 16
FLUSH_LONG_S = 2.0
PENDING_MAX = 10_000
MOVES_MAX = 20
FLUSHES_AT_STOP_MAX = 200
# After a failure the next attempt waits twice as long, up to this.
FLUSH_WAIT_MAX_S = 5.0
PREPARED_MAX = 10_000
# A message of another process that is older has not been told of by it, or its head would be here.
ORPHANED_AFTER = timedelta(seconds=5)


class Index(Protocol):
    """Search: has every message up to the stored heads."""

    async def add(self, messages: Sequence[Document]) -> None: ...


class Stored(Protocol):
    """The stored heads."""

    async def heads(self, conversation_ids: Sequence[str]) -> dict[str, int]: ...

    async def move(self, moves: Sequence[tuple[str, int, Document]]) -> bool:
        """(conversation, its head as we know it, update) each; whether all of them were as known."""
        ...


class Mover:
    """`tell` is set by who can: (conversation_id, last_seq) → everyone in it knows where it ends.

    So is `before`: done of messages, perhaps several times, before the head is moved over them.
    """

    def __init__(self, stored: Stored, tail: Tail, index: Index, alone: bool) -> None:
        self._stored = stored
        self._tail = tail
        self._index = index
        self._alone = alone
        self.heads = Heads(tail, alone)
        self.tell: Callable[[str, int], Awaitable[None]] | None = None
        self.before: Callable[[Sequence[Document]], Awaitable[None]] | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._at_once = FLUSH_MAX
        self._complaints = Complaints()
        self._held = Held(self._complaints)
        self._prepared: dict[str, int] = {}
        self._looking_again: dict[str, int] = {}
        self._to_tell: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def note(self, message: Document) -> None:
        """This process has made the message durable and tells of it."""
        self.heads.note(message)
        if self._flushing is None:
            self._flushing = asyncio.ensure_future(self._flush_forever())

    async def bring_up(self, documents: Sequence[Document]) -> None:
        """Brings documents up to date, in place; sees to messages among what they lack that nobody was told of."""
        strange = await self.heads.bring_up(documents)
        for conversation_id, messages in strange.items():
            if not self._alone and messages[0]["created_at"] >= now() - ORPHANED_AFTER:
                # Another process is about to move the head, or has just died.
                self.look_later(conversation_id, messages[-1]["seq"])
                continue
            try:
                await self._adopt(conversation_id)
            except Exception as error:  # the documents are up to date all the same
                self.heads.forget(conversation_id)  # not adopted: the next look must find them strange again
                self.look_later(conversation_id, messages[-1]["seq"])
                self._complaints.say(conversation_id, "the head of %s cannot be stored: %s", conversation_id, error)
            except BaseException:
                for left in strange:
                    self.heads.forget(left)
                raise

    async def beyond(self, heads: dict[str, int]) -> dict[str, int]:
        """Those of these conversations that have messages beyond their stored heads, with where they end.

        Their process may have died; if it has, the heads are moved for it in a moment.
        """
        ends = await self.heads.ends_beyond(heads)
        for conversation_id, seq in ends.items():
            if conversation_id not in self.heads.pending:
                self.look_later(conversation_id, seq)
        return ends

    async def settle(self, conversation_id: str) -> None:
        """Moves the stored head to the end before something is stored that is relative to it."""
        while await self.move(conversation_id) is not None:
            pass

    async def move(self, conversation_id: str, tell: bool = True) -> int | None:
        """Moves the stored head over whatever follows it in the database. The new head, if this call moved it."""
        for _ in range(MOVES_MAX):
            seq = (await self._stored.heads([conversation_id])).get(conversation_id)
            if seq is None:
                self._settle(conversation_id, 1 << 62)
                return None
            messages = contiguous(seq, await self._tail.range(conversation_id, seq, seq + TAIL_MAX))
            if not messages:
                self._settle(conversation_id, seq)
                return None
            await self._prepare(messages)
            if await self._stored.move([(conversation_id, seq, advance(messages))]):
                own = {message["seq"] for message in self.heads.pending.get(conversation_id, ())}
                last: int = messages[-1]["seq"]
                self._settle(conversation_id, last)
                if tell and any(message["seq"] not in own for message in messages):
                    self.tell_later(conversation_id, last)
                return last
        return None

    def look_later(self, conversation_id: str, seq: int = 1 << 62) -> None:
        """There may be messages, up to this one, that nobody was told of."""
        if conversation_id not in self._looking_again:
            self._start(self._look_again(conversation_id))
        self._looking_again[conversation_id] = max(seq, self._looking_again.get(conversation_id, 0))

    def tell_later(self, conversation_id: str, seq: int) -> None:
        """Perhaps nobody was told of messages up to here."""
        if conversation_id not in self._to_tell:
            self._start(self._tell_later(conversation_id))
        self._to_tell[conversation_id] = max(seq, self._to_tell.get(conversation_id, 0))

    async def stop(self) -> None:
        """Moves what is still to be moved."""
        await end(*self._tasks, self._flushing)
        with contextlib.suppress(Exception):  # the heads can be found again, and the process is going
            for _ in range(FLUSHES_AT_STOP_MAX):
                if not self.heads.pending:
                    break
                await self.flush()

    async def flush(self) -> None:
        """Moves the heads of some conversations, as many as the database has done in good time before."""
        started = time.monotonic()
        try:
            await self._flush(self._at_once)
        except BaseException:
            self._at_once = max(FLUSH_MIN, self._at_once // 2)
            raise
        took_s = time.monotonic() - started
        if took_s > FLUSH_LONG_S:
            self._at_once = max(FLUSH_MIN, self._at_once // 2)
        elif took_s < FLUSH_LONG_S / 4:
            self._at_once = min(FLUSH_MAX, self._at_once * 2)

    async def _flush(self, at_most: int) -> None:
        """Moves the heads of that many conversations, and of some that failed before."""
        pending = self.heads.pending
        keys = [key for key in pending if key not in self._held][:at_most]
        await self._held.together(keys, self._flush_together, least=at_most <= FLUSH_MIN)
        await self._held.again(self._flush_together)
        for key in self._held:  # what they have beyond their heads is in the database, and need not fill memory
            if len(pending.get(key, ())) > TAIL_MAX:
                pending[key] = pending[key][-1:]

    def _settle(self, conversation_id: str, up_to_seq: int) -> None:
        """The stored head is there."""
        self.heads.settle(conversation_id, up_to_seq)
        self._prepared.pop(conversation_id, None)
        self._held.release(conversation_id)

    async def _flush_together(self, keys: Sequence[str]) -> None:
        """Moves the heads of these conversations in one step, each over all that is known beyond it."""
        # Where another process has written in between, ours have a gap, and all goes by what the database has.
        taken = [(key, list(self.heads.pending[key])) for key in keys if key in self.heads.pending]
        some = [(key, own) for key, own in taken if own[-1]["seq"] - own[0]["seq"] == len(own) - 1]
        for key in {key for key, _ in taken} - {key for key, _ in some}:
            await self.move(key)
        if not some:
            return
        await self._prepare([message for _, messages in some for message in messages])
        if await self._stored.move([(key, messages[0]["seq"] - 1, advance(messages)) for key, messages in some]):
            for key, messages in some:
                self._settle(key, messages[-1]["seq"])
            return
        # Another process has moved some of them, or is behind with messages before ours.
        stored = await self._stored.heads([key for key, _ in some])
        for key, messages in some:
            if stored.get(key, messages[-1]["seq"]) < messages[-1]["seq"]:
                await self.move(key)
            else:
                self._settle(key, messages[-1]["seq"])

    async def _prepare(self, messages: Sequence[Document]) -> None:
        """Does what must be done of messages before the head moves over them: once, however often moving it fails."""
        fresh = [each for each in messages if each["seq"] > self._prepared.get(each["conversation_id"], 0)]
        if not fresh:
            return
        if self.before is not None:
            await self.before(fresh)
        await self._index.add(fresh)  # last: done again, it adds the same lines again
        if len(self._prepared) > PREPARED_MAX:
            self._prepared.clear()
        self._prepared.update((each["conversation_id"], each["seq"]) for each in fresh)

    async def _flush_forever(self) -> None:
        """Ends when nothing is left to move."""
        wait_s = FLUSH_S
        try:
            while self.heads.pending:
                await asyncio.sleep(wait_s)
                started = time.monotonic()
                try:
                    await self.flush()
                except Exception as error:
                    count = len(self.heads.pending)
                    self._complaints.say("", "heads of %d conversations not stored yet: %s", count, error)
                    wait_s = min(2 * wait_s, FLUSH_WAIT_MAX_S)
                    continue
                # Moving heads must not take the database from those who wait to send, unless it falls behind.
                behind = sum(map(len, self.heads.pending.values())) > PENDING_MAX
                wait_s = FLUSH_S if behind else max(FLUSH_S, 3 * (time.monotonic() - started))
        finally:
            self._flushing = None

    async def _adopt(self, conversation_id: str) -> None:
        """Its process died between a message and telling of it: whoever moves the head tells."""
        seq = None
        while (moved := await self.move(conversation_id, tell=False)) is not None:
            seq = moved
        if seq is not None and self.tell is not None:
            await self.tell(conversation_id, seq)

    async def _look_again(self, conversation_id: str) -> None:
        await asyncio.sleep(ORPHANED_AFTER.total_seconds())
        seq = self._looking_again.pop(conversation_id)
        try:
            if (await self._stored.heads([conversation_id])).get(conversation_id, seq) < seq:
                await self._adopt(conversation_id)
        except Exception as error:
            self._complaints.say(conversation_id, "could not look at %s again: %s", conversation_id, error)
            self.look_later(conversation_id, seq)

    async def _tell_later(self, conversation_id: str) -> None:
        while conversation_id in self._to_tell:
            await asyncio.sleep(ORPHANED_AFTER.total_seconds())
            seq = self._to_tell[conversation_id]
            try:
                if self.tell is not None:
                    await self.tell(conversation_id, seq)
            except Exception as error:
                self._complaints.say(conversation_id, "could not tell where %s ends: %s", conversation_id, error)
                continue
            if self._to_tell[conversation_id] == seq:  # or there is more to tell by now
                del self._to_tell[conversation_id]

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
