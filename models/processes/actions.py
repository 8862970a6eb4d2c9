"""What an administrator can see and do on this one process. Nothing is stored, and nothing reaches another process."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from itertools import islice
from platform import python_version

from contract import admin
from contract.admin import (
    Backlog,
    ConnectionInfo,
    ConnectionList,
    ConnectionTarget,
    ListConnections,
    ProcessInfo,
    ProcessStats,
)
from contract.catalogue import VERSION
from contract.errors import ParleyError
from contract.types import Empty, format_time
from models.context import Actions, Context
from models.paging import decode_cursor, encode_cursor
from ops import audit
from ops.health import Health
from ops.lag import LoopLag
from ops.logs import PROCESS_ID
from realtime.admission import Admission
from realtime.connections import Connection, Connections
from realtime.rooms import Rooms
from realtime.transport import EngineServer

PARTS = ("aiohttp", "python-socketio", "python-engineio", "motor", "redis", "uvloop")


class Processes:
    """`running` tells how many commands are."""

    def __init__(
        self, engine: EngineServer, rooms: Rooms, connections: Connections, admission: Admission, lag: LoopLag,
        health: Health, running: Callable[[], int],
    ) -> None:  # fmt: skip
        self._engine = engine
        self._rooms = rooms
        self._connections = connections
        self._admission = admission
        self._lag = lag
        self._health = health
        self._running = running
        self._versions = {"parley": VERSION, "python": python_version(), **_installed()}

    def actions(self) -> Actions:
        return {
            admin.STATS: self.stats,
            admin.CONNECTIONS: self.list_connections,
            admin.CLOSE_CONNECTION: self.close_connection,
        }

    async def stats(self, context: Context, payload: Empty) -> ProcessStats:
        readiness = await self._health.ready()
        sizes = self._rooms.sizes()
        blocked, waiting = self._engine.backlog()
        return ProcessStats(
            process=self._info(),
            status=readiness.status,
            sessions=len(self._engine.sockets),
            connections=len(self._connections),
            namespaces={name: members for name, (members, _) in sizes.items() if members},
            rooms=sum(rooms for _, rooms in sizes.values()),
            commands_running=self._running(),
            log_ins_running=self._admission.entering,
            loop_lag_ms=round(self._lag.seconds * 1000, 3),
            backlog=Backlog(connections=blocked, bytes=waiting),
            redis=readiness.components["redis"],
            versions=self._versions,
        )

    async def list_connections(self, context: Context, payload: ListConnections) -> ConnectionList:
        after = decode_cursor(payload.cursor, int) if payload.cursor else 0
        of_user = None if payload.user_id is None else self._connections.of_user(payload.user_id)
        later = self._connections.after(after, of_user)
        page = list(islice(later, payload.limit))
        more = next(later, None) is not None
        return ConnectionList(
            process=self._info(),
            items=[_info_of(connection) for connection in page],
            next_cursor=encode_cursor(page[-1].number) if more else None,
        )

    async def close_connection(self, context: Context, payload: ConnectionTarget) -> None:
        connection = self._connections.close(payload.connection_id)
        if connection is None:
            raise ParleyError("not_found", f"Process {self._name()} has no such connection.")
        audit.record("connection_ended", user_id=connection.identity.user_id, by=context.user_id)

    def _info(self) -> ProcessInfo:
        return ProcessInfo(
            id=PROCESS_ID, route=self._engine.route, pid=os.getpid(), started_at=format_time(self._health.started_at),
            uptime_s=int((datetime.now(UTC) - self._health.started_at).total_seconds()),
        )  # fmt: skip

    def _name(self) -> str:
        return f"{PROCESS_ID} ({self._engine.route})" if self._engine.route else PROCESS_ID


def _installed() -> dict[str, str]:
    found = {}
    for part in PARTS:
        with suppress(metadata.PackageNotFoundError):  # uvloop is not everywhere
            found[part] = metadata.version(part)
    return found


def _info_of(connection: Connection) -> ConnectionInfo:
    session = connection.session
    return ConnectionInfo(
        id=connection.id,
        user_id=connection.identity.user_id,
        session_id=connection.identity.session_id,
        namespaces=sorted(connection.sids),
        transport="websocket" if session.upgraded else "polling",
        connected_at=format_time(datetime.fromtimestamp(connection.connected_at, UTC)),
        waiting_bytes=session.link.waiting_bytes,
    )
