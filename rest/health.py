"""Health for load balancers and people, and metrics for Prometheus."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from contract import system
from ops.health import SERVING, Health
from rest.endpoint import Call, Rest, respond


class HealthRoutes:
    def __init__(self, health: Health) -> None:
        self._health = health

    def add_to(self, rest: Rest) -> None:
        rest.add(system.LIVE, self.live)
        rest.add(system.READY, self.ready)
        rest.add(system.DETAILED, self.detailed)
        rest.add(system.SYSTEM_HEALTH, self.detailed)

    async def live(self, call: Call) -> system.Liveness:
        return await self._health.live()

    async def ready(self, call: Call) -> web.Response:
        readiness = await self._health.ready()
        response = respond(system.READY, readiness)
        if readiness.status not in SERVING:
            response.set_status(503)
        return response

    async def detailed(self, call: Call) -> web.Response:
        """Always 200: this one is read by people, who want the body most when something is wrong."""
        return respond(system.DETAILED, await self._health.detailed())


async def metrics(request: web.Request) -> web.Response:
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
