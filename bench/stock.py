"""The peer of `bench.across`: stock python-socketio with its AsyncRedisManager, which tells a room what a client says.

`python -m bench.stock REDIS_URL` prints `listening on PORT`. It has what is to be had for free: uvloop, no logs.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import socketio
import uvloop
from aiohttp import web


def make_app(redis_url: str) -> web.Application:
    manager = socketio.AsyncRedisManager(redis_url)
    server = socketio.AsyncServer(
        async_mode="aiohttp", client_manager=manager, logger=False, engineio_logger=False, http_compression=False,
        transports=["websocket"], cors_allowed_origins="*",
    )  # fmt: skip
    app = web.Application()
    server.attach(app)

    @server.on("connect", namespace="/chat")  # type: ignore[untyped-decorator]
    async def connect(sid: str, environ: dict[str, Any], auth: Any) -> None:
        await server.enter_room(sid, "room", namespace="/chat")

    @server.on("message", namespace="/chat")  # type: ignore[untyped-decorator]
    async def message(sid: str, data: Any) -> dict[str, Any]:
        await server.emit("message", data, room="room", skip_sid=sid, namespace="/chat")
        return {"ok": True}

    return app


async def serve(redis_url: str) -> None:
    runner = web.AppRunner(make_app(redis_url), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(f"listening on {runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
