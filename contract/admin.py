"""What an administrator sees of one web process and does to its connections: /api/v1/admin.

Every answer is about the process that gave it, and names it. Behind a proxy ask each process at its own port.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from contract.registry import Endpoint
from contract.system import ComponentHealth, HealthStatus
from contract.text import line
from contract.types import Cursor, Empty, Id, Limit, Payload, Resource, Timestamp


class ProcessInfo(Resource):
    """`id` begins the request ids that this process makes; `route` is its ROUTE, or empty."""

    id: str
    route: str
    pid: int
    started_at: Timestamp
    uptime_s: int


class Backlog(Resource):
    """Connections that do not read just now, and the bytes that wait for them."""

    connections: int
    bytes: int


class ProcessStats(Resource):
    """`connections` are logged in; `sessions` are all of Engine.IO's, those that never log in included."""

    process: ProcessInfo
    status: HealthStatus
    sessions: int
    connections: int
    namespaces: dict[str, int]
    rooms: int
    commands_running: int
    log_ins_running: int
    loop_lag_ms: float
    backlog: Backlog
    redis: ComponentHealth
    versions: dict[str, str]


class ConnectionInfo(Resource):
    id: str
    user_id: str
    session_id: str
    namespaces: list[str]
    transport: Literal["websocket", "polling"]
    connected_at: Timestamp
    waiting_bytes: int


class ConnectionList(Resource):
    process: ProcessInfo
    items: list[ConnectionInfo]
    next_cursor: str | None


class ListConnections(Payload):
    user_id: Id | None = None
    cursor: Cursor | None = None
    limit: Limit = 50


class ConnectionTarget(Payload):
    connection_id: Id


_BASE = "/api/v1/admin"
STATS = Endpoint(
    "GET", f"{_BASE}/stats", "What the answering process is doing.", "admin", Empty, ProcessStats,
    errors=("forbidden",),
)  # fmt: skip
CONNECTIONS = Endpoint(
    "GET", f"{_BASE}/connections", "The connections of the answering process, the oldest first.", "admin",
    ListConnections, ConnectionList, errors=("forbidden",),
)  # fmt: skip
CONNECTION_CLOSE = Endpoint(
    "DELETE", f"{_BASE}/connections/{{connection_id}}",
    "Closes a connection of the answering process. Its client may come back: to keep it out, revoke its session.",
    "admin", ConnectionTarget, status=204, errors=("forbidden", "not_found"),
)  # fmt: skip


class Job(Resource):
    """Work that failed so often that it is not tried any more. `error` is what its last attempt died of."""

    id: str
    kind: str
    payload: dict[str, Any]
    attempts: int
    error: str | None
    created_at: Timestamp
    run_at: Timestamp


class JobList(Resource):
    items: list[Job]
    next_cursor: str | None


class ListJobs(Payload):
    cursor: Cursor | None = None
    limit: Limit = 50


class JobTarget(Payload):
    job_id: Id


DEAD_JOBS = Endpoint(
    "GET", "/api/v1/admin/jobs/dead", "Jobs that failed too often, oldest first.", "admin", ListJobs, JobList,
    errors=("forbidden",),
)  # fmt: skip
JOB_REPLAY = Endpoint(
    "POST", "/api/v1/admin/jobs/{job_id}/replay", "Tries a dead job again, at once.", "admin", JobTarget,
    status=204, errors=("forbidden", "not_found"),
)  # fmt: skip


class SetDisabled(Payload):
    user_id: Id
    disabled: bool
    reason: Annotated[str, line(200)]


class AccountStatus(Resource):
    user_id: str
    disabled: bool


USER_DISABLED = Endpoint(
    "PUT", "/api/v1/admin/users/{user_id}/disabled",
    "Closes an account, all its log-ins and connections at once, or opens it again.", "admin", SetDisabled,
    AccountStatus, errors=("forbidden", "not_found"),
)  # fmt: skip
