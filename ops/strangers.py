"""Connections of whoever has not logged in: only so many at once, and the oldest go first.

A connection costs a file and some memory before anybody knows whose it is, so they have a part of the files that this
process may open, and those who have logged in the rest. Over it the oldest is closed: of many who hold connections and
say nothing it is one of theirs, while an honest client logs in within seconds. One that has sent no request within
FIRST_REQUEST_S is closed anyway.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import resource
import time
from collections.abc import Callable, Hashable, Iterable

from aiohttp import web

from ops import audit
from ops.addresses import network, shared_by_many
from ops.metrics import STRANGERS, STRANGERS_CLOSED
from ops.tasks import end
from ops.turns import Refusals

log = logging.getLogger("parley.strangers")

FILES_WANTED = 1_048_576
FILES_RESERVED = 128  # the database's, Redis's, the logs and what listens
STRANGERS_SHARE = 1 / 3
STRANGERS_MAX = 20_000
WAITING_SHARE = 1 / 16
WAITING_MAX = 1_024
FIRST_REQUEST_S = 10.0
ADDRESS_SHARE = 1 / 4
LATE_FROM_ALL = 256  # the share of each address of so many strangers, and never fewer than
LATE_FROM = 8
LATE_SHARE = 3 / 4
LOOK_EVERY_S = 1.0
LOOKED_AT = 64
COMPLAIN_EVERY_S = 10.0


def raise_file_limit() -> None:
    """As many files as the system lets this process have, without asking an operator."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, FILES_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # not everywhere, and what there is will do
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def files_allowed() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return FILES_WANTED if soft == resource.RLIM_INFINITY else soft


def waiting_max(files: int) -> int:
    """So many connections that were accepted may wait for their turn."""
    return max(16, min(WAITING_MAX, int((files - FILES_RESERVED) * WAITING_SHARE)))


def strangers_max(files: int) -> int:
    return max(16, min(STRANGERS_MAX, int((files - FILES_RESERVED) * STRANGERS_SHARE)))


def members_max(files: int) -> int:
    """How many connections of people who have logged in so many files allow."""
    return max(16, files - FILES_RESERVED - strangers_max(files) - waiting_max(files))


