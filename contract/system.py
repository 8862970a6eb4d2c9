"""/system: notifications in the app, and the health of the service."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from contract.registry import ANYONE, USER, Event, Operation, Rate, Route
from contract.types import Cursor, Empty, Id, Limit, Payload, Resource, Timestamp

Kind = Literal["conversation_added", "mention"]


class Notification(Resource):
    """`data` names what it is about: conversation_id and, for a mention, message_id and seq.

    `body` of a mention is what the message says now; empty if it was deleted, or the user may not see it any more.
    """

    id: str
    kind: Kind
    title: str
    body: str
    data: dict[str, Any]
    read_at: Timestamp | None
    created_at: Timestamp


class NotificationEvent(Resource):
    notification: Notification


class NotificationList(Resource):
    items: list[Notification]
    next_cursor: str | None
    unread: int


class NotificationsRead(Resource):
    """`ids`: those that this call marked; `unread`: how many are left."""

    ids: list[str]
    unread: int


class Preferences(Resource):
    """Kinds the user does not want to be notified of."""

    muted_kinds: list[Kind]


class PreferencesData(Resource):
    preferences: Preferences


class ListNotifications(Payload):
    cursor: Cursor | None = None
    limit: Limit = 50
    kind: Kind | None = None
    unread: bool | None = None


class ReadNotifications(Payload):
    """Either `ids` or `all: true`."""

    ids: Annotated[list[Id], Meta(min_length=1, max_length=200)] | None = None
    all: bool = False


class SetPreferences(Payload):
    """Without `muted_kinds`, only tells the present ones."""

    muted_kinds: Annotated[list[Kind], Meta(max_length=20)] | UnsetType = UNSET


_PROBE = Rate(6_000, 60, 1_000)
_HEALTH = "/api/v1/health"
_NOTIFICATIONS = "/api/v1/notifications"
NOTIFICATIONS = Operation(
    "notification:list",
    ListNotifications,
    NotificationList,
    USER,
    Rate(300, 60, 60),
    "The caller's notifications, newest first.",
    namespace="/system",
    routes=(Route("GET", _NOTIFICATIONS, "notifications"),),
)
NOTIFICATIONS_READ = Operation(
    "notification:read",
    ReadNotifications,
    NotificationsRead,
    USER,
    Rate(300, 60, 60),
    "Marks them read.",
    namespace="/system",
    routes=(Route("POST", f"{_NOTIFICATIONS}/read", "notifications"),),
)
PREFERENCES = Operation(
    "notification:preferences",
    SetPreferences,
    PreferencesData,
    USER,
    Rate(60, 60, 20),
    "Tells the caller's preferences, and changes them when fields are sent.",
    namespace="/system",
    routes=(Route("PATCH", f"{_NOTIFICATIONS}/preferences", "notifications", returns="preferences"),),
)
NOTIFICATION_EVENT = Event("system:notification", "/system", NotificationEvent, "Something the user should know.")


class Draining(Resource):
    """`retry_after_ms` is drawn for each connection, so that not all come back in the same moment."""

    retry_after_ms: int


DRAINING_EVENT = Event(
    "system:draining",
    "/system",
    Draining,
    "This server process goes and closes the connection now (1012); connect again after the time it says.",
)


class ComponentHealth(Resource):
    """`status`: up, down, or not_configured. `detail` says why."""

    status: Literal["up", "down", "not_configured"]
    latency_ms: float | None
    detail: str | None


class Liveness(Resource):
    status: Literal["ok"]


# `degraded`: traffic is welcome, but this process does not reach the others through Redis just now.
HealthStatus = Literal["ready", "degraded", "draining", "not_ready"]


class Readiness(Resource):
    status: HealthStatus
    components: dict[str, ComponentHealth]


class DetailedHealth(Resource):
    status: HealthStatus
    version: str
    started_at: Timestamp
    uptime_s: int
    components: dict[str, ComponentHealth]
    performance: dict[str, float]


LIVE = Operation(
    "health:live",
    Empty,
    Liveness,
    ANYONE,
    _PROBE,
    "The process answers.",
    routes=(Route("GET", f"{_HEALTH}/live", "health"),),
)
READY = Operation(
    "health:ready",
    Empty,
    Readiness,
    ANYONE,
    _PROBE,
    "It should get traffic: 200 if ready or degraded, 503 if draining or without database.",
    routes=(Route("GET", f"{_HEALTH}/ready", "health"),),
)
DETAILED = Operation(
    "health:detailed",
    Empty,
    DetailedHealth,
    ANYONE,
    _PROBE,
    "Every part with its latency, and the process's own figures. For operators, with OPERATORS_TOKEN as the bearer "
    "token; where there is none, in development, for the machine itself.",
    ("forbidden", "unauthenticated"),
    routes=(Route("GET", f"{_HEALTH}/detailed", "health"), Route("GET", "/api/v1/system/health", "health")),
)
