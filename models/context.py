"""What an action is told about its caller, whichever door the request came through."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from contract.identity import Role
from contract.registry import Operation
from ops.addresses import network


@dataclass(frozen=True, slots=True)
class Context:
    """`origin` is the connection whose acknowledgement carries the result, which is why no event is sent to it.

    Both others are there for commands declared to overlap. The action completes `placed` as soon as nothing the caller
    does from here on can come before this command any more. It may `answer` before it ends, when others will hear of
    something that must not reach the caller before the answer.
    """

    user_id: str
    session_id: str
    role: Role
    request_id: str
    origin: str | None = None
    placed: asyncio.Future[None] | None = None
    answer: Callable[[Any], None] | None = None


@dataclass(frozen=True, slots=True)
class Client:
    """Where an HTTP request comes from; `ip` already accounts for trusted proxies. `gone`: nobody waits any more."""

    ip: str | None
    user_agent: str | None
    request_id: str
    gone: Callable[[], bool] = lambda: False

    @property
    def address(self) -> str:
        """What stands for whoever is there, when callers are counted."""
        return network(self.ip)


Action = Callable[[Context, Any], Awaitable[Any]]
Actions = dict[Operation, Action]

# Whoever runs a command on the server's machine.
OPERATOR = Client(None, None, "")


def fingerprint(*parts: Any) -> str:
    """Tells a repeat from another request under the same client_id."""
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:24]


def new_id(prefix: str) -> str:
    """An unguessable id (96 random bits) that says what it names, safe as a document key."""
    return f"{prefix}_{secrets.token_hex(12)}"


def now() -> datetime:
    """This moment in UTC, cut to the milliseconds that the database keeps and the wire shows."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
