"""Adds the API's routes, with cross-origin access for the origins in the settings and for no other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import aiohttp_cors
from aiohttp import web

from contract.registry import Endpoint

_EXPOSED = ("X-Request-Id", "X-Process-Time", "RateLimit", "RateLimit-Policy", "Retry-After", "Idempotent-Replayed")
_ALLOWED = ("Authorization", "Content-Type", "Idempotency-Key", "X-CSRF-Token", "X-Request-Id")
Handle = Callable[[web.Request], Awaitable[web.StreamResponse]]


def add_routes(app: web.Application, routes: Sequence[tuple[Endpoint, Handle]], origins: Sequence[str]) -> None:
    """Only /api routes take part: aiohttp-cors would otherwise get in the way of Socket.IO's own OPTIONS route."""
    options = aiohttp_cors.ResourceOptions(  # type: ignore[no-untyped-call]
        allow_credentials=True, expose_headers=_EXPOSED, allow_headers=_ALLOWED, allow_methods="*", max_age=600
    )
    cors = aiohttp_cors.setup(app, defaults=dict.fromkeys(origins, options))
    for endpoint, handle in routes:
        route = app.router.add_route(endpoint.method, endpoint.path, handle)
        if origins:
            cors.add(route)
