"""A worker's own port, where WORKER_PORT names one: metrics and health, at the paths of web processes."""

from __future__ import annotations

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from ops.health import SERVING, Health


class Port:
    def __init__(self, health: Health, host: str, port: int) -> None:
        self._health = health
        self._address = host, port
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/api/v1/health/live", self._live)
        app.router.add_get("/api/v1/health/ready", self._ready)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def start(self) -> None:
        """Raises OSError if the port is taken."""
        await self._runner.setup()
        await web.TCPSite(self._runner, *self._address).start()

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _live(self, request: web.Request) -> web.Response:
        return _answer(await self._health.live())

    async def _ready(self, request: web.Request) -> web.Response:
        """Without Redis jobs are done, but nobody is told of them: degraded."""
        readiness = await self._health.ready()
        return _answer(readiness, 200 if readiness.status in SERVING else 503)


def _answer(body: msgspec.Struct, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")
