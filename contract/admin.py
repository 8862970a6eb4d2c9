"""What an administrator sees of one web process and does to its connections: /api/v1/admin.

Every answer is about the process that gave it, and names it. Behind a proxy ask each process at its own port.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from contract.registry import ADMINISTRATOR, Operation, Rate, Route
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
    """`connections` are logged in; `sessions` are all of Engine.IO's, those that never log in included.
    `commands_running`: operations of any door, this one among them.
    """

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
_RATE = Rate(600, 60, 100)
STATS = Operation(
    "admin:stats",
    Empty,
    ProcessStats,
    ADMINISTRATOR,
    _RATE,
    "What the answering process is doing.",
    routes=(Route("GET", f"{_BASE}/stats", "admin"),),
)
CONNECTIONS = Operation(
    "admin:connections",
    ListConnections,
    ConnectionList,
    ADMINISTRATOR,
    _RATE,
    "The connections of the answering process, the oldest first.",
    routes=(Route("GET", f"{_BASE}/connections", "admin"),),
)
CLOSE_CONNECTION = Operation(
    "admin:close_connection",
    ConnectionTarget,
    Empty,
    ADMINISTRATOR,
    _RATE,
    "Closes a connection of the answering process. Its client may come back: to keep it out, revoke its session.",
    ("not_found",),
    routes=(Route("DELETE", f"{_BASE}/connections/{{connection_id}}", "admin", status=204),),
)


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


DEAD_JOBS = Operation(
    "admin:dead_jobs",
    ListJobs,
    JobList,
    ADMINISTRATOR,
    _RATE,
    "Jobs that failed too often, oldest first.",
    routes=(Route("GET", "/api/v1/admin/jobs/dead", "admin"),),
)
REPLAY_JOB = Operation(
    "admin:replay_job",
    JobTarget,
    Empty,
    ADMINISTRATOR,
    _RATE,
    "Tries a dead job again, at once.",
    ("not_found",),
    routes=(Route("POST", "/api/v1/admin/jobs/{job_id}/replay", "admin", status=204),),
)


class SetDisabled(Payload):
    user_id: Id
    disabled: bool
    reason: Annotated[str, line(200)]


class AccountStatus(Resource):
    user_id: str
    disabled: bool


SET_DISABLED = Operation(
    "admin:set_disabled",
    SetDisabled,
    AccountStatus,
    ADMINISTRATOR,
    _RATE,
    "Closes an account, all its log-ins and connections at once, or opens it again.",
    ("not_found",),
    routes=(Route("PUT", "/api/v1/admin/users/{user_id}/disabled", "admin"),),
)
