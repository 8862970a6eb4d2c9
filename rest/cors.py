"""Cross-origin access to the API, for the origins in the settings and for no other, and what caches must know of it.

aiohttp-cors answers for the routes that exist. An app that calls a path or a method that does not must be able to read
that too: a browser shows its user nothing of an error without these headers, nor of one behind a refused preflight.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import aiohttp_cors
from aiohttp import hdrs, web

from contract.registry import Endpoint

_EXPOSED = ("X-Request-Id", "X-Process-Time", "RateLimit", "RateLimit-Policy", "Retry-After", "Idempotent-Replayed")
_ALLOWED = ("Authorization", "Content-Type", "Idempotency-Key", "X-CSRF-Token", "X-Request-Id")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
_MAX_AGE_S = 600
Handle = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Cors:
    """`origins`: as in the settings; "*" is any."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._origins = frozenset(origins)

    def add_routes(self, app: web.Application, routes: Iterable[tuple[Endpoint, Handle]]) -> None:
        """Only /api routes take part: aiohttp-cors would otherwise get in the way of Socket.IO's own OPTIONS route."""
        options = aiohttp_cors.ResourceOptions(  # type: ignore[no-untyped-call]
            allow_credentials=True,
            expose_headers=_EXPOSED,
            allow_headers=_ALLOWED,
            allow_methods="*",
            max_age=_MAX_AGE_S,
        )
        cors = aiohttp_cors.setup(app, defaults=dict.fromkeys(self._origins, options))
        for endpoint, handle in routes:
            for method in ("GET", "HEAD") if endpoint.method == "GET" else (endpoint.method,):
                route = app.router.add_route(method, endpoint.path, handle)
                if self._origins:
                    cors.add(route)
        app.on_response_prepare.append(self._finish)  # after aiohttp-cors, which takes its own headers for a mistake

    @property
    def middleware(self) -> Any:
        """Lets the browser go on to a request that ends as 404 or 405, whose answer the app can then read."""

        @web.middleware
        async def preflight(request: web.Request, handler: Handle) -> web.StreamResponse:
            response = await handler(request)
            wanted = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_METHOD, "")
            if response.status < 400 or request.method != "OPTIONS" or wanted not in _METHODS or not self._may(request):
                return response
            return web.Response(
                headers={
                    hdrs.ACCESS_CONTROL_ALLOW_METHODS: wanted,
                    hdrs.ACCESS_CONTROL_ALLOW_HEADERS: ",".join(_ALLOWED),
                    hdrs.ACCESS_CONTROL_MAX_AGE: str(_MAX_AGE_S),
                }
            )

        return preflight

    def _may(self, request: web.Request) -> bool:
        """Whether it comes from one of the origins, for the API."""
        origin = request.headers.get(hdrs.ORIGIN)
        known = origin is not None and ("*" in self._origins or origin in self._origins)
        return known and request.path.startswith("/api/")

    async def _finish(self, request: web.Request, response: web.StreamResponse) -> None:
        headers, polling = response.headers, request.path.startswith("/socket.io/")
        if polling:
            headers[hdrs.CACHE_CONTROL] = "no-store"
        if polling or (self._origins and request.path.startswith("/api/")):
            vary(headers, hdrs.ORIGIN)
        if hdrs.ACCESS_CONTROL_ALLOW_ORIGIN not in headers and self._may(request):
            headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = request.headers[hdrs.ORIGIN]
            headers[hdrs.ACCESS_CONTROL_ALLOW_CREDENTIALS] = "true"
            if request.method != "OPTIONS":
                headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = ",".join(_EXPOSED)


def vary(headers: Any, name: str) -> None:
    """The answer depends on this header of the request: a cache must not give it to one with another value."""
    there = [part.strip() for part in headers.get(hdrs.VARY, "").split(",") if part.strip()]
    if name not in there:
        headers[hdrs.VARY] = ", ".join([*there, name])
