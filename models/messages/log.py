"""The ordered, durable log of a conversation: every message, of whatever kind, gets its place here.

State of a message:

    draft --place taken--> queued --insert--> durable (has its seq) --publish--> told --> acknowledged

`seq` is contiguous because the only way to take n + 1 is a unique index, and nobody tries n + 1 before having seen that
n exists. A process writes a conversation's messages in groups: what is queued while one group is on its way to the
database goes with the next, and groups of many conversations share a call (`storage.batch`). Each message is told, and
then acknowledged, once its own write is durable, in `seq` order. A message whose process died in between is found by
whoever looks at the conversation next, who tells its participants where it ends now (`chat:head`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

from contract import chat, chat_commands
from contract.errors import ParleyError
from models.context import now
from models.conversations.actions import Conversations
from models.conversations.document import to_message
from models.messages.document import placed
from models.messages.store import ClientIdTaken, MessageStore, SeqTaken
from ops.metrics import MESSAGES_SENT, SEQ_CONFLICTS
from realtime.publisher import Order, Publisher
from storage.mongo import Document

log = logging.getLogger("parley.log")

ATTEMPTS_MAX = 200
GROUP_MAX = 64
# A predecessor older than this has reached every process, or will be missed by it: nothing waits for it.
SETTLED_AFTER = timedelta(seconds=5)
HEADS_MAX = 50_000

Stored = Callable[[chat.MessageData], None]
Result = TypeVar("Result")


@dataclass(slots=True, eq=False)
class _Entry:
    """`stored` hears of the message in its turn: after those before it were told, before those after it are."""

    draft: Document
    stored: Stored | None
    done: asyncio.Future[chat.MessageData]

    def finish(self, data: chat.MessageData) -> None:
        if self.stored is not None:
            self.stored(data)
        if not self.done.done():
            self.done.set_result(data)

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


@dataclass(slots=True, eq=False)
class _Pause:
    """Something that is done between two messages, when those before were told and none is on its way."""

    work: Callable[[], Awaitable[Any]]
    done: asyncio.Future[Any]

    async def run(self) -> None:
        try:
            result = await self.work()
        except Exception as error:
            if not self.done.done():
                self.done.set_exception(error)
        else:
            if not self.done.done():
                self.done.set_result(result)


class _Journal:
    """The messages of one conversation that wait, and the task that writes them."""

    __slots__ = ("entries", "telling", "writing")

    def __init__(self) -> None:
        self.entries: list[_Entry | _Pause] = []
        self.writing: asyncio.Task[None] | None = None
        self.telling: asyncio.Task[None] | None = None

    def take(self) -> list[_Entry]:
        """The next group: messages up to the next pause."""
        group: list[_Entry] = []
        for entry in self.entries[:GROUP_MAX]:
            if isinstance(entry, _Pause):
                break
            group.append(entry)
        del self.entries[: len(group)]
        return group


class Log:
    def __init__(self, store: MessageStore, conversations: Conversations, publisher: Publisher) -> None:
        self._store = store
        self._conversations = conversations
        self._publisher = publisher
        self._journals: dict[str, _Journal] = {}
        self._told_here: OrderedDict[str, int] = OrderedDict()

    async def append(
        self,
        conversation_id: str,
        draft: Document,
        in_place: asyncio.Future[None] | None = None,
        stored: Stored | None = None,
    ) -> chat.MessageData:
        """Makes the draft the next message, or finds that it was there before (same client_id, same payload).

        Its place among what this process appends is certain with the call; `in_place` is completed then. Raises
        idempotency_mismatch, or conflict if other processes were faster ATTEMPTS_MAX times in a row.
        """
        entry = _Entry(draft, stored, asyncio.get_running_loop().create_future())
        self._queue(conversation_id, entry)
        if in_place is not None and not in_place.done():
            in_place.set_result(None)
        return await entry.done

    async def between(self, conversation_id: str, work: Callable[[], Awaitable[Result]]) -> Result:
        """Does `work` between two messages of this process: for what must know where the conversation ends."""
        pause = _Pause(work, asyncio.get_running_loop().create_future())
        self._queue(conversation_id, pause)
        result: Result = await pause.done
        return result

    async def commit(self, conversation_id: str, write: Callable[[int], Awaitable[Document]]) -> Document:
        """Appends a message that is a part of a larger durable change, and tells of it.

        `write` is given the seq of the message, makes the change and returns the message. It may be called again, with
        another seq, when it raised SeqTaken. What else it raises is raised.
        """
        return await self.between(conversation_id, partial(self._commit, conversation_id, write))

    async def _commit(self, conversation_id: str, write: Callable[[int], Awaitable[Document]]) -> Document:
        for _ in range(ATTEMPTS_MAX):
            head, settled = await self._head(conversation_id)
            try:
                message = await write(head + 1)
            except SeqTaken:
                SEQ_CONFLICTS.inc()
                self._conversations.outrun(conversation_id)
                continue
            except (ParleyError, ClientIdTaken):  # refused: nothing was written
                raise
            except BaseException:
                self._conversations.unsure(conversation_id)
                raise
            self._conversations.note(message)
            MESSAGES_SENT.labels(message["kind"]).inc()
            await self._tell(None, conversation_id, [(message, None)], settled, more=False)
            return message
        raise ParleyError("conflict")

    def _queue(self, conversation_id: str, entry: _Entry | _Pause) -> None:
        journal = self._journals.get(conversation_id)
        if journal is None:
            journal = self._journals[conversation_id] = _Journal()
            journal.writing = asyncio.ensure_future(self._write(conversation_id, journal))
        journal.entries.append(entry)

    async def _write(self, conversation_id: str, journal: _Journal) -> None:
        """Until nothing waits. While one group is told, the next is already on its way to the database."""
        while journal.entries:
            first = journal.entries[0]
            if isinstance(first, _Pause):
                del journal.entries[0]
                if journal.telling is not None:
                    await asyncio.wait((journal.telling,))
                await first.run()
                continue
            waiting = journal.take()
            try:
                await self._write_group(conversation_id, journal, waiting)
            except Exception as error:
                self._conversations.unsure(conversation_id)
                for entry in waiting:
                    entry.fail(error)
            if not journal.entries and journal.telling is not None:
                await asyncio.wait((journal.telling,))  # more may come meanwhile
        del self._journals[conversation_id]

    async def _write_group(self, conversation_id: str, journal: _Journal, waiting: list[_Entry]) -> None:
        """Leaves in `waiting` what is not decided."""
        for _ in range(ATTEMPTS_MAX):
            head, settled = await self._head(conversation_id)
            documents = [placed(conversation_id, seq, entry.draft) for seq, entry in enumerate(waiting, head + 1)]
            count, refusal = await self._store.append(documents)
            if count:
                for document in documents[:count]:
                    self._conversations.note(document)
                    MESSAGES_SENT.labels(document["kind"]).inc()
                told = list(zip(documents[:count], waiting, strict=False))
                before, journal.telling = journal.telling, None
                more = bool(waiting[count:] or journal.entries)
                journal.telling = asyncio.ensure_future(self._tell(before, conversation_id, told, settled, more))
                del waiting[:count]
            if not waiting:
                return
            if refusal == "client_id_taken":
                if journal.telling is not None:
                    await asyncio.wait((journal.telling,))  # what was sent before it is answered before it
                await self._repeat(waiting[0])
                del waiting[0]
            else:
                SEQ_CONFLICTS.inc()
                self._conversations.outrun(conversation_id)
            if not waiting:
                return
        for entry in waiting:
            entry.fail(ParleyError("conflict"))

    async def _head(self, conversation_id: str) -> tuple[int, bool]:
        """The last seq there is, and whether every process that will hear of it has heard of it."""
        conversation = await self._conversations.recent(conversation_id)
        if conversation is None:
            raise ParleyError("not_found", "There is no such conversation.")
        last = conversation["last_message"]
        return conversation["last_seq"], last is None or last["created_at"] < now() - SETTLED_AFTER

    async def _repeat(self, entry: _Entry) -> None:
        """Its client_id is there already."""
        found = await self._store.find_sent(entry.draft["sender_id"], entry.draft["client_id"])
        if found is None:
            entry.fail(ParleyError("conflict"))
        elif found["payload_hash"] != entry.draft["payload_hash"]:
            entry.fail(ParleyError("idempotency_mismatch"))
        else:
            # The first try may have died before it was told. Its conversation is this one: the hash says so.
            await self._conversations.find(found["conversation_id"])
            entry.finish(chat.MessageData(message=to_message(found), duplicate=True))

    async def _tell(
        self,
        before: asyncio.Task[None] | None,
        conversation_id: str,
        told: Sequence[tuple[Document, _Entry | None]],
        settled: bool,
        more: bool,
    ) -> None:
        """Publishes and acknowledges durable messages, after those before them. `more`: other messages wait."""
        if more:
            await asyncio.sleep(0)  # the next group is on its way first: the database works while this process tells
        if before is not None:
            await asyncio.wait((before,))
        for document, entry in told:
            data = chat.MessageData(message=to_message(document))
            try:
                await self._publish(conversation_id, document, data, settled)
            except Exception:  # it is durable, and must be answered; who should hear of it cannot be read just now
                log.exception("telling of %s failed", document["_id"])
                self._conversations.untold(conversation_id, document["seq"])
            if entry is not None:
                entry.finish(data)

    async def _publish(self, conversation_id: str, message: Document, data: chat.MessageData, settled: bool) -> None:
        """`settled`: every process that will hear of the predecessor has heard of it. See `realtime.ordering`."""
        seq = message["seq"]
        rooms = await self._conversations.audience(conversation_id, seq)
        settled = settled or seq == 1 or self._told_here.get(conversation_id) == seq - 1
        self._told_here[conversation_id] = seq
        self._told_here.move_to_end(conversation_id)
        if len(self._told_here) > HEADS_MAX:
            self._told_here.popitem(last=False)
        order = Order(conversation_id, seq, settled)
        await self._publisher.publish(chat_commands.MESSAGE_EVENT, rooms, data, origin=message["origin"], order=order)
