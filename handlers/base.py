"""The choke point of every namespace: nothing a client sends reaches a handler by another way.

In order: is it a declared command? is the caller still logged in? within the limit? is the payload valid? Then one
action runs, and its result or its error becomes the acknowledgement; one metric, and one log line if something failed.
An exception never leaves here: python-socketio would send no acknowledgement and the client would wait for ever.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import socketio

from contract.catalogue import identity as identity_contract
from contract.errors import ErrorBody, ErrorDetail, ParleyError
from contract.registry import COMMANDS, Command
from contract.types import explain
from models.context import Context
from models.sessions.actions import Sessions
from ops.logs import REQUEST_ID
from ops.metrics import COMMAND_SECONDS, CONNECTS_REFUSED, ERRORS
from ops.metrics import COMMANDS as COMMANDS_TOTAL
from realtime.connections import Connection, Connections
from realtime.engine import DRAIN_RETRY_MS
from security.limits import CommandLimits
from security.tokens import Identity, Tokens
from storage.mongo import database_errors

log = logging.getLogger("parley.commands")

Action = Callable[[Context, Any], Awaitable[msgspec.Struct]]
Handler = Callable[[Connection, Context, Any], Awaitable[msgspec.Struct]]
SLOW_S = 1.0


class Success(msgspec.Struct, kw_only=True):
    """An acknowledgement that something was done."""

    ok: bool = True
    data: msgspec.Struct


class Failure(msgspec.Struct, kw_only=True):
    """An acknowledgement that it was not, and why."""

    ok: bool = False
    error: ErrorBody


class Gate:
    """What every namespace asks: who is this, are they still logged in, how much have they asked for."""

    def __init__(self, tokens: Tokens, sessions: Sessions, connections: Connections, limits: CommandLimits) -> None:
        self.tokens = tokens
        self.sessions = sessions
        self.connections = connections
        self.limits = limits
        self.running = 0
        self.draining = False

    async def authenticate(self, auth: Any) -> Identity:
        """Raises unauthenticated, token_invalid, token_expired or session_revoked."""
        if not isinstance(auth, dict) or not isinstance(auth.get("token"), str) or not auth["token"]:
            raise ParleyError("unauthenticated", 'Connect with auth: {token: "…"}.')
        identity = self.tokens.verify(auth["token"].removeprefix("Bearer "))
        await self.sessions.require_live(identity.session_id)
        return identity


class Namespace(socketio.AsyncNamespace):  # type: ignore[misc]
    """Subclasses set `name`, bind their commands in `__init__`, and may extend `entered` and `left`."""

    name: str

    def __init__(self, gate: Gate) -> None:
        super().__init__(self.name)
        self.gate = gate
        self._handlers: dict[str, tuple[Command, Handler]] = {}
        self.bind_with_connection(identity_contract.AUTH_REFRESH, self._refresh)

    @property
    def bound(self) -> set[str]:
        return set(self._handlers)

    def bind(self, command: Command, action: Action) -> None:
        """This command is this action; the handler is nothing more."""

        async def handler(connection: Connection, context: Context, payload: Any) -> msgspec.Struct:
            return await action(context, payload)

        self.bind_with_connection(command, handler)

    def bind_with_connection(self, command: Command, handler: Handler) -> None:
        """For the few commands that concern the connection itself."""
        assert command.namespace in (self.name, "*"), command.name
        assert command.name not in self._handlers, f"{command.name} has two handlers"
        self._handlers[command.name] = (command, handler)

    async def entered(self, connection: Connection, sid: str, context: Context) -> None:
        """The namespace of a connection was accepted."""

    async def left(self, connection: Connection, sid: str) -> None:
        """It has gone."""

    # python-socketio calls this for everything that happens on the namespace

    async def trigger_event(self, event: str, *args: Any) -> Any:
        # These two are genuine: the engine closes a connection that sends a reserved name as an event of its own.
        if event == "connect":
            return await self._connect(args[0], args[2] if len(args) > 2 else None)
        if event == "disconnect":
            return await self._disconnect(args[0])
        self.gate.running += 1
        try:
            return await self._command(event, args[0], args[1:])
        finally:
            self.gate.running -= 1

    async def _connect(self, sid: str, auth: Any) -> None:
        """Accepts, or refuses with the error object. Catches all: the client would otherwise hear nothing."""
        request_id = secrets.token_hex(8)
        REQUEST_ID.set(request_id)
        eio_sid = self.server.manager.eio_sid_from_sid(sid, self.name)
        try:
            async with database_errors():
                identity = await self.gate.authenticate(auth)
                connection = await self.gate.connections.attach(eio_sid, self.name, sid, identity)
                # A revocation that came while we looked closed whoever was attached then, and we were not yet.
                self.gate.sessions.require_not_revoked(identity.session_id)
                context = Context(identity.user_id, identity.session_id, identity.role, request_id, sid)
                await self.entered(connection, sid, context)
        except Exception as error:
            await self.gate.connections.detach(eio_sid, self.name)
            known = error if isinstance(error, ParleyError) else self._unexpected(f"connect {self.name}", error)
            CONNECTS_REFUSED.labels(known.code).inc()
            body = msgspec.to_builtins(known.body(request_id))
            raise socketio.exceptions.ConnectionRefusedError(known.message, body) from None

    async def _disconnect(self, sid: str) -> None:
        eio_sid = self.server.manager.eio_sid_from_sid(sid, self.name)
        connection = self.gate.connections.get(eio_sid)
        if connection is None:
            return
        try:
            await self.left(connection, sid)
        except Exception:
            log.exception("leaving %s failed", self.name)
        await self.gate.connections.detach(eio_sid, self.name)

    async def _command(self, name: str, sid: str, args: tuple[Any, ...]) -> Success | Failure:
        request_id = secrets.token_hex(8)
        REQUEST_ID.set(request_id)
        started = time.perf_counter()
        label = name if name in self._handlers else "unknown"
        result = "ok"
        try:
            async with database_errors():
                return Success(data=await self._run(name, sid, args, request_id))
        except ParleyError as error:
            result = error.code
            return Failure(error=error.body(request_id))
        except Exception as error:
            result = "internal_error"
            return Failure(error=self._unexpected(label, error).body(request_id))
        except asyncio.CancelledError:
            result = "cancelled"
            raise
        finally:
            elapsed = time.perf_counter() - started
            COMMANDS_TOTAL.labels(label, result).inc()
            COMMAND_SECONDS.labels(label).observe(elapsed)
            if elapsed > SLOW_S:
                log.warning("slow command %s: %.0f ms (%s)", label, elapsed * 1000, result)

    async def _run(self, name: str, sid: str, args: tuple[Any, ...], request_id: str) -> msgspec.Struct:
        bound = self._handlers.get(name)
        if bound is None:
            near = COMMANDS.get(name)
            hint = f" It belongs to {near.namespace}." if near else ""
            raise ParleyError("unknown_command", f"There is no command {name[:64]!r} on {self.name}.{hint}")
        command, handler = bound
        connection = self.gate.connections.get(self.server.manager.eio_sid_from_sid(sid, self.name))
        if connection is None:
            raise ParleyError("unauthenticated")
        if self.gate.draining:  # or the clients' next commands would keep the drain waiting to its time limit
            raise ParleyError("unavailable", "This server is going away.", retry_after_ms=DRAIN_RETRY_MS)
        identity = connection.identity
        if identity.expires_at <= time.time() and command is not identity_contract.AUTH_REFRESH:
            raise ParleyError("token_expired")
        if wait_ms := self.gate.limits.retry_after_ms(name, identity.user_id):
            raise ParleyError("rate_limited", retry_after_ms=wait_ms)
        payload = _parse(command, args)
        context = Context(identity.user_id, identity.session_id, identity.role, request_id, sid)
        return await handler(connection, context, payload)

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
        self.gate.connections.renew(connection, identity)
        return identity_contract.AuthRefreshed(expires_in_ms=int((identity.expires_at - time.time()) * 1000))


def _parse(command: Command, args: tuple[Any, ...]) -> Any:
    """One object, or nothing where nothing is needed."""
    if len(args) > 1:
        reason = f"takes one object, not {len(args)} arguments"
        raise ParleyError("validation_failed", f"payload: {reason}", details=[ErrorDetail("payload", reason)])
    try:
        return msgspec.convert(args[0] if args and args[0] is not None else {}, command.payload)
    except msgspec.ValidationError as error:
        field, reason = explain(error)
        raise ParleyError("validation_failed", f"{field}: {reason}", details=[ErrorDetail(field, reason)]) from None
