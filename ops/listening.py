"""Listening sockets of several processes on one port: made by the formation, accepted on by its web processes.

The formation keeps one listening socket a slot for as long as it runs. A connection that waits in the queue of such a
socket survives the process that accepts from it. See docs/decisions/0021.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from ops.http import Runner, Site
from ops.tasks import end, until

# A crowd that comes at once waits here; a client that finds it full tries again after 1, 3, 7 and 15 s.
BACKLOG = 4_096
NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
DRAINING_LINE = b"parley draining"
ALL, OWN = b"1", b"0"  # what the formation writes to a process: accept on every slot's sockets, or on its own only
FIRST_REQUEST_S = 1.0  # so long a connection that was just accepted has to send its first request
LAST_REQUEST_S = 1.0  # so long a kept-alive connection has to hear, by an answer, that it is closed
LOOK_EVERY_S = 0.02
WORDS_MAX = 64
TURNS = 10

log = logging.getLogger("parley")


class ListenError(OSError):
    """Its text tells an operator the address and what is wrong with it."""


def listen(host: str, port: int, count: int, shared: bool = True) -> list[list[socket.socket]]:
    """For each of `count` slots a listening socket for every address of `host`, all on one port.

    `shared`: other processes may listen on it as well.

    Port 0 becomes a number with the first. Raises ListenError, and has closed what it opened.
    """
    with contextlib.ExitStack() as opened:
        slots: list[list[socket.socket]] = []
        for _ in range(count):
            slots.append([])
            missing: OSError | None = None
            try:
                found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            except socket.gaierror as error:
                raise _refused(error, host, port) from None
            for family, kind, protocol, _, address in dict.fromkeys(found):
                try:
                    one = _listening(family, kind, protocol, (address[0], port, *address[2:]), shared)
                except OSError as error:
                    if error.errno not in NOT_HERE:
                        raise
                    missing = error  # "localhost" may have an IPv6 address where the machine has none
                    continue
                opened.enter_context(one)
                port = port or one.getsockname()[1]
                slots[-1].append(one)
            if missing is not None and not slots[-1]:
                raise missing
        opened.pop_all()
    return slots


def _refused(error: OSError, host: str, port: int) -> ListenError:
    advice = "; choose another PORT" if error.errno in (errno.EADDRINUSE, errno.EACCES) else ""
    return ListenError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}{advice}")


def _listening(family: int, kind: int, protocol: int, address: tuple[Any, ...], shared: bool) -> socket.socket:
    one = socket.socket(family, kind, protocol)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:  # as asyncio does: "::" does not take the IPv4 port as well
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind(address)
        one.listen(BACKLOG)
    except OSError as error:
        one.close()
        raise _refused(error, *address[:2]) from None
    return one


async def _turns() -> None:
    """A connection that was accepted is known some turns of the loop later, and what was read is handled some later."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


class Inherited:
    """Accepts on the sockets of this process's slot (`own`); for `others`, while one of their slots has no process.

    The formation says on standard input when that is so. Descriptors are inherited; what is closed here is this
    process's copy, so the queues stay.
    """

    def __init__(self, runner: Runner, own: Sequence[int], others: Sequence[int]) -> None:
        self._runner = runner
        self._own, self._others = own, others
        self._standing_in: list[Site] = []
        self._obeying: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self._accept_on(self._own)
        self._obeying = asyncio.create_task(self._obey(), name="standing in")

    async def _accept_on(self, fds: Sequence[int]) -> list[Site]:
        sites = [Site(self._runner, socket.socket(fileno=os.dup(fd))) for fd in fds]
        for site in sites:
            await site.start()
        return sites

    async def _obey(self) -> None:
        told = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(told), sys.stdin)
        while word := await told.read(WORDS_MAX):
            if word.endswith(OWN):
                while self._standing_in:
                    await self._standing_in.pop().stop()
            elif not self._standing_in:
                try:
                    self._standing_in = await self._accept_on(self._others)
                except OSError as error:  # too many open files, say: its own queue matters more
                    log.warning("cannot stand in for other processes: %s", error)

    async def stop(self) -> None:
        """Accepts no more. Returns when what was accepted has asked for something, so that it is served here."""
        with contextlib.suppress(OSError):  # a formation that was killed does not read any more
            print(DRAINING_LINE.decode(), flush=True)
        await end(self._obeying)
        for site in self._runner.sites:
            await site.stop()
        for fd in (*self._own, *self._others):
            os.close(fd)
        self._runner.acceptor.close_late()
        await _turns()
        await until(lambda: not self._runner.acceptor.waiting, FIRST_REQUEST_S, LOOK_EVERY_S)
        await until(lambda: all(one._request_count for one in self._connections()), FIRST_REQUEST_S, LOOK_EVERY_S)
        await _turns()

    async def finish(self, within_s: float) -> None:
        """Once the process drains, each answer says that its connection is closed: waits for the last of them."""
        deadline = time.monotonic() + within_s
        await until(lambda: not self._connections(), min(LAST_REQUEST_S, within_s), LOOK_EVERY_S)
        await until(
            lambda: not any(one._request_in_progress for one in self._connections()),
            deadline - time.monotonic(), LOOK_EVERY_S,
        )  # fmt: skip

    def _connections(self) -> Sequence[web.RequestHandler]:
        return self._runner.server.connections if self._runner.server is not None else ()
