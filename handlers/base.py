"""The choke point of every namespace: nothing a client sends reaches a handler by another way.

In order: is it a declared command? is the caller still logged in? within the limit? is the payload valid? Then one
action runs, and its result or its error becomes the acknowledgement; one metric, and one log line if something failed.
All of this up to the action is synchronous, and a command whose handler is synchronous too is answered in the turn in
which it arrived. An exception never leaves here: the client would get no acknowledgement and wait for ever.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec

from contract.catalogue import identity as identity_contract
from contract.errors import ErrorBody, ErrorDetail, ParleyError, invalid
from contract.reading import Unreadable
from contract.registry import COMMANDS, CONNECT, Command
from contract.types import parse
from handlers.gate import Gate
from models.context import Context
from ops.logs import REQUEST_ID, new_request_id
from ops.metrics import COMMANDS as COMMANDS_TOTAL
from ops.metrics import CONNECTS_REFUSED, ERRORS
from realtime.connections import Connection
from realtime.engine import acknowledge
from realtime.inbox import Overlapping
from realtime.namespace import ConnectRefused, Incoming
from realtime.recovery import Claim, Parted
from realtime.rooms import Member
from storage.mongo import as_parley_error

log = logging.getLogger("parley.commands")

Action = Callable[[Context, Any], Awaitable[msgspec.Struct]]
Handler = Callable[[Connection, Context, Any], "msgspec.Struct | Awaitable[msgspec.Struct]"]
SLOW_S = 1.0
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
    """Subclasses set `name`, bind their commands in `__init__`, and may extend `entered` and `left`."""

    name: str
    recovers = True
    attachments_max = 0  # no command takes any

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self._handlers: dict[str, tuple[Command, Handler]] = {}
        self.bind_with_connection(identity_contract.AUTH_REFRESH, self._refresh)

    @property
    def bound(self) -> set[str]:
        return set(self._handlers)

    def bind(self, command: Command, action: Action) -> None:
        """This command is this action; the handler is nothing more."""

        def handler(connection: Connection, context: Context, payload: Any) -> Awaitable[msgspec.Struct]:
            return action(context, payload)

        self.bind_with_connection(command, handler)

    def bind_with_connection(self, command: Command, handler: Handler) -> None:
        """For the few commands that concern the connection itself."""
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
                self.gate.check_rate(CONNECT, identity.user_id)
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
            known = self._known(f"connect {self.name}", error)
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
            connection, context, payload = self._admit(command, member, packet.data, request_id, answer)
            result = handler(connection, context, payload)
        except Exception as error:
            if isinstance(error, ParleyError) and error.code in CLIENTS_FAULT:
                member.session.refused()
            return self._failure(label, error, started, request_id)
        if isinstance(result, msgspec.Struct):
            COMMANDS_TOTAL.note(label, "ok", time.perf_counter() - started)
            return Success(data=result)
        work = self._finish(result, label, started, request_id, answer)
        return work if answer is None else Overlapping(work, answer.placed)

    def _admit(
        self,
        command: Command,
        member: Member,
        event: list[Any],
        request_id: str,
        answer: _Answer | None,
    ) -> tuple[Connection, Context, Any]:
        gate, connection = self.gate, member.session.owner
        if connection is None:
            raise ParleyError("unauthenticated")
        identity = connection.identity
        if identity.expires_at <= time.time() and command is not identity_contract.AUTH_REFRESH:
            raise ParleyError("token_expired")
        gate.check_rate(command.name, identity.user_id)
        payload = _parse(command, event)
        context = Context(
            identity.user_id, identity.session_id, identity.role, request_id, member.sid,
            answer.placed if answer else None, answer,
        )  # fmt: skip
        return connection, context, payload

    async def _finish(
        self,
        result: Awaitable[msgspec.Struct],
        label: str,
        started: float,
        request_id: str,
        answer: _Answer | None,
    ) -> Success | Failure | None:
        self.gate.running += 1
        try:
            data = await result
        except asyncio.CancelledError:
            COMMANDS_TOTAL.note(label, "cancelled", time.perf_counter() - started)
            raise
        except Exception as error:
            failure = self._failure(label, error, started, request_id)
            return None if answer is not None and answer.given else failure
        finally:
            self.gate.running -= 1
        elapsed = time.perf_counter() - started
        COMMANDS_TOTAL.note(label, "ok", elapsed)
        if elapsed > SLOW_S:
            log.warning("slow command %s: %.0f ms (ok)", label, elapsed * 1000)
        return None if answer is not None and answer.given else Success(data=data)

    def _failure(self, label: str, error: Exception, started: float, request_id: str) -> Failure:
        known = self._known(label, error)
        elapsed = time.perf_counter() - started
        COMMANDS_TOTAL.note(label, known.code, elapsed)
        if elapsed > SLOW_S:
            log.warning("slow command %s: %.0f ms (%s)", label, elapsed * 1000, known.code)
        return Failure(error=known.body(request_id))

    def _unknown(self, name: str) -> ParleyError:
        near = COMMANDS.get(name)
        hint = f" It belongs to {near.namespace}." if near else ""
        return ParleyError("unknown_command", f"There is no command {name[:64]!r} on {self.name}.{hint}")

    def _known(self, what: str, error: Exception) -> ParleyError:
        """The error as the contract has it; what the contract does not know is logged once, with its trace."""
        if isinstance(error, ParleyError):
            return error
        return as_parley_error(error) or self._unexpected(what, error)

    @staticmethod
    def _unexpected(what: str, error: Exception) -> ParleyError:
        ERRORS.inc()
        log.error("unexpected exception in %s", what, exc_info=error)
        return ParleyError("internal_error")

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


def _parse(command: Command, event: list[Any]) -> Any:
    """One object after the name, or nothing where nothing is needed."""
    if len(event) > 2:
        reason = f"takes one object, not {len(event) - 1} arguments"
        raise ParleyError("validation_failed", f"payload: {reason}", details=[ErrorDetail("payload", reason)])
    if len(event) > 1 and isinstance(event[1], Unreadable):
        raise invalid(event[1].field, event[1].reason)
    return parse(command.payload, event[1] if len(event) > 1 and event[1] is not None else {})
