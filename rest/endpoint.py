"""The choke point of REST: how a declared endpoint becomes a route.

Who is it, are they within the limit, is the request valid? Then one action runs. The payload is the path's parameters,
the query (GET, DELETE) or the body, checked by the same struct as the socket command's. Errors become responses in
`rest.middleware`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

from contract import reading
from contract.errors import ErrorDetail, ParleyError, invalid
from contract.registry import Endpoint
from contract.types import parse as parse_payload
from models.context import Client, Context
from models.sessions.actions import Sessions
from ops import audit
from ops.addresses import client_ip
from ops.logs import REQUEST_ID
from ops.strangers import Strangers
from rest.cookies import Cookies
from security.limits import HttpLimits, Verdict
from security.tokens import Identity, Tokens

BODY_S = 20.0  # so long a body has to arrive
STRANGER_BODY_MAX = 16_384  # of one whose sender has not logged in
VERDICT = web.RequestKey("verdict", Verdict)
Route = Callable[["Call"], Awaitable[Any]]
_encode = msgspec.json.Encoder().encode


class BodyLate(Exception):
    """The body of a request did not arrive in time."""


@dataclass(slots=True)
class Call:
    """One request to an endpoint, as its handler sees it. `context` is there when the endpoint asks for a login."""

    request: web.Request
    payload: Any
    client: Client
    identity: Identity | None

    @property
    def context(self) -> Context:
        if self.identity is None:
            raise ParleyError("unauthenticated")
        return Context(self.identity.user_id, self.identity.session_id, self.identity.role, self.client.request_id)


class Rest:
    """Adds endpoints to the application."""

    def __init__(
        self,
        tokens: Tokens,
        sessions: Sessions,
        limits: HttpLimits,
        cookies: Cookies,
        trusted_proxies: int,
        strangers: Strangers,
    ) -> None:
        self._tokens = tokens
        self._sessions = sessions
        self._limits = limits
        self._cookies = cookies
        self._trusted_proxies = trusted_proxies
        self._strangers = strangers
        self.routes: list[tuple[Endpoint, Callable[[web.Request], Awaitable[web.StreamResponse]]]] = []

    def add(self, endpoint: Endpoint, route: Route) -> None:
        """`route` returns a struct, a finished response, or None where the endpoint answers 204."""

        async def handle(request: web.Request) -> web.StreamResponse:
            call = await self._admit(endpoint, request)
            result = await route(call)
            if isinstance(result, web.StreamResponse):
                return result
            return respond(endpoint, result)

        self.routes.append((endpoint, handle))

    def mirror(self, endpoint: Endpoint, action: Callable[[Context, Any], Awaitable[Any]]) -> None:
        """A route that is an action of the caller and nothing more."""

        async def route(call: Call) -> Any:
            return await action(call.context, call.payload)

        self.add(endpoint, route)

    async def _admit(self, endpoint: Endpoint, request: web.Request) -> Call:
        client = Client(
            client_ip(request, self._trusted_proxies),
            request.headers.get("User-Agent", "")[:256] or None,
            REQUEST_ID.get(),
            lambda: request.transport is None or request.transport.is_closing(),
        )
        identity = await self._identify(endpoint, request) if endpoint.auth else None
        verdict = await self._limits.check(endpoint.limit, identity.user_id if identity else client.address)
        if verdict is not None:
            request[VERDICT] = verdict
            if not verdict.allowed:
                audit.record(
                    "rate_limited", tier=endpoint.limit, ip=client.ip, user_id=identity.user_id if identity else None
                )
                raise ParleyError("rate_limited", retry_after_ms=verdict.retry_after_ms)
        if identity is not None:
            self._strangers.went(request.protocol)
        payload = await parse(endpoint, request)
        # All of it is here, and what is left to do is ours: it is not closed for others now, whoever's it is.
        self._strangers.went(request.protocol)
        return Call(request, payload, client, identity)

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


async def parse(endpoint: Endpoint, request: web.Request) -> Any:
    """The endpoint's payload, or validation_failed with the field at fault."""
    fields: dict[str, Any] = {}
    if endpoint.takes_body:
        fields = await _body(request if endpoint.auth else request.clone(client_max_size=STRANGER_BODY_MAX))
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
    for name in endpoint.path_names:
        if name in fields:
            raise invalid(name, "is given by the path")
        fields[name] = request.match_info[name]
    return parse_payload(endpoint.payload, fields, strict=endpoint.takes_body)


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        async with asyncio.timeout(BODY_S):
            raw = await request.read()
    except TimeoutError:
        raise BodyLate from None
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
    status, headers = endpoint.status, {}
    if getattr(result, "duplicate", None) is True:
        status, headers = 200, {"Idempotent-Replayed": "true"}
    resource = getattr(result, endpoint.returns) if endpoint.returns else result
    return web.Response(body=_encode(resource), status=status, headers=headers, content_type="application/json")
