"""How a command, an event and an endpoint are declared, and the lists of all that were.

A declaration registers itself. `contract.catalogue` imports every module that declares something, so importing that
one module gives the whole contract.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import msgspec

from contract.errors import ERRORS
from contract.types import Empty

NAMESPACES = ("/chat", "/typing", "/presence", "/offers", "/finance", "/system")

# What a namespace is connected by; no command is called so, since the Socket.IO protocol keeps the name.
CONNECT = "connect"

# What is said there expires by itself: who was away has missed nothing of it.
VOLATILE = frozenset({"/typing"})

# Errors any command or endpoint can give; declarations name only their own.
COMMON_ERRORS = ("validation_failed", "rate_limited", "internal_error", "unavailable", "timeout")
AUTH_ERRORS = ("unauthenticated", "token_invalid", "token_expired", "token_not_yet_valid", "session_revoked")

# Names the Socket.IO protocol keeps for itself; a client that sends one as an event is malformed.
RESERVED_EVENTS = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
)


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `count` per `per_s` seconds on average, `burst` at once (GCRA)."""

    count: int
    per_s: int
    burst: int


def connect_rate(connections: int) -> Rate:
    """How often a user may connect namespaces, who may have so many connections: each of them all, twice at once."""
    return Rate(count=30 * connections, per_s=60, burst=2 * len(NAMESPACES) * connections)


@dataclass(frozen=True, slots=True)
class Command:
    """Client to server, always acknowledged. `data` is what a successful acknowledgement carries.

    `namespace` "*" means every namespace. Commands of a connection run one after the other; one that `overlaps` lets
    the next such one begin once its own place in the order is certain, before it is acknowledged. `fan_out` is a tier
    name of `FAN_OUT_TIERS`, for commands that tell all of a conversation.
    """

    name: str
    namespace: str
    payload: type[msgspec.Struct]
    data: type[msgspec.Struct]
    limit: Rate
    doc: str
    errors: tuple[str, ...] = ()
    overlaps: bool = False
    fan_out: str | None = None

    def __post_init__(self) -> None:
        assert self.fan_out is None or self.fan_out in FAN_OUT_TIERS, self.fan_out
        assert self.namespace == "*" or self.namespace in NAMESPACES, self.namespace
        assert all(code in ERRORS for code in self.errors), self.errors
        assert self.name not in COMMANDS, self.name
        COMMANDS[self.name] = self

    @property
    def all_errors(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.errors, *COMMON_ERRORS, "token_expired")))


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


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One REST route. Path parameters, then the query (GET, DELETE) or the body, together make one `payload`.

    A mirror names its `command` and takes payload, data and errors from it; `returns` names the field of the data that
    is the resource. `limit` is a tier name of `RATE_TIERS`.
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    doc: str
    tag: str
    payload: type[msgspec.Struct] = Empty
    data: type[msgspec.Struct] | None = None
    command: Command | None = None
    returns: str | None = None
    status: int = 200
    auth: bool = True
    limit: str = "general"
    errors: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.command is not None:
            object.__setattr__(self, "payload", self.command.payload)
            object.__setattr__(self, "data", self.command.data)
            object.__setattr__(self, "errors", self.command.errors)
        key = (self.method, self.path)
        assert key not in ENDPOINTS, key
        assert self.limit in RATE_TIERS, self.limit
        ENDPOINTS[key] = self

    @property
    def path_names(self) -> tuple[str, ...]:
        return tuple(part[1:-1] for part in self.path.split("/") if part.startswith("{"))

    @property
    def takes_body(self) -> bool:
        return self.method in ("POST", "PUT", "PATCH")

    @property
    def all_errors(self) -> tuple[str, ...]:
        auth = (*AUTH_ERRORS, "csrf_failed") if self.auth and self.method != "GET" else AUTH_ERRORS if self.auth else ()
        body = ("malformed_json", "payload_too_large", "unsupported_media_type") if self.takes_body else ()
        return tuple(dict.fromkeys((*self.errors, *auth, *body, *COMMON_ERRORS)))


def mirror(
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"], path: str, tag: str, command: Command,
    returns: str | None = None, status: int = 200, limit: str = "general",
) -> Endpoint:  # fmt: skip
    """The endpoint that does what a command does."""
    return Endpoint(method, path, command.doc, tag, command=command, returns=returns, status=status, limit=limit)


COMMANDS: dict[str, Command] = {}
EVENTS: dict[tuple[str, str], Event] = {}
ENDPOINTS: dict[tuple[str, str], Endpoint] = {}

# Beside their own limits: how many people a user tells, by all commands of a tier together and through any door.
# A conversation of FAN_OUT_FREE or fewer costs nothing.
FAN_OUT_FREE = 64
FAN_OUT_TIERS = {
    "messages": Rate(150_000, 60, 50_000),
    "signals": Rate(300_000, 60, 100_000),
}

# REST limits: per user where one is known, else per address.
RATE_TIERS = {
    "general": Rate(1200, 60, 300),
    "auth": Rate(120, 60, 60),  # what hashes a password
    "refresh": Rate(300, 60, 100),
    "profile": Rate(12, 60, 12),  # what all whom one talks to are told
    "search": Rate(60, 60, 20),  # what reads thousands of messages
    "probe": Rate(6000, 60, 1000),
}
