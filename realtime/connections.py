"""Who is connected to this process: connections, their login, and what follows from it.

A *connection* is one Engine.IO session; it connects to several namespaces, each with its own Socket.IO id. All
namespaces of a connection speak for one user. A login ends here in three ways, each told to the client with
`auth:revoked` before the connection closes: the session is revoked (bus), or its token runs out unrefreshed.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterator
from typing import Any

from engineio import AsyncServer

from contract.catalogue import identity as identity_contract
from contract.errors import ParleyError
from contract.registry import EVENTS, NAMESPACES
from ops.logs import PROCESS_ID
from ops.metrics import CONNECTIONS, NAMESPACE_CONNECTIONS
from ops.tasks import end
from realtime.bus import Bus
from realtime.publisher import Publisher
from realtime.rooms import Member
from realtime.session import Session
from security.tokens import Identity

log = logging.getLogger("parley.connections")

_IN_NAMESPACE = {namespace: NAMESPACE_CONNECTIONS.labels(namespace) for namespace in NAMESPACES}
_NOBODY: set[Any] = set()
EXPIRING_S = 60.0
SWEEP_S = 0.5


class Connection:
    """`looking_at`: conversations this connection joined. `number` tells its age."""

    __slots__ = ("connected_at", "due", "expiring_told", "identity", "looking_at", "number", "session")

    def __init__(self, number: int, session: Session, identity: Identity) -> None:
        self.number = number
        self.connected_at = time.time()
        self.session = session
        self.identity = identity
        self.due = 0  # the second at which its token is looked at again
        self.looking_at: dict[str, None] = {}  # in the order of joining
        self.expiring_told = False

    @property
    def id(self) -> str:
        """For administrators. Not the Engine.IO id: whoever knows that can poll for the client."""
        return f"{PROCESS_ID}-{self.number}"

    @property
    def sids(self) -> dict[str, str]:
        """Namespace → Socket.IO id, of those it is logged in to."""
        return {namespace: member.sid for namespace, member in self.session.members.items() if member.attached}

    def sid_in(self, namespace: str) -> str | None:
        member = self.session.members.get(namespace)
        return member.sid if member is not None and member.attached else None


Opened = Callable[[Connection], Awaitable[None]]
Closed = Callable[[Connection], None]


class Connections:
    """The registry. `user_max` bounds one user's connections."""

    def __init__(self, publisher: Publisher, bus: Bus, user_max: int) -> None:
        self._publisher = publisher
        self._user_max = user_max
        self._numbers = itertools.count(1)
        self._all: dict[int, Connection] = {}  # by number, and so in order
        self._by_user: dict[str, set[Connection]] = defaultdict(set)
        self._by_session: dict[str, set[Connection]] = defaultdict(set)
        self._due: dict[int, set[Connection]] = {}
        self._swept_to = int(time.time())
        self._task: asyncio.Task[None] | None = None
        self.opened: list[Opened] = []
        self.closed: list[Closed] = []
        bus.subscribe("session_revoked", self._session_revoked)
        CONNECTIONS.set_function(lambda: len(self._all))

    def __len__(self) -> int:
        return len(self._all)

    def close(self, connection_id: str) -> Connection | None:
        """Closes it, as an administrator asks; None if it is not of this process."""
        process, _, number = connection_id.partition("-")
        found = self._all.get(int(number)) if process == PROCESS_ID and number.isdecimal() else None
        if found is not None:
            found.session.close(AsyncServer.reason.SERVER_DISCONNECT)
        return found

    def after(self, number: int, among: Collection[Connection] | None = None) -> Iterator[Connection]:
        """Those that came later than `number`, in order; of all, or of some."""
        those = self._all.values() if among is None else sorted(among, key=lambda one: one.number)
        return (connection for connection in those if connection.number > number)

    def of_user(self, user_id: str) -> set[Connection]:
        return self._by_user.get(user_id, set())

    @property
    def user_ids(self) -> list[str]:
        """Everyone who is connected to this process."""
        return list(self._by_user)

    @property
    def session_ids(self) -> list[str]:
        """Every log-in with a connection to this process."""
        return list(self._by_session)

    def of_session(self, session_id: str) -> set[Connection]:
        return self._by_session.get(session_id, set())

    async def attach(self, member: Member, identity: Identity) -> Connection:
        """A namespace of a connection has authenticated. Raises forbidden or too_many_connections."""
        session, namespace = member.session, member.handler.name
        connection: Connection | None = session.owner
        if connection is None:
            if len(self._by_user.get(identity.user_id, ())) >= self._user_max:
                raise ParleyError("too_many_connections")
            connection = session.owner = Connection(next(self._numbers), session, identity)
            self._all[connection.number] = connection
            self._by_user[identity.user_id].add(connection)
            self._by_session[identity.session_id].add(connection)
            self._watch(connection)
            member.attached = True
            _IN_NAMESPACE[namespace].inc()
            for hook in self.opened:
                await hook(connection)
        else:
            if connection.identity.user_id != identity.user_id:
                raise ParleyError("forbidden", "This connection already speaks for another user.")
            if identity.expires_at > connection.identity.expires_at:
                self.renew(connection, identity)
            member.attached = True
            _IN_NAMESPACE[namespace].inc()
        return connection

    def detach(self, member: Member) -> None:
        """A namespace has gone; with the last one the connection is forgotten."""
        namespace = member.handler.name
        connection: Connection | None = member.session.owner
        if connection is None or not member.attached:
            return
        member.attached = False
        _IN_NAMESPACE[namespace].dec()
        if connection.sids:
            return
        member.session.owner = None
        del self._all[connection.number]
        self._due.get(connection.due, _NOBODY).discard(connection)
        _take_out(self._by_user, connection.identity.user_id, connection)
        _take_out(self._by_session, connection.identity.session_id, connection)
        for hook in self.closed:
            hook(connection)

    def renew(self, connection: Connection, identity: Identity) -> None:
        """Puts a newer login of the same user in place."""
        if identity.session_id != connection.identity.session_id:
            _take_out(self._by_session, connection.identity.session_id, connection)
            self._by_session[identity.session_id].add(connection)
        connection.identity = identity
        connection.expiring_told = False
        self._watch(connection)

    async def start(self) -> None:
        self._task = asyncio.create_task(self._sweep_forever(), name="connection-expiry")

    async def stop(self) -> None:
        await end(self._task)

    def _watch(self, connection: Connection) -> None:
        """Puts it where the sweep of that second finds it, so that an idle connection needs no timer of its own."""
        self._due.get(connection.due, _NOBODY).discard(connection)
        warned = EXPIRING_S if not connection.expiring_told else 0.0
        # Rounded up: the sweep of a second is over when the next begins.
        connection.due = max(self._swept_to + 1, math.ceil(connection.identity.expires_at - warned))
        self._due.setdefault(connection.due, set()).add(connection)

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                await self._sweep(time.time())
            except Exception:
                log.exception("expiry sweep failed")

    async def _sweep(self, at: float) -> None:
        while self._swept_to < int(at):
            self._swept_to += 1
            for connection in self._due.pop(self._swept_to, ()):
                await self._look_at(connection, at)

    async def _look_at(self, connection: Connection, at: float) -> None:
        left_s = connection.identity.expires_at - at
        if not connection.sids:
            return
        if left_s <= 0:
            await self._end(connection, "expired")
            return
        if left_s <= EXPIRING_S and not connection.expiring_told:
            connection.expiring_told = True
            told = identity_contract.AuthExpiring(expires_in_ms=int(left_s * 1000))
            await self._tell(connection, "auth:expiring", told)
        self._watch(connection)

    async def _session_revoked(self, data: dict[str, Any]) -> None:
        await self.end_session(data["session_id"], data["reason"])

    async def end_session(self, session_id: str, reason: Any) -> None:
        """Its log-in has ended: its connections are told and closed."""
        for connection in list(self.of_session(session_id)):
            await self._end(connection, reason)

    async def _end(self, connection: Connection, reason: Any) -> None:
        await self._tell(connection, "auth:revoked", identity_contract.AuthRevoked(reason=reason))
        connection.session.close(AsyncServer.reason.SERVER_DISCONNECT)

    async def _tell(self, connection: Connection, event: str, payload: Any) -> None:
        for namespace, sid in list(connection.sids.items()):
            await self._publisher.publish(EVENTS[namespace, event], [sid], payload, local=True)


def _take_out(index: dict[str, set[Connection]], key: str, connection: Connection) -> None:
    """The last one takes its key along."""
    index[key].discard(connection)
    if not index[key]:
        del index[key]
