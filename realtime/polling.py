"""HTTP long-polling: packets wait in the outbox until the client's next GET takes them."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from aiohttp import web
from engineio import exceptions

from realtime.outbox import Flusher, Outbox
from realtime.packets import NOOP


class Listener(Protocol):
    def too_slow(self) -> None: ...


class PollingLink(Outbox):
    """`blocked` but for the moments in which a poll waits. `at_most`: what this client takes in one answer.

    `posted`: a POST is being read or worked off.
    """

    __slots__ = ("_answer", "_asked", "_at_most", "_ended", "_hold", "_poll", "listener", "posted")

    def __init__(self, listener: Listener, flusher: Flusher, offsets: bool = False, at_most: int | None = None) -> None:
        super().__init__(flusher, offsets)
        self.listener = listener
        self._at_most = at_most
        self.blocked = True
        self.posted = False
        self._poll: asyncio.Future[None] | None = None
        self._asked: str | None = None  # the `t` of the last poll, which is another one with each
        self._answer: list[Any] = []
        self._hold = False
        self._ended = False

    @property
    def polled(self) -> bool:
        """Whether a GET waits for packets right now."""
        return self._poll is not None

    async def poll(self, request: web.Request | None = None) -> list[Any]:
        """The packets there are, as soon as there are any. Raises EngineIOError for what ends the session.

        `request` tells whether the client is still there to get them. The same request again gets the same answer:
        browsers and proxies repeat a GET by themselves when its connection ends before the answer comes.
        """
        if self._poll is not None:
            raise exceptions.EngineIOError("a second poll")
        asked = None if request is None else request.query.get("t")
        if self._answer and asked == self._asked:
            return self._answer
        self._answer = []
        self.gather()
        if not self.packets and not self._ended and not self._hold:
            self._poll = asyncio.get_running_loop().create_future()
            try:
                await self._poll
            finally:
                self._poll = None
        if request is not None and request.transport is None:
            raise exceptions.EngineIOError("the client has given up the poll")
        answer = NOOP.for_polling(False) if self._hold else self.take(None if self._ended else self._at_most)
        if asked is not None:
            self._asked, self._answer = asked, answer
        return answer

    def take(self, at_most: int | None = None) -> list[Any]:
        """What waits, or the first of it, for the body of an answer; a NOOP if nothing does."""
        self.gather()
        count = len(self.packets) if at_most is None else self._within(at_most)
        packets, self.packets = self.packets[:count], self.packets[count:]
        return [part for packet in packets or [NOOP] for part in packet.for_polling(self.offsets)]

    def _within(self, parts: int) -> int:
        """How many of the packets, one at least, have no more parts than that."""
        count = 0
        for packet in self.packets:
            parts -= bool(packet.text) + len(packet.attachments)
            if parts < 0 and count:
                break
            count += 1
        return count

    def flush(self) -> None:
        if self._poll is not None and not self._hold:
            self._wake()
        else:
            super().flush()

    def overflow(self) -> None:
        self.listener.too_slow()

    def hold(self) -> None:
        """An upgrade has begun: the waiting poll ends, and packets wait for the transport that comes."""
        self._hold = True
        self._wake()

    def release(self) -> None:
        """The upgrade came to nothing."""
        self._hold = False

    def close(self, code: int = 0) -> None:
        self._ended = True
        self._wake()

    def pause_reading(self) -> None:
        """Each POST is answered before the client sends the next: there is nothing to pause."""

    def resume_reading(self) -> None:
        pass

    def _wake(self) -> None:
        if self._poll is not None and not self._poll.done():
            self._poll.set_result(None)
