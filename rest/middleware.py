"""What surrounds every HTTP request: its id, time, log line and headers, and errors in the contract's shape."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import hdrs, web

from contract.errors import ParleyError, invalid
from ops.addresses import client_ip
from ops.health import Health
from ops.logs import REQUEST_ID, new_request_id
from ops.metrics import ERRORS, HTTP_REQUESTS, HTTP_SECONDS
from ops.strangers import Strangers, share_of
from ops.turns import BEGIN_WAIT_S, Turns
from rest.cors import vary
from rest.endpoint import BODY_S, VERDICT, BodyLate, Gone
from storage.mongo import as_parley_error

log = logging.getLogger("parley.http")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
COMPRESS_FROM_BYTES = 1_024
PATH_LOGGED = 512
# What an honest client does not cause again and again.
REFUSED = frozenset({400, 401, 403, 404, 405, 408, 413, 415, 422, 423, 429, 503})
REFUSED_WAIT_S = 5.0
LOOK_S = 0.25
_SURROGATE = re.compile("[\ud800-\udfff]")
_REQUEST_ID = re.compile(r"^[A-Za-z0-9._-]{1,64}$")

# Helmet's defaults; the pages bring no inline script or style, and talk to their own origin only.
CONTENT_SECURITY_POLICY = (
    "default-src 'self';base-uri 'self';connect-src 'self' ws: wss:;font-src 'self' data:;form-action 'self';"
    "frame-ancestors 'self';img-src 'self' data:;object-src 'none';script-src 'self';script-src-attr 'none';"
    "style-src 'self' 'unsafe-inline'"
)
_IDENTITY = ("", "identity")
_FORWARDING = ("X-Forwarded-For", "Forwarded", "X-Real-IP")
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Origin-Agent-Cluster": "?1",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-DNS-Prefetch-Control": "off",
    "X-Download-Options": "noopen",
    "X-Frame-Options": "SAMEORIGIN",
    "X-Permitted-Cross-Domain-Policies": "none",
    "X-XSS-Protection": "0",
}


def error_response(error: ParleyError, request_id: str) -> web.Response:
    body = msgspec.json.encode({"error": error.body(request_id)})
    response = web.Response(body=body, status=error.spec.status, content_type="application/json")
    if error.retry_after_ms is not None:
        response.headers["Retry-After"] = str(-(-error.retry_after_ms // 1000))
    if error.spec.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _not_inflated() -> web.StreamResponse:
    """260 KB of gzip may be 260 MB of text: nothing compressed is read, and its connection ends."""
    text = "A body may not be compressed (Content-Encoding)."
    response = error_response(ParleyError("unsupported_media_type", text), REQUEST_ID.get())
    response.headers["Accept-Encoding"] = "identity"
    response.force_close()
    return response


async def _pause(request: web.Request, seconds: float) -> None:
    """Ends soon when the connection has gone: what it had sent would be held for nobody."""
    while seconds > 0 and request.transport is not None:
        await asyncio.sleep(min(seconds, LOOK_S))
        seconds -= LOOK_S


def _unclean(request: web.Request) -> web.StreamResponse | None:
    """The answer to a header that is not UTF-8 text: nothing behind the door can store or compare such.

    Of the line and the names of headers the parser sees to it.
    """
    name = next((name for name, value in request.headers.items() if not _is_text(value)), None)
    if name is None:
        return None
    response = error_response(invalid(name[:64], "is not UTF-8 text"), REQUEST_ID.get())
    response.set_status(400)
    return response


def _is_text(value: str) -> bool:
    """Bytes that are none come as lone surrogates."""
    return value.isascii() or _SURROGATE.search(value) is None


def _too_late() -> web.StreamResponse:
    """Whatever of the body comes now is not read."""
    text = f"The body did not arrive within {BODY_S:.0f} s."
    response = error_response(ParleyError("validation_failed", text), REQUEST_ID.get())
    response.set_status(408)
    response.force_close()
    return response


def _incomplete() -> web.StreamResponse:
    """The client has gone in the middle of its body, or its chunks are none: nothing of ours has failed."""
    response = error_response(ParleyError("validation_failed", "The body did not arrive whole."), REQUEST_ID.get())
    response.set_status(400)
    return response


class Surroundings:
    """Two middlewares: `observe` outside, `guard` inside."""

    def __init__(self, production: bool, health: Health, strangers: Strangers, trusted_proxies: int) -> None:
        self._health = health
        self._strangers = strangers
        self._trusted_proxies = trusted_proxies
        self._turns, self._refusals = Turns(), strangers.refusals
        self._headers = dict(SECURITY_HEADERS)
        self._unaware = not trusted_proxies
        if production:
            self._headers["Strict-Transport-Security"] = "max-age=31536000; includeSubDomains"

    @property
    def middlewares(self) -> list[Any]:
        @web.middleware
        async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self.observe(request, handler)

        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self.guard(request, handler)

        return [observe, guard]

    async def observe(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("X-Request-Id", "")
        request_id = given if _REQUEST_ID.match(given) else new_request_id()
        REQUEST_ID.set(request_id)
        self._strangers.heard(request.protocol)
        if self._unaware:
            self._look_for_proxies(request)
        started = time.perf_counter()
        address = share_of(client_ip(request, self._trusted_proxies))
        await self._turns.take(address)
        if self._begins_late(request) and (wait_s := self._refusals.wait_s(address)) > 0:
            await _pause(request, min(wait_s, BEGIN_WAIT_S))
            if request.transport is None:
                return error_response(ParleyError("unavailable"), request_id)
        response = await handler(request)
        self._strangers.answered(request.protocol)
        if response.status in REFUSED and (wait_s := self._refusals.note(address)) > 0:
            await _pause(request, min(wait_s, REFUSED_WAIT_S))
        elapsed = time.perf_counter() - started
        route = request.match_info.route.resource.canonical if request.match_info.route.resource else "none"
        if not response.prepared:
            self._finish(request, response, request_id, elapsed)
        if not route.startswith("/socket.io"):
            HTTP_REQUESTS.labels(request.method, route, str(response.status)).inc()
            HTTP_SECONDS.labels(request.method, route).observe(elapsed)
            path = request.path[:PATH_LOGGED]
            log.info("%s %s %d %.1f ms", request.method, path, response.status, elapsed * 1000)
        return response

    def _begins_late(self, request: web.Request) -> bool:
        """Whether it waits where its address was refused too much: it shows no log-in, and is for a session or a
        log-in perhaps. The first request of a connection has waited before it was let in. Probes never wait.
        """
        if request.protocol._request_count == 1 and not self._strangers.proxied:
            return False
        known = hdrs.AUTHORIZATION in request.headers or hdrs.COOKIE in request.headers
        return not known and "sid=" not in request.query_string and not request.path.startswith("/api/v1/health/")

    def _look_for_proxies(self, request: web.Request) -> None:
        """Behind one that is not known, everybody has one address, and with it one limit."""
        found = next((name for name in _FORWARDING if name in request.headers), None)
        if found is not None:
            self._unaware = False  # said once
            log.warning(
                "%s arrives and is ignored, because TRUSTED_PROXIES is 0: set it to the number of proxies in front, or "
                "all their clients count as one; without a proxy a client makes it up, and all is well", found,
            )  # fmt: skip

    def _finish(self, request: web.Request, response: web.StreamResponse, request_id: str, elapsed: float) -> None:
        for name, value in self._headers.items():
            response.headers.setdefault(name, value)
        response.headers["X-Request-Id"] = request_id
        if self._health.draining and not request.path.startswith("/socket.io"):
            # A client that keeps its connection learns from its last answer, not by losing a request. Polling sessions
            # are ended one after the other by the engine.
            response.force_close()
        response.headers["X-Process-Time"] = f"{elapsed:.6f}"
        if request.path.startswith("/api/"):
            response.headers.setdefault("Cache-Control", "no-store")
        verdict = request.get(VERDICT)
        if verdict is not None:
            response.headers["RateLimit-Policy"] = f'"default";q={verdict.limit}'
            response.headers["RateLimit"] = f'"default";r={verdict.remaining};t={int(verdict.reset_s + 0.999)}'
        if (
            isinstance(response, web.Response)
            and hdrs.CONTENT_ENCODING not in response.headers
            and isinstance(response.body, bytes)
            and len(response.body) >= COMPRESS_FROM_BYTES
        ):
            response.enable_compression()
            vary(response.headers, hdrs.ACCEPT_ENCODING)

    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Every error in the contract's shape, those of the framework included."""
        try:
            if any(one.strip().lower() not in _IDENTITY for one in request.headers.getall(hdrs.CONTENT_ENCODING, ())):
                return _not_inflated()
            if (answer := _unclean(request)) is not None:
                return answer
            return await handler(request)
        except BodyLate:
            return _too_late()
        except Gone:
            return _incomplete()
        except ParleyError as error:
            return error_response(error, REQUEST_ID.get())
        except web.HTTPException as error:
            return self._translate(error)
        except Exception as error:
            if isinstance(error, web.RequestPayloadError) or (
                isinstance(error, ConnectionError) and request.transport is None
            ):
                return _incomplete()
            if (known := as_parley_error(error)) is not None:
                return error_response(known, REQUEST_ID.get())
            ERRORS.inc()
            log.exception("unexpected exception in %s %s", request.method, request.path[:PATH_LOGGED])
            return error_response(ParleyError("internal_error"), REQUEST_ID.get())

    @staticmethod
    def _translate(error: web.HTTPException) -> web.StreamResponse:
        if error.status < 400:
            raise error
        codes = {
            403: "forbidden",
            404: "not_found",
            405: "method_not_allowed",
            413: "payload_too_large",
            415: "unsupported_media_type",
        }
        code = codes.get(error.status, "validation_failed" if error.status < 500 else "internal_error")
        response = error_response(ParleyError(code), REQUEST_ID.get())
        if error.status not in codes:
            response.set_status(error.status)
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