class Strangers:
    """`most` at once. Each is known by any object, an HTTP connection or a session. `limit_scale` is RATE_LIMIT_SCALE.

    `proxied`: the peers of our connections are proxies.
    """

    proxied = False

    def __init__(self, most: int, limit_scale: float = 0) -> None:
        self._most = most
        self.refusals = Refusals(limit_scale)
        self._all: dict[Hashable, Callable[[], None]] = {}  # in the order in which they came
        self._addresses: dict[Hashable, str] = {}
        self._by_address: dict[str, dict[Hashable, None]] = {}
        self._unheard: dict[Hashable, float] = {}  # of these, HTTP connections without a request so far
        self._closed = 0
        self._complained_at = 0.0
        self._task: asyncio.Task[None] | None = None
        STRANGERS.set_function(lambda: len(self._all))

    def __len__(self) -> int:
        return len(self._all)

    async def start(self) -> None:
        self._task = asyncio.create_task(self._look_forever(), name="strangers")

    async def stop(self) -> None:
        await end(self._task)

    def came(self, who: Hashable, close: Callable[[], None], address: str = "") -> None:
        """`close` ends it at once, and may call `went`. `address`: whose share it takes, if that is known."""
        self._all[who] = close
        if address:
            self._addresses[who] = address
            own = self._by_address.setdefault(address, {})
            own[who] = None
            if len(own) > self.address_max:
                self._close(self._next_to_go(own), "too_many_of_one_address")
        while len(self._all) > self._most:
            self._close(self._next_to_go(self._all), "too_many")

    def _next_to_go(self, among: Iterable[Hashable]) -> Hashable:
        """Of the oldest, one that nothing is being answered, and of the address that has most; the oldest of these."""

        def dispensable(who: Hashable) -> tuple[bool, int]:
            own = self._by_address.get(self._addresses.get(who, ""), ())
            return not getattr(who, "_request_in_progress", False), len(own)

        return max(itertools.islice(among, LOOKED_AT), key=dispensable)

    def is_late(self, address: str) -> bool:
        """Whether so much was refused there, or so many of it have not logged in, that others go before it."""
        if not address:
            return False
        share = max(LATE_FROM, min(LATE_FROM_ALL, self._most // 8) // (len(self._by_address) or 1))
        return len(self._by_address.get(address, ())) >= share or self.refusals.wait_s(address) > 0

    @property
    def room_for_late(self) -> int:
        """Those that are late take of what strangers do not."""
        return max(self._most // 16, int(self._most * LATE_SHARE) - len(self._all))

    @property
    def address_max(self) -> int:
        """How many one address may have: a crowd behind one router, and not all there is."""
        return max(8, int(self._most * ADDRESS_SHARE))

    @property
    def crowded(self) -> bool:
        """Half of the room is taken: nobody is waited for any more."""
        return len(self._all) > self._most / 2

    def went(self, who: Hashable) -> None:
        """It has ended, or has logged in."""
        self._forget(who)
        self._unheard.pop(who, None)

    def _forget(self, who: Hashable) -> Callable[[], None] | None:
        address = self._addresses.pop(who, None)
        if address is not None:
            own = self._by_address[address]
            del own[who]
            if not own:
                del self._by_address[address]
        return self._all.pop(who, None)

    def watch(self, server: web.Server) -> None:
        """Every connection of this HTTP server is a stranger until it sends what only a member may."""
        made, lost = server.connection_made, server.connection_lost

        def connection_made(handler: web.RequestHandler, transport: asyncio.Transport) -> None:
            made(handler, transport)
            self._unheard[handler] = time.monotonic()
            self.came(handler, transport.abort, self.share_of(transport.get_extra_info("peername")))

        def connection_lost(handler: web.RequestHandler, exc: BaseException | None = None) -> None:
            self.went(handler)
            lost(handler, exc)

        server.connection_made = connection_made  # type: ignore[method-assign]
        server.connection_lost = connection_lost  # type: ignore[method-assign]

    def heard(self, connection: Hashable) -> None:
        """It has sent a request."""
        self._unheard.pop(connection, None)

    def answered(self, connection: web.RequestHandler) -> None:
        """A request has been answered. Whoever's it was, a connection that is kept is now the newest stranger."""
        if (transport := connection.transport) is not None:
            self._forget(connection)
            self.came(connection, transport.abort, self.share_of(transport.get_extra_info("peername")))

    def share_of(self, peer: object) -> str:
        """Empty for a proxy: all connections are its own, and only requests tell of others."""
        return share_of(peer[0]) if isinstance(peer, tuple) and not self.proxied else ""

    def look(self, at: float) -> None:
        """Closes those that have been silent from the beginning for too long."""
        for who, since in list(self._unheard.items()):
            if at - since < FIRST_REQUEST_S:
                break
            self._close(who, "silent")
        if self._closed and at - self._complained_at > COMPLAIN_EVERY_S:
            log.warning(
                "%d connections that had not logged in were closed, silent ones or the oldest of over %d",
                self._closed, self._most,
            )  # fmt: skip
            audit.record("strangers_closed", count=self._closed)
            self._closed, self._complained_at = 0, at

    def _close(self, who: Hashable, reason: str) -> None:
        self.refusals.note(self._addresses.get(who, ""))
        close = self._forget(who)
        self._unheard.pop(who, None)
        self._closed += 1
        STRANGERS_CLOSED.labels(reason).inc()
        if close is not None:
            close()

    async def _look_forever(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self.look(time.monotonic())


def share_of(address: str | None) -> str:
    """By what strangers of an address are counted; empty if they are not."""
    return "" if shared_by_many(address) else network(address)


KEY = web.AppKey("strangers", Strangers)
