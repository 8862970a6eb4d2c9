"""Tells connected people how their conversations stand, when what was done may never have reached this process.

A process may die between a durable change and telling of it, and what goes through Redis may be lost for good. The
relay knows when that can have been. Then each process tells its own connections of what happened since: by `chat:head`
of every conversation with messages, or with messages beyond its stored head, which clients fetch if they lack them; and
again of conversations and messages that were changed, as they are now. A send pays nothing for this: it is looked for
among the conversations of those who are connected, and only after such an event. Marks are not told again, since the
next one says the same.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from contract.rooms import user_room
from models.context import now
from models.conversations.actions import Conversations
from models.conversations.store import ConversationStore, News
from ops.metrics import RELAY

log = logging.getLogger("parley.repair")

# The embedded database takes ever longer for each when asked for more.
USERS_AT_ONCE = 10
GATHER_S = 0.2
RETRY_S = 1.0
# A message is told of this long after it got its time, at the latest; and clocks of processes differ.
MARGIN = timedelta(seconds=10)
# Conversations that were active lately are looked at first: what nobody was told of is most likely there.
LATELY = timedelta(days=1)

Work = Coroutine[Any, Any, None]


class Changes(Protocol):
    """What the repair asks of the messages."""

    async def tell_changed(self, conversation_id: str, since: datetime) -> None: ...


class Repair:
    """`connected`: the users connected to this process, or who have lost their connection and may return."""

    def __init__(
        self,
        store: ConversationStore,
        conversations: Conversations,
        messages: Changes,
        connected: Callable[[], Sequence[str]],
    ) -> None:
        self._store = store
        self._conversations = conversations
        self._messages = messages
        self._connected = connected
        self._since: float | None = None
        self._task: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._late: dict[str, set[str]] = {}
        self._outdated: dict[str, set[str]] = {}
        self._stopped = False

    def since(self, moment: float) -> None:
        """What was published from `moment` on (seconds since 1970) may be missing here."""
        self._since = moment if self._since is None else min(moment, self._since)
        if self._task is None:
            self._task = self._start(self._work())

    def pending(self) -> bool:
        """Whether people are still to be told, or would not be."""
        return bool(self._tasks) or bool(self._late) or bool(self._outdated) or self._stopped

    def late(self, conversation_id: str, rooms: Sequence[str]) -> None:
        """A message for these rooms came here when later ones of its conversation had been delivered."""
        self._gather(self._late, conversation_id, rooms, self._tell_late)

    def outdated(self, conversation_id: str, rooms: Sequence[str]) -> None:
        """These rooms were told late how a conversation was, maybe after they had been told how it has been since."""
        self._gather(self._outdated, conversation_id, rooms, self._tell_outdated)

    def _gather(
        self, into: dict[str, set[str]], conversation_id: str, rooms: Sequence[str], tell: Callable[[], Work]
    ) -> None:
        if not into:
            asyncio.get_running_loop().call_later(GATHER_S, lambda: self._start(tell()))
        into.setdefault(conversation_id, set()).update(rooms)

    async def stop(self) -> None:
        self._stopped = True
        for task in self._tasks:
            task.cancel()

    def _start(self, work: Work) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name="repair")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _tell_late(self) -> None:
        late, self._late = self._late, {}
        for conversation_id, rooms in late.items():
            try:
                document = await self._store.find(conversation_id)
            except Exception as error:
                log.warning("cannot look where %s ends, trying again: %s", conversation_id, error)
                self.late(conversation_id, list(rooms))
                continue
            if document is not None:
                await self._tell_end(conversation_id, document["last_seq"], list(rooms))

    async def _tell_outdated(self) -> None:
        outdated, self._outdated = self._outdated, {}
        for conversation_id, rooms in outdated.items():
            try:
                document = await self._store.find(conversation_id)
            except Exception as error:
                log.warning("cannot look how %s is now, trying again: %s", conversation_id, error)
                self.outdated(conversation_id, list(rooms))
                continue
            if document is not None:
                RELAY.repaired += 1
                whom = [user_id for user_id in document["participant_ids"] if user_room(user_id) in rooms]
                await self._conversations.announce(document, None, whom, local=True)

    async def _tell_end(self, conversation_id: str, last_seq: int, rooms: Sequence[str]) -> None:
        RELAY.repaired += 1
        await self._conversations.tell_head(conversation_id, last_seq, rooms, local=True)

    async def _work(self) -> None:
        try:
            wait_s = GATHER_S
            while self._since is not None:
                await asyncio.sleep(wait_s)
                moment, self._since, wait_s = self._since, None, GATHER_S
                try:
                    count = await self._tell(datetime.fromtimestamp(moment, UTC) - MARGIN)
                    log.info("told connected people how %d conversations stand", count)
                except Exception as error:
                    log.warning("cannot look for messages that nobody was told of, trying again: %s", error)
                    self._since, wait_s = min(moment, self._since or moment), RETRY_S
        finally:
            self._task = None

    async def _tell(self, since: datetime) -> int:
        users = list(self._connected())
        here = set(users)
        found: dict[str, News] = {}
        border = now() - LATELY
        for active in ({"$gte": border}, {"$lt": border}):
            for first in range(0, len(users), USERS_AT_ONCE):
                some = users[first : first + USERS_AT_ONCE]
                for news in await self._store.with_news(some, since, active):
                    if news.conversation_id in found:
                        continue
                    found[news.conversation_id] = news
                    if news.active and news.last_seq:
                        rooms = [user_room(user_id) for user_id in news.participant_ids if user_id in here]
                        await self._tell_end(news.conversation_id, news.last_seq, rooms)
        for news in found.values():  # only now: messages first
            if news.changed:  # as it is now, though most know that
                document = await self._store.find(news.conversation_id)
                if document is not None:
                    whom = [user_id for user_id in document["participant_ids"] if user_id in here]
                    await self._conversations.announce(document, None, whom, local=True)
            if news.edited:
                await self._messages.tell_changed(news.conversation_id, since)
        return len(found)
