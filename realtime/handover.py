"""Asks other processes for a connection that returns here, and answers those that ask. See `recovery`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any

import msgspec

from realtime.history import Source
from realtime.managers import RelayManager
from realtime.recovery import Given, Missed, Parted, Recovery
from realtime.relay.relay import ALL, Relay

TOPIC = b"S"
ANSWER_WAIT_S = 1.0
# It asks all others in turn; see Relay.caught_up.
FETCH_WAIT_S = 1.5
# Who was not heard of for so long, though everyone speaks once a second, is not waited for.
FRESH_S = 1.5
# More than this was missed: fetching it from the database is quicker than handing it over.
MISSED_BYTES_MAX = 4_194_304


class _Find(msgspec.Struct, array_like=True):
    request: int
    pid: str
    namespace: str
    user_id: str


class _Found(msgspec.Struct, array_like=True):
    request: int
    parted: Parted | None


class _Fetch(msgspec.Struct, array_like=True):
    request: int
    pid: str
    rooms: list[str]
    offset: str | None


class _Fetched(msgspec.Struct, array_like=True):
    request: int
    missed: list[Missed] | None
    seen: list[Source]


class _Asked:
    """A question on its way; `open`: who may still answer."""

    def __init__(self, number: int, open_: set[str]) -> None:
        self.number = number
        self.open = open_
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def give(self, answer: Any) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)


def holds_nobody(relay: Relay) -> None:
    """Says so for a process without clients, such as a worker: others wait for everyone's answer."""

    def answer(process: str, number: int, names: bytes, body: bytes) -> None:
        if names == b"find":
            found = _Found(msgspec.msgpack.decode(body, type=_Find).request, None)
            relay.send(TOPIC, [f"to:{process}"], b"found", msgspec.msgpack.encode(found))

    relay.on(TOPIC, answer)


class Handover:
    """Implements `recovery.Elsewhere` over the relay. `owing`: people here are still to be told what may be missing."""

    def __init__(
        self,
        relay: Relay,
        recovery: Recovery,
        manager: RelayManager,
        owing: Callable[[], bool],
    ) -> None:
        self._relay = relay
        self._recovery = recovery
        self._hears = manager.hears
        self.complete: Callable[[Collection[str]], bool] = manager.complete
        self._owing = owing
        self._tasks: set[asyncio.Task[None]] = set()
        self._requests: dict[int, _Asked] = {}
        self._last_request = 0
        self._answers: dict[bytes, Callable[[str, bytes], None]] = {
            b"find": self._answer_find, b"found": self._hear_found,
            b"fetch": self._answer_fetch, b"fetched": self._hear_fetched,
        }  # fmt: skip
        relay.on(TOPIC, lambda process, number, names, body: self._answers[names](process, body))

    async def find(self, pid: str, namespace: str, user_id: str) -> tuple[str, Parted] | None:
        alive = self._relay.peers.fresh(FRESH_S)
        if not self._relay.connected or not alive:
            return None
        asked = self._ask(alive)
        self._say(ALL, b"find", _Find(asked.number, pid, namespace, user_id))
        answer: tuple[str, Parted] | None = await self._wait(asked, ANSWER_WAIT_S)
        return answer

    async def fetch(self, process: str, pid: str, rooms: list[str], offset: str | None) -> Given | None:
        # What others say from here on must come here, and in the order in which it was said. Then all that the answer
        # has is here when it comes, or never comes, and is sent once. Not so if the subscription ends meanwhile.
        listening_since = self._relay.steady_since
        if not self._hears(rooms):
            return None
        asked = self._ask({process})
        self._say(f"to:{process}", b"fetch", _Fetch(asked.number, pid, rooms, offset))
        answer: Given | None = await self._wait(asked, FETCH_WAIT_S)
        return answer if self._relay.steady_since == listening_since else None

    def _ask(self, processes: set[str]) -> _Asked:
        self._last_request += 1
        asked = self._requests[self._last_request] = _Asked(self._last_request, processes)
        return asked

    async def _wait(self, asked: _Asked, wait_s: float) -> Any:
        try:
            return await asyncio.wait_for(asked.answer, wait_s)
        except TimeoutError:
            return None
        finally:
            del self._requests[asked.number]

    def _say(self, channel: str, kind: bytes, what: msgspec.Struct) -> None:
        self._relay.send(TOPIC, [channel], kind, msgspec.msgpack.encode(what))

    def _answer_find(self, process: str, body: bytes) -> None:
        question = msgspec.msgpack.decode(body, type=_Find)
        parted = self._recovery.look_up(question.pid, question.namespace, question.user_id)
        self._say(f"to:{process}", b"found", _Found(question.request, parted))

    def _hear_found(self, process: str, body: bytes) -> None:
        found = msgspec.msgpack.decode(body, type=_Found)
        asked = self._requests.get(found.request)
        if asked is None:
            return
        asked.open.discard(process)
        if found.parted is not None:
            asked.give((process, found.parted))
        elif not asked.open:
            asked.give(None)

    def _answer_fetch(self, process: str, body: bytes) -> None:
        task = asyncio.ensure_future(self._hand_over(process, msgspec.msgpack.decode(body, type=_Fetch)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _hand_over(self, process: str, question: _Fetch) -> None:
        # The asker hears what is published from now on, and nobody tells it of what was before and is not here yet.
        caught_up = not self._owing() and await self._relay.caught_up()
        delivered = self._recovery.let_go(question.pid, question.rooms, question.offset)
        answer = _Fetched(question.request, None, [])
        # What is still held here the asker may have dropped already.
        if delivered is not None and caught_up and not self._owing() and self.complete(question.rooms):
            entries, seen = delivered
            if sum(len(entry.packet.text) for entry in entries) <= MISSED_BYTES_MAX:
                missed = [Missed(entry.source, entry.packet.text) for entry in entries]
                answer = _Fetched(question.request, missed, seen)
        self._say(f"to:{process}", b"fetched", answer)

    def _hear_fetched(self, process: str, body: bytes) -> None:
        fetched = msgspec.msgpack.decode(body, type=_Fetched)
        asked = self._requests.get(fetched.request)
        if asked is not None:
            asked.give(None if fetched.missed is None else Given(fetched.missed, fetched.seen))
