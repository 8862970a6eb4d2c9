"""Who is connected to this process: connections, their login, and what follows from it.

A *connection* is one Engine.IO session; it connects to several namespaces, each with its own Socket.IO id (`sids`). All
namespaces of a connection speak for one user. A login ends here in three ways, each told to the client with
`auth:revoked` before the connection closes: the session is revoked (bus), or its token runs out unrefreshed.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

from contract.catalogue import identity as identity_contract
from contract.errors import ParleyError
from contract.registry import EVENTS
from ops.metrics import CONNECTIONS, NAMESPACE_CONNECTIONS
from realtime.bus import Bus
from realtime.publisher import Publisher
from security.tokens import Identity

log = logging.getLogger("parley.connections")

EXPIRING_S = 60.0
SWEEP_S = 0.5


class Connection:
    """`looking_at`: conversations this connection joined. `sids`: namespace → Socket.IO id."""

    __slots__ = ("eio_sid", "expiring_told", "identity", "looking_at", "sids")

    def __init__(self, eio_sid: str, identity: Identity) -> None:
        self.eio_sid = eio_sid
        self.identity = identity
        self.sids: dict[str, str] = {}
        self.looking_at: dict[str, None] = {}  # in the order of joining
        self.expiring_told = False


Hook = Callable[[Connection], Awaitable[None]]


class Connections:
    """The registry. `close` ends an Engine.IO session; `user_max` bounds one user's connections."""

    def __init__(self, publisher: Publisher, bus: Bus, close: Callable[[str], Awaitable[None]], user_max: int) -> None:
        self._publisher = publisher
        self._close = close
        self._user_max = user_max
        self._by_eio: dict[str, Connection] = {}
        self._by_user: dict[str, set[Connection]] = defaultdict(set)
        self._by_session: dict[str, set[Connection]] = defaultdict(set)
        self._deadlines: list[tuple[float, int, str]] = []
        self._counter = 0
        self._task: asyncio.Task[None] | None = None
        self.opened: list[Hook] = []
        self.closed: list[Hook] = []
        bus.subscribe("session_revoked", self._session_revoked)
        CONNECTIONS.set_function(lambda: len(self._by_eio))

    def __len__(self) -> int:
        return len(self._by_eio)

    def get(self, eio_sid: str) -> Connection | None:
        return self._by_eio.get(eio_sid)

    def of_user(self, user_id: str) -> set[Connection]:
        return self._by_user.get(user_id, set())

    def of_session(self, session_id: str) -> set[Connection]:
        return self._by_session.get(session_id, set())

    async def attach(self, eio_sid: str, namespace: str, sid: str, identity: Identity) -> Connection:
        """A namespace of a connection has authenticated. Raises forbidden or too_many_connections."""
        connection = self._by_eio.get(eio_sid)
        if connection is None:
            if len(self._by_user.get(identity.user_id, ())) >= self._user_max:
                raise ParleyError("too_many_connections")
            connection = self._by_eio[eio_sid] = Connection(eio_sid, identity)
            self._by_user[identity.user_id].add(connection)
            self._by_session[identity.session_id].add(connection)
            self._watch(connection)
            connection.sids[namespace] = sid
            for hook in self.opened:
                await hook(connection)
        else:
            if connection.identity.user_id != identity.user_id:
                raise ParleyError("forbidden", "This connection already speaks for another user.")
            if identity.expires_at > connection.identity.expires_at:
                self.renew(connection, identity)
            connection.sids[namespace] = sid
        NAMESPACE_CONNECTIONS.labels(namespace).inc()
        return connection

    async def detach(self, eio_sid: str, namespace: str) -> None:
        """A namespace has gone; with the last one the connection is forgotten."""
        connection = self._by_eio.get(eio_sid)
        if connection is None or connection.sids.pop(namespace, None) is None:
            return
        NAMESPACE_CONNECTIONS.labels(namespace).dec()
        if connection.sids:
            return
        del self._by_eio[eio_sid]
        for index, key in (
            (self._by_user, connection.identity.user_id),
            (self._by_session, connection.identity.session_id),
        ):
            index[key].discard(connection)
            if not index[key]:
                del index[key]
        for hook in self.closed:
            await hook(connection)

    def renew(self, connection: Connection, identity: Identity) -> None:
        """Puts a newer login of the same user in place."""
        if identity.session_id != connection.identity.session_id:
            self._by_session[connection.identity.session_id].discard(connection)
            self._by_session[identity.session_id].add(connection)
        connection.identity = identity
        connection.expiring_told = False
        self._watch(connection)

    async def start(self) -> None:
        self._task = asyncio.create_task(self._sweep_forever(), name="connection-expiry")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def _watch(self, connection: Connection) -> None:
        """One heap entry per token, so that idle connections need no task or timer of their own."""
        self._counter += 1
        at = max(time.time(), connection.identity.expires_at - EXPIRING_S)
        heapq.heappush(self._deadlines, (at, self._counter, connection.eio_sid))

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                await self._sweep(time.time())
            except Exception:
                log.exception("expiry sweep failed")

    async def _sweep(self, at: float) -> None:
        while self._deadlines and self._deadlines[0][0] <= at:
            _, _, eio_sid = heapq.heappop(self._deadlines)
            connection = self._by_eio.get(eio_sid)
            if connection is None:
                continue
            left_s = connection.identity.expires_at - at
            if left_s <= 0:
                await self._end(connection, "expired")
            elif left_s <= EXPIRING_S and not connection.expiring_told:
                connection.expiring_told = True
                await self._tell(
                    connection, "auth:expiring", identity_contract.AuthExpiring(expires_in_ms=int(left_s * 1000))
                )
                self._counter += 1
                heapq.heappush(self._deadlines, (connection.identity.expires_at, self._counter, eio_sid))

    async def _session_revoked(self, data: dict[str, Any]) -> None:
        for connection in list(self.of_session(data["session_id"])):
            await self._end(connection, data["reason"])

    async def _end(self, connection: Connection, reason: Any) -> None:
        await self._tell(connection, "auth:revoked", identity_contract.AuthRevoked(reason=reason))
        await self._close(connection.eio_sid)

    async def _tell(self, connection: Connection, event: str, payload: Any) -> None:
        for namespace, sid in list(connection.sids.items()):
            await self._publisher.publish(EVENTS[namespace, event], [sid], payload)
