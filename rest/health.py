"""Health for load balancers, and health in detail and metrics for operators."""

from __future__ import annotations

import hmac

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from contract import system
from contract.errors import ParleyError
from ops.addresses import shared_by_many
from ops.health import SERVING, Health
from rest.endpoint import Call, Rest, respond

FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-IP")


class HealthRoutes:
    """`token` is OPERATORS_TOKEN. Without one, details and metrics are for this machine only, and in production for
    nobody: a proxy may stand here that says nothing of those behind it."""

    def __init__(self, health: Health, token: str | None, production: bool) -> None:
        self._health = health
        self._local = not production
        self._token = token.encode() if token else None

    def bind_to(self, rest: Rest, app: web.Application) -> None:
        rest.bind(system.LIVE, self.live)
        rest.bind(system.READY, self.ready)
        rest.bind(system.DETAILED, self.detailed)
        app.router.add_get("/metrics", self.metrics)

    async def live(self, call: Call) -> system.Liveness:
        return await self._health.live()

    async def ready(self, call: Call) -> web.Response:
        readiness = await self._health.ready()
        response = respond(call.endpoint, readiness)
        if readiness.status not in SERVING:
            response.set_status(503)
        return response

    async def detailed(self, call: Call) -> web.Response:
        """Always 200: this one is read by people, who want the body most when something is wrong."""
        self._require_operator(call.request)
        return respond(call.endpoint, await self._health.detailed())

    async def metrics(self, request: web.Request) -> web.Response:
        self._require_operator(request)
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    def _require_operator(self, request: web.Request) -> None:
        if self._token is None:
            if self._local and _is_local(request):
                return
            raise ParleyError("forbidden", "This is for operators, with OPERATORS_TOKEN.")
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._token):
            raise ParleyError("unauthenticated", "This is for operators: send Authorization: Bearer OPERATORS_TOKEN.")


def _is_local(request: web.Request) -> bool:
    """It comes from this machine, and not through a proxy that stands here."""
    return shared_by_many(request.remote) and not any(name in request.headers for name in FORWARDED)
