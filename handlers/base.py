"""The Socket.IO door: a command becomes an operation for the executor, and what comes of that the acknowledgement.

A command whose handler is synchronous is answered in the turn in which it arrived. An exception never leaves here: the
client would get no acknowledgement and wait for ever.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

import msgspec

from contract.catalogue import identity as identity_contract
from contract.errors import ErrorBody, ErrorDetail, ParleyError, invalid
from contract.reading import Unreadable
from contract.registry import COMMANDS, Operation
from handlers.gate import Gate
from models.context import Action, Context
from ops.logs import REQUEST_ID, new_request_id
from ops.metrics import CONNECTS_REFUSED
from realtime.connections import Connection
from realtime.engine import acknowledge
from realtime.inbox import Overlapping
from realtime.namespace import ConnectRefused, Incoming
from realtime.recovery import Claim, Parted
from realtime.rooms import Member

log = logging.getLogger("parley.operations")

Handler = Callable[[Connection, Context, Any], "msgspec.Struct | Awaitable[msgspec.Struct]"]
# Errors that a well-made client does not cause again and again; too many of them close its session.
CLIENTS_FAULT = frozenset(
    {
        "forbidden", "rate_limited", "session_revoked", "token_expired", "token_invalid", "too_many_connections",
        "unauthenticated", "unknown_command", "validation_failed",
    }
)  # fmt: skip


class Success(msgspec.Struct, kw_only=True):
    """An acknowledgement that something was done."""

    ok: bool = True
    data: msgspec.Struct


class Failure(msgspec.Struct, kw_only=True):
    """An acknowledgement that it was not, and why."""

    ok: bool = False
    error: ErrorBody


class _Answer:
    """Acknowledges a command before it ends, see `models.context`."""

    __slots__ = ("_member", "_number", "given", "placed")

    def __init__(self, member: Member, number: int | None) -> None:
        self._member = member
        self._number = number
        self.given = False
        self.placed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __call__(self, data: msgspec.Struct) -> None:
        self.given = True
        acknowledge(self._member, self._number, Success(data=data))


class Namespace:
    """Its commands are the actions that the executor has for them; subclasses set `name`, bind in `__init__` those that
    concern the connection itself, and may extend `entered` and `left`.
    """

    name: str
    recovers = True
    attachments_max = 0  # no command takes any

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self._executor = gate.executor
        self._handlers: dict[str, tuple[Operation, Handler]] = {}
        for command in COMMANDS.values():
            if command.namespace == self.name and (action := self._executor.action(command)) is not None:
                self.bind(command, _without_connection(action))
        self.bind(identity_contract.AUTH_REFRESH, self._refresh)

    @property
    def bound(self) -> set[str]:
        return set(self._handlers)

    def bind(self, command: Operation, handler: Handler) -> None:
        assert command.namespace in (self.name, "*"), command.name
        assert command.name not in self._handlers, f"{command.name} has two handlers"
        self._handlers[command.name] = (command, handler)

    async def entered(self, connection: Connection, member: Member, context: Context) -> None:
        """The namespace of a connection was accepted."""

    def state(self, connection: Connection) -> list[str]:
        """What a connection that is lost will want back, beside its rooms."""
        return []

    async def returned(self, connection: Connection, member: Member, context: Context, before: Parted) -> None:
        """A lost connection has come back: gives it what it had, as far as it still may have it."""
        await self.entered(connection, member, context)

    def left(self, connection: Connection) -> None:
        """It has gone."""

    # What the engine calls, see realtime.engine.Namespace

    async def connect(self, member: Member, auth: Any, claim: Claim | None) -> None:
        """Accepts, or refuses with the error object. Catches all: the client would otherwise hear nothing."""
        request_id = new_request_id()
        REQUEST_ID.set(request_id)
        try:
            with self.gate.admission.entry(member.session):
                identity = await self.gate.authenticate(auth)
                self.gate.check_connects(identity.user_id)
            before = await claim.begin(member, identity.user_id) if claim is not None else None
            connection = await self.gate.connections.attach(member, identity)
            # A revocation that came while we looked closed whoever was attached then, and we were not yet.
            self.gate.sessions.require_not_revoked(identity.session_id)
            context = Context(identity.user_id, identity.session_id, identity.role, request_id, member.sid)
            if before is None:
                await self.entered(connection, member, context)
            else:
                await self.returned(connection, member, context, before)
        except Exception as error:
            self.gate.connections.detach(member)
            known = self._executor.known(f"connect {self.name}", error)
            CONNECTS_REFUSED.labels(known.code).inc()
            if known.code in CLIENTS_FAULT:
                member.session.refused()
            body = {"message": known.message, "data": known.body(request_id)}
            raise ConnectRefused(body) from None

    def parting(self, member: Member) -> tuple[str, list[str]]:
        connection: Connection | None = member.session.owner
        return ("", []) if connection is None else (connection.identity.user_id, self.state(connection))

    def disconnect(self, member: Member) -> None:
        connection: Connection | None = member.session.owner
        if connection is None:
            return
        try:
            self.left(connection)
        except Exception:
            log.exception("leaving %s failed", self.name)
        self.gate.connections.detach(member)

    def overlaps(self, name: str) -> bool:
        bound = self._handlers.get(name)
        return bound is not None and bound[0].overlaps

    def receive(
        self, member: Member, packet: Incoming
    ) -> Success | Failure | Coroutine[Any, Any, Success | Failure | None] | Overlapping[Success | Failure | None]:
        request_id = new_request_id()
        REQUEST_ID.set(request_id)
        started = time.perf_counter()
        name = packet.data[0]
        bound = self._handlers.get(name)
        label = name if bound is not None else "unknown"
        answer = None
        try:
            if bound is None:
                raise self._unknown(name)
            command, handler = bound
            if command.overlaps:
                answer = _Answer(member, packet.number)
            connection: Connection | None = member.session.owner
            if connection is None:
                raise ParleyError("unauthenticated")
            identity = connection.identity
            context = Context(
                identity.user_id, identity.session_id, identity.role, request_id, member.sid,
                answer.placed if answer else None, answer,
            )  # fmt: skip
            result: msgspec.Struct | Awaitable[msgspec.Struct]
            if self._executor.is_immediate(command):
                payload = self._executor.admit(command, identity, partial(_fields, packet.data))
                result = handler(connection, context, payload)
            else:
                result = self._wait(command, handler, connection, context, packet.data)
        except Exception as error:
            if isinstance(error, ParleyError) and error.code in CLIENTS_FAULT:
                member.session.refused()
            return self._failure(label, error, started, request_id)
        if isinstance(result, msgspec.Struct):
            self._executor.answered(label, "ok", started)
            return Success(data=result)
        work = self._finish(result, label, started, request_id, answer)
        return work if answer is None else Overlapping(work, answer.placed)

    async def _wait(
        self, command: Operation, handler: Handler, connection: Connection, context: Context, event: list[Any]
    ) -> msgspec.Struct:
        """One whose limit is counted across processes."""

        async def fields() -> Any:
            return _fields(event)

        try:
            payload = await self._executor.admit_waiting(command, connection.identity, "", fields)
        except ParleyError as error:
            if error.code in CLIENTS_FAULT:
                connection.session.refused()
            raise
        result = handler(connection, context, payload)
        return result if isinstance(result, msgspec.Struct) else await result

    async def _finish(
        self,
        result: Awaitable[msgspec.Struct],
        label: str,
        started: float,
        request_id: str,
        answer: _Answer | None,
    ) -> Success | Failure | None:
        executor = self._executor
        try:
            data = await executor.run(result)
        except asyncio.CancelledError:
            executor.answered(label, "cancelled", started)
            raise
        except Exception as error:
            failure = self._failure(label, error, started, request_id)
            return None if answer is not None and answer.given else failure
        executor.answered(label, "ok", started)
        return None if answer is not None and answer.given else Success(data=data)

    def _failure(self, label: str, error: Exception, started: float, request_id: str) -> Failure:
        known = self._executor.known(label, error)
        self._executor.answered(label, known.code, started)
        return Failure(error=known.body(request_id))

    def _unknown(self, name: str) -> ParleyError:
        near = COMMANDS.get(name)
        hint = f" It belongs to {near.namespace}." if near else ""
        return ParleyError("unknown_command", f"There is no command {name[:64]!r} on {self.name}.{hint}")

    async def _refresh(
        self, connection: Connection, context: Context, payload: identity_contract.AuthRefresh
    ) -> identity_contract.AuthRefreshed:
        identity = await self.gate.authenticate({"token": payload.token})
        if identity.user_id != context.user_id:
            raise ParleyError("forbidden", "That token is another user's.")
        if identity.expires_at >= connection.identity.expires_at:
            self.gate.connections.renew(connection, identity)
        left_s = connection.identity.expires_at - time.time()
        return identity_contract.AuthRefreshed(expires_in_ms=max(0, int(left_s * 1000)))


def _without_connection(action: Action) -> Handler:
    def handler(connection: Connection, context: Context, payload: Any) -> Awaitable[msgspec.Struct]:
        return action(context, payload)

    return handler


def _fields(event: list[Any]) -> Any:
    """One object after the name, or nothing where nothing is needed."""
    if len(event) > 2:
        reason = f"takes one object, not {len(event) - 1} arguments"
        raise ParleyError("validation_failed", f"payload: {reason}", details=[ErrorDetail("payload", reason)])
    if len(event) > 1 and isinstance(event[1], Unreadable):
        raise invalid(event[1].field, event[1].reason)
    return event[1] if len(event) > 1 and event[1] is not None else {}
