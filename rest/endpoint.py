"""The HTTP door: how the routes of the declared operations are answered.

The payload is the path's parameters, the query (GET, DELETE) or the body. What an operation may be asked is the
executor's business; errors become responses in `rest.middleware`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
from aiohttp import web

from contract import reading
from contract.errors import ErrorDetail, ParleyError, invalid
from contract.registry import ENDPOINTS, Endpoint, Operation
from models.context import Action, Client, Context
from models.executor import Executor
from models.sessions.actions import Sessions
from ops import audit
from ops.addresses import client_ip
from ops.logs import REQUEST_ID
from ops.strangers import Strangers
from rest.cookies import Cookies
from security.limits import Verdict
from security.tokens import Identity, Tokens

BODY_S = 20.0  # so long a body has to arrive
STRANGER_BODY_MAX = 16_384  # of one whose sender has not logged in
VERDICT = web.RequestKey("verdict", Verdict)
Bound = Callable[["Call"], Awaitable[Any]]
_encode = msgspec.json.Encoder().encode


class BodyLate(Exception):
    """The body of a request did not arrive in time."""


class Gone(Exception):
    """The client has gone in the middle of its body."""


@dataclass(slots=True)
class Call:
    """One request to an endpoint, as its handler sees it. `context` is there when the endpoint asks for a login."""

    request: web.Request
    endpoint: Endpoint
    payload: Any
    client: Client
    identity: Identity | None

    @property
    def context(self) -> Context:
        if self.identity is None:
            raise ParleyError("unauthenticated")
        return Context(self.identity.user_id, self.identity.session_id, self.identity.role, self.client.request_id)


class Rest:
    """Every route is the action that the executor has for its operation, or what was bound here for those that concern
    the request itself.
    """

    def __init__(
        self,
        executor: Executor,
        tokens: Tokens,
        sessions: Sessions,
        cookies: Cookies,
        trusted_proxies: int,
        strangers: Strangers,
    ) -> None:
        self._executor = executor
        self._tokens = tokens
        self._sessions = sessions
        self._cookies = cookies
        self._trusted_proxies = trusted_proxies
        self._strangers = strangers
        self._bound: dict[Operation, Bound] = {}

    def bind(self, operation: Operation, bound: Bound) -> None:
        """`bound` returns a struct, a finished response, or None where the route answers 204."""
        assert operation not in self._bound, f"{operation.name} is bound twice"
        self._bound[operation] = bound

    def routes(self) -> Iterator[tuple[Endpoint, Callable[[web.Request], Awaitable[web.StreamResponse]]]]:
        """One for each endpoint that is declared. Raises RuntimeError for one that nobody answers."""
        for endpoint in ENDPOINTS.values():
            operation = endpoint.operation
            bound, action = self._bound.get(operation), self._executor.action(operation)
            if bound is None and action is not None:
                bound = _without_request(action)
            if bound is None:
                raise RuntimeError(f"{endpoint.method} {endpoint.path}: {operation.name} has no action")
            yield endpoint, partial(self._answer, endpoint, bound)

    async def _answer(self, endpoint: Endpoint, bound: Bound, request: web.Request) -> web.StreamResponse:
        name, started, code = endpoint.operation.name, time.perf_counter(), "cancelled"
        try:
            call = await self._admit(endpoint, request)
            started = time.perf_counter()  # not with the body, whose sender takes its time
            result = await self._executor.run(bound(call))
            code = "ok"
        except (web.HTTPException, BodyLate, Gone):  # no error of the operation: the middleware answers
            code = "refused"
            raise
        except Exception as error:
            known = self._executor.known(name, error)
            code = known.code
            raise known from None
        finally:
            self._executor.answered(name, code, started)
        return result if isinstance(result, web.StreamResponse) else respond(endpoint, result)

    async def _admit(self, endpoint: Endpoint, request: web.Request) -> Call:
        operation = endpoint.operation
        client = Client(
            client_ip(request, self._trusted_proxies),
            request.headers.get("User-Agent", "")[:256] or None,
            REQUEST_ID.get(),
            lambda: request.transport is None or request.transport.is_closing(),
        )
        identity = await self._identify(endpoint, request) if operation.needs_login else None

        def counted(verdict: Verdict) -> None:
            request[VERDICT] = verdict
            if not verdict.allowed:
                user_id = identity.user_id if identity else None
                audit.record("rate_limited", operation=operation.name, ip=client.ip, user_id=user_id)

        async def fields() -> Any:
            if identity is not None:
                self._strangers.went(request.protocol)
            found = await read_fields(endpoint, request)
            # All of it is here, and what is left to do is ours: it is not closed for others now, whoever's it is.
            self._strangers.went(request.protocol)
            return found

        payload = await self._executor.admit_waiting(
            operation, identity, client.address, fields, counted, strict=endpoint.route.takes_body
        )
        return Call(request, endpoint, payload, client, identity)

    async def _identify(self, endpoint: Endpoint, request: web.Request) -> Identity:
        header = request.headers.get("Authorization", "")
        if header:
            scheme, _, token = header.partition(" ")
            if scheme.lower() != "bearer" or not token:
                raise ParleyError("unauthenticated", "Send Authorization: Bearer TOKEN.")
            identity = self._tokens.verify(token.strip())
        else:
            cookie = request.cookies.get(self._cookies.auth)
            if cookie is None:
                raise ParleyError("unauthenticated")
            identity = self._tokens.verify(cookie)
            if endpoint.method != "GET" and not self._cookies.is_ours(request, identity.session_id):
                audit.record("csrf_refused", user_id=identity.user_id)
                raise ParleyError("csrf_failed")
        await self._sessions.require_live(identity.session_id)
        return identity


def _without_request(action: Action) -> Bound:
    async def bound(call: Call) -> Any:
        return await action(call.context, call.payload)

    return bound


async def read_fields(endpoint: Endpoint, request: web.Request) -> dict[str, Any]:
    """What the endpoint's payload is made of. Raises validation_failed with the field at fault, or malformed_json."""
    fields: dict[str, Any] = {}
    if endpoint.route.takes_body:
        member = endpoint.operation.needs_login
        fields = await _body(request if member else request.clone(client_max_size=STRANGER_BODY_MAX))
    else:
        for name in request.query:
            values = request.query.getall(name)
            if len(values) > 1:
                raise invalid(name[:64], "is given more than once")
            fields[name] = values[0]
    known = endpoint.payload.__struct_fields__
    key = request.headers.get("Idempotency-Key", "").strip('"')
    if key and "client_id" in known:
        if fields.get("client_id", key) != key:
            raise invalid("client_id", "differs from the Idempotency-Key header")
        fields["client_id"] = key
    for name in endpoint.route.path_names:
        if name in fields:
            raise invalid(name, "is given by the path")
        fields[name] = request.match_info[name]
    return fields


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        async with asyncio.timeout(BODY_S):
            raw = await request.read()
    except TimeoutError:
        raise BodyLate from None
    except ConnectionError:
        if request.transport is None:
            raise Gone from None
        raise
    except web.RequestPayloadError:
        raise ParleyError("malformed_json", "The body is not encoded as its headers say.") from None
    if not raw:
        return {}
    # Also where none is given: that is what a form on another site may send without asking (a simple request).
    if request.content_type != "application/json" or (request.charset or "utf-8").lower() not in ("utf-8", "utf8"):
        raise ParleyError("unsupported_media_type", "Send Content-Type: application/json, in UTF-8.")
    try:
        fields = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _refuse_unreadable(raw)
        raise ParleyError("malformed_json", f"The body is not valid JSON: {error}") from None
    if not isinstance(fields, dict):
        raise ParleyError(
            "validation_failed", "payload: expected an object", details=[ErrorDetail("payload", "expected an object")]
        )
    return fields


def _refuse_unreadable(raw: bytes) -> None:
    """Raises validation_failed for a body that is JSON, and has something in it that cannot be used."""
    try:
        fault = reading.find_unreadable(reading.read(raw.decode(), constants=False))
    except RecursionError:
        raise ParleyError("malformed_json", f"The body {reading.TOO_DEEP}.") from None
    except ValueError:
        return
    if fault is not None:
        raise invalid(fault.field, fault.reason)


def respond(endpoint: Endpoint, result: Any) -> web.Response:
    """The resource itself, with the endpoint's status; a repeat of an earlier request says so in a header."""
    if result is None:
        return web.Response(status=204)
    status, headers = endpoint.route.status, {}
    if getattr(result, "duplicate", None) is True:
        status, headers = 200, {"Idempotent-Replayed": "true"}
    field = endpoint.route.returns
    resource = getattr(result, field) if field else result
    return web.Response(body=_encode(resource), status=status, headers=headers, content_type="application/json")
