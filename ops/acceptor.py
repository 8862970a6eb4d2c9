"""Accepts connections and lets a few of them in each turn of the event loop; those that wait take turns by address.

uvloop accepts and reads all that has come in one turn, so a flood of connections is worked off before anybody else
gets one. Here it waits: as an open file, with what it has sent still in the kernel. See docs/decisions/0028.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any

from ops.metrics import CONNECTIONS_WAITING, STRANGERS_CLOSED
from ops.strangers import ADDRESS_SHARE

if TYPE_CHECKING:
    from aiohttp import web

    from ops.strangers import Strangers

log = logging.getLogger("parley.strangers")

ENTER_PER_TURN = 2
ACCEPTED_PER_TURN = 32
LATE_PER_S = 100
LATE = "late"  # all of them have one turn
LOOKED_AT = 64
RETRY_S = 0.1
CLOSED_PAUSE_S = 0.01  # an attacker comes back as soon as it is closed
COMPLAIN_EVERY_S = 10.0


class _Queues:
    """Connections by address; addresses in the order of their turns. `newest_first`: of one address."""

    def __init__(self, newest_first: bool = False) -> None:
        self._queues: dict[str, deque[socket.socket]] = {}
        self._newest_first = newest_first
        self.length = 0

    def count(self, address: str) -> int:
        return len(self._queues.get(address, ()))

    def add(self, address: str, connection: socket.socket) -> None:
        self._queues.setdefault(address, deque()).append(connection)
        self.length += 1

    def next(self) -> socket.socket:
        address = next(iter(self._queues))
        queue = self._queues.pop(address)
        if len(queue) > 1:
            self._queues[address] = queue  # behind all others
        self.length -= 1
        return queue.pop() if self._newest_first else queue.popleft()

    def drop(self) -> bool:
        """Closes the newest of the address that has most. False if none has a name."""
        some = islice((address for address in reversed(self._queues) if address), LOOKED_AT)
        most = max(some, key=self.count, default="")
        if not most:
            return False
        queue = self._queues[most]
        queue.pop().close()
        self.length -= 1
        if not queue:
            del self._queues[most]
        return True


class Acceptor:
    """One for all listening sockets of a process.

    An address that has many connections without a log-in, or to which much was refused, is late: all such addresses
    together get LATE_PER_S. `most` connections may wait for their turn and as many be late; where more want to, the
    address with most of them loses its newest. Connections without an address (of proxies, and of this machine) are
    never late or closed: while too many of them wait, others stay in the kernel's queue.
    """

    def __init__(self, server: web.Server, strangers: Strangers, most: int) -> None:
        self._server = server
        self._strangers = strangers
        self._most = most
        self._queues = _Queues()
        self._late = _Queues(newest_first=True)  # who waits longest is likely to have given up
        self._late_timer: asyncio.TimerHandle | None = None
        self._listening: dict[socket.socket, None] = {}
        self._entering: set[asyncio.Task[object]] = set()
        self._entered = 0  # in this turn of the loop
        self._full = False
        self._closed = 0  # of those that were accepted in this turn
        self._complained_at = -COMPLAIN_EVERY_S
        self._loop = asyncio.get_running_loop()
        CONNECTIONS_WAITING.set_function(lambda: self.waiting)

    @property
    def waiting(self) -> int:
        return self._queues.length + self._late.length

    @property
    def addresses(self) -> list[Any]:
        """Those on which it accepts, as the socket module gives them."""
        return [listening.getsockname() for listening in self._listening]

    def listen(self, listening: socket.socket) -> None:
        """Accepts on it from now on."""
        listening.setblocking(False)
        self._listening[listening] = None
        self._loop.add_reader(listening, self._accept, listening)

    def leave(self, listening: socket.socket) -> None:
        """Accepts no more on it, and closes it. What was accepted is still let in."""
        self._listening.pop(listening, None)
        self._loop.remove_reader(listening)
        listening.close()

    def close_late(self) -> None:
        """Of a process that goes: their clients come to another one sooner."""
        if self._late_timer is not None:
            self._late_timer.cancel()
            self._late_timer = None
        while self._late.length:
            self._late.next().close()

    async def stop(self) -> None:
        """Closes those that wait."""
        self.close_late()
        while self._queues.length:
            self._queues.next().close()
        await asyncio.gather(*self._entering, return_exceptions=True)

    def _accept(self, listening: socket.socket) -> None:
        self._closed = 0
        resume_s = self._accept_some(listening)
        if self._closed:
            STRANGERS_CLOSED.labels("too_many_waiting").inc(self._closed)
            if self._closed > ACCEPTED_PER_TURN // 2:
                resume_s = max(resume_s, CLOSED_PAUSE_S)
        if resume_s or self._full:
            self._pause()
        if resume_s:
            self._loop.call_later(resume_s, self._resume)

    def _accept_some(self, listening: socket.socket) -> float:
        """Seconds for which no more are accepted."""
        for _ in range(ACCEPTED_PER_TURN):
            if self._queues.length >= self._most and not self._make_room():
                self._full = True
                break
            try:
                connection, peer = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                break
            except OSError as error:  # too many open files, say
                self._complain(error)
                return RETRY_S
            self._came(connection, self._strangers.share_of(peer))
        return 0.0

    def _make_room(self) -> bool:
        made = self._queues.drop()
        self._closed += made
        return made

    def _pause(self) -> None:
        for listening in self._listening:
            self._loop.remove_reader(listening)

    def _resume(self) -> None:
        self._full = False
        for listening in self._listening:
            self._loop.add_reader(listening, self._accept, listening)

    def _complain(self, error: OSError) -> None:
        at = time.monotonic()
        if at - self._complained_at > COMPLAIN_EVERY_S:
            self._complained_at = at
            log.warning("cannot accept connections: %s", error)

    def _came(self, connection: socket.socket, address: str) -> None:
        if not self._strangers.is_late(address):
            self._take_turn(connection, address)
        elif self._late.count(address) < self._strangers.room_for_late * ADDRESS_SHARE:
            self._late.add(address, connection)
            self._keep_room()
            if self._late_timer is None:
                self._late_timer = self._loop.call_later(1 / LATE_PER_S, self._let_late)
        else:
            self._closed += 1
            connection.close()

    def _keep_room(self) -> None:
        """Strangers may need what late ones have."""
        while self._late.length > self._strangers.room_for_late:
            self._closed += self._late.drop()

    def _let_late(self) -> None:
        self._closed = 0
        self._keep_room()
        STRANGERS_CLOSED.labels("too_many_waiting").inc(self._closed)
        self._take_turn(self._late.next(), LATE)
        again = self._late.length > 0
        self._late_timer = self._loop.call_later(1 / LATE_PER_S, self._let_late) if again else None

    def _take_turn(self, connection: socket.socket, address: str) -> None:
        if not self._queues.length and self._entered < ENTER_PER_TURN:
            self._enter(connection)
        else:
            self._queues.add(address, connection)

    def _enter(self, connection: socket.socket) -> None:
        if not self._entered:
            self._loop.call_soon(self._next_turn)
        self._entered += 1
        connection.setblocking(False)
        entering = self._loop.create_task(self._loop.connect_accepted_socket(self._server, connection))
        self._entering.add(entering)
        entering.add_done_callback(self._has_entered)

    def _has_entered(self, entering: asyncio.Task[object]) -> None:
        self._entering.discard(entering)
        if not entering.cancelled() and (error := entering.exception()) is not None:
            log.info("a connection was lost while it was let in: %s", error)

    def _next_turn(self) -> None:
        self._entered = 0
        while self._queues.length and self._entered < ENTER_PER_TURN:
            self._enter(self._queues.next())
        if self._full and self._queues.length <= self._most // 2:
            self._resume()
