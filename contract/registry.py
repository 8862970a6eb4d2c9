"""How what can be asked, and what is told, is declared: operations and events, and the lists of all.

An operation is declared once, beside its payload, for all doors: its name on a socket, its REST routes, who may ask
for it, how often, and what may go wrong. A declaration registers itself. `contract.catalogue` imports every module that
declares something, so importing that one gives the whole contract. docs/decisions/0033.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Literal

import msgspec

from contract.errors import ERRORS

NAMESPACES = ("/chat", "/typing", "/presence", "/offers", "/finance", "/system")

# What a namespace is connected by; no command is called so, since the Socket.IO protocol keeps the name.
CONNECT = "connect"

# What is said there expires by itself: who was away has missed nothing of it.
VOLATILE = frozenset({"/typing"})

# Errors any operation can give; declarations name only their own.
COMMON_ERRORS = ("validation_failed", "rate_limited", "internal_error", "unavailable", "timeout")
AUTH_ERRORS = ("unauthenticated", "token_invalid", "token_expired", "token_not_yet_valid", "session_revoked")

# Names the Socket.IO protocol keeps for itself; a client that sends one as an event is malformed.
RESERVED_EVENTS = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
)


Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Permission = Literal["anyone", "user", "administrator"]
ANYONE: Permission = "anyone"
USER: Permission = "user"
ADMINISTRATOR: Permission = "administrator"


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` per `per_s` seconds on average, `burst` at once (GCRA), by whatever door.

    Per user, and where nobody is logged in per address. It is counted in each process, or, if `shared`, across them.
    Operations whose rates name the same `tier` have one count together.
    """

    count: int
    per_s: int
    burst: int
    shared: bool = False
    tier: str = ""


def connect_rate(connections: int) -> Rate:
    """How often a user may connect namespaces, who may have so many connections: each of them all, twice at once."""
    return Rate(count=30 * connections, per_s=60, burst=2 * len(NAMESPACES) * connections)


@dataclass(frozen=True, slots=True)
class Route:
    """Where an operation is in REST. Path parameters, then the query (GET, DELETE) or the body, make its payload.

    `tag` groups routes in the documents. `returns` names the field of the data that is the resource.
    """

    method: Method
    path: str
    tag: str
    returns: str | None = None
    status: int = 200

    @property
    def path_names(self) -> tuple[str, ...]:
        return tuple(part[1:-1] for part in self.path.split("/") if part.startswith("{"))

    @property
    def takes_body(self) -> bool:
        return self.method in ("POST", "PUT", "PATCH")


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """What can be asked for. `data` is what a successful answer carries.

    `namespace`: where it is a command of Socket.IO, always acknowledged; "*" means every one, None means nowhere. A
    payload with a `client_id` makes it idempotent: a repeat with the same one does nothing and has the first's result.
    Commands of a connection run one after the other; one that `overlaps` lets the next such one begin once its own
    place in the order is certain, before it is acknowledged. `fan_out` is a tier name of `FAN_OUT_TIERS`, for what
    tells all of a conversation.
    """

    name: str
    payload: type[msgspec.Struct]
    data: type[msgspec.Struct]
    permission: Permission
    limit: Rate
    doc: str
    errors: tuple[str, ...] = ()
    _: KW_ONLY
    namespace: str | None = None
    routes: tuple[Route, ...] = ()
    overlaps: bool = False
    fan_out: str | None = None

    def __post_init__(self) -> None:
        assert self.fan_out is None or self.fan_out in FAN_OUT_TIERS, self.fan_out
        assert self.namespace is None or self.namespace == "*" or self.namespace in NAMESPACES, self.namespace
        assert self.namespace is None or self.needs_login, self.name
        assert all(code in ERRORS for code in self.errors), self.errors
        assert self.name not in OPERATIONS, self.name
        OPERATIONS[self.name] = self
        if self.namespace is not None:
            COMMANDS[self.name] = self
        for route in self.routes:
            key = (route.method, route.path)
            assert key not in ENDPOINTS, key
            ENDPOINTS[key] = Endpoint(self, route)

    @property
    def needs_login(self) -> bool:
        return self.permission != ANYONE

    @property
    def own_errors(self) -> tuple[str, ...]:
        return (*self.errors, "forbidden") if self.permission == ADMINISTRATOR else self.errors

    @property
    def all_errors(self) -> tuple[str, ...]:
        """By socket."""
        return tuple(dict.fromkeys((*self.own_errors, *COMMON_ERRORS, "token_expired")))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An operation at one of its routes."""

    operation: Operation
    route: Route

    @property
    def method(self) -> Method:
        return self.route.method

    @property
    def path(self) -> str:
        return self.route.path

    @property
    def payload(self) -> type[msgspec.Struct]:
        return self.operation.payload

    @property
    def all_errors(self) -> tuple[str, ...]:
        operation, route = self.operation, self.route
        login = AUTH_ERRORS if operation.needs_login else ()
        csrf = ("csrf_failed",) if login and route.method != "GET" else ()
        body = ("malformed_json", "payload_too_large", "unsupported_media_type") if route.takes_body else ()
        return tuple(dict.fromkeys((*operation.own_errors, *login, *csrf, *body, *COMMON_ERRORS)))


@dataclass(frozen=True, slots=True)
class Event:
    """Server to client.

    `latest_by` names fields of the payload: of events on this namespace that agree in them only the newest matters, so
    a client that does not keep up gets just that one. Events without are never left out.
    """

    name: str
    namespace: str
    payload: type[msgspec.Struct]
    doc: str
    latest_by: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        key = (self.namespace, self.name)
        assert key not in EVENTS, key
        assert set(self.latest_by) <= set(self.payload.__struct_fields__), self.latest_by
        EVENTS[key] = self


OPERATIONS: dict[str, Operation] = {}
COMMANDS: dict[str, Operation] = {}  # those of Socket.IO
ENDPOINTS: dict[tuple[str, str], Endpoint] = {}  # by method and path
EVENTS: dict[tuple[str, str], Event] = {}

# Beside their own limits: how many people a user tells, by all commands of a tier together and through any door.
# A conversation of FAN_OUT_FREE or fewer costs nothing.
FAN_OUT_FREE = 64
FAN_OUT_TIERS = {
    "messages": Rate(150_000, 60, 50_000),
    "signals": Rate(300_000, 60, 100_000),
}
