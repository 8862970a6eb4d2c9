"""Clients that say just what a conformance test tells them to, but answer pings, and the servers that they talk to."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from ops.http import Site, make_runner
from ops.listening import listen
from realtime import engine
from realtime.polling import PollingLink
from realtime.session import Session
from realtime.transport import EngineServer
from tests.conformance.server import make_app
from tests.socket.protocol import SEPARATOR
from tests.support import until

LIMIT_S = 60.0  # for what is expected to come at once


class Place:
    """A server of `tests.conformance.server` and one HTTP client. `url` lacks only the parameters."""

    def __init__(self, runner: web.AppRunner, path: str, eio: EngineServer, http: aiohttp.ClientSession) -> None:
        self.port: int = runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}/{path}/"
        self.eio = eio
        self.http = http
        self._runner = runner

    @property
    def http_connections(self) -> int:
        """Those that the server still has, without the WebSockets."""
        assert self._runner.server is not None
        return sum(handler.transport is not None for handler in self._runner.server.connections)

    async def request(self, method: str, query: str, body: str | None = None) -> tuple[int, str]:
        async with self.http.request(method, f"{self.url}?{query}", data=body) as response:
            return response.status, await response.text()

    async def polling(self) -> Polling:
        return await Polling(self).open()

    @contextlib.asynccontextmanager
    async def socket(self, sid: str = "") -> AsyncIterator[Socket]:
        """A WebSocket: a session of its own, or one that asks to take over a polling one."""
        query = f"EIO=4&transport=websocket&sid={sid}" if sid else "EIO=4&transport=websocket"
        async with self.http.ws_connect(f"{self.url}?{query}", timeout=aiohttp.ClientWSTimeout(ws_close=2)) as ws:
            made = Socket(ws)
            if not sid:
                made.handshake = opened(await made.receive())
            yield made

    def session(self, sid: str) -> Session:
        return self.eio.sockets[sid]


@contextlib.asynccontextmanager
async def hosting(kind: str) -> AsyncIterator[Place]:
    with pytest.MonkeyPatch.context() as patch:  # puts back what the server sets for the whole process
        for name in ("PING_INTERVAL_S", "PING_TIMEOUT_S", "MESSAGE_BYTES_MAX"):
            patch.setattr(engine, name, getattr(engine, name))
        app, sio = make_app(kind)
    runner = make_runner(app)
    await runner.setup()
    await Site(runner, listen("127.0.0.1", 0, 1)[0][0]).start()
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as http:
            yield Place(runner, "engine.io" if kind == "engine" else "socket.io", sio.eio, http)
    finally:
        await runner.cleanup()


def opened(packet: str | bytes | None) -> dict[str, Any]:
    """The handshake in an OPEN packet."""
    assert isinstance(packet, str)
    assert packet[0] == "0", packet
    handshake: dict[str, Any] = json.loads(packet[1:])
    return handshake


class Polling:
    """A polling session. `get` and `post` are one request each."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.handshake: dict[str, Any] = {}

    async def open(self) -> Polling:
        status, body = await self.place.request("GET", "EIO=4&transport=polling")
        assert status == 200
        self.handshake = opened(body)
        return self

    @property
    def sid(self) -> str:
        return str(self.handshake["sid"])

    @property
    def query(self) -> str:
        return f"EIO=4&transport=polling&sid={self.sid}"

    async def get(self) -> tuple[int, str]:
        return await self.place.request("GET", self.query)

    async def post(self, *packets: str) -> tuple[int, str]:
        return await self.place.request("POST", self.query, SEPARATOR.join(packets))

    async def receive(self) -> str:
        """The body of the next poll that is not a ping, which is answered."""
        while (answer := await asyncio.wait_for(self.get(), LIMIT_S)) == (200, "2"):
            assert await self.post("3") == (200, "ok")
        assert answer[0] == 200, answer
        return answer[1]

    async def pending(self) -> asyncio.Task[tuple[int, str]]:
        """A poll that the server has and does not answer yet."""
        task = asyncio.ensure_future(self.get())
        link = self.place.session(self.sid).link
        assert isinstance(link, PollingLink)
        await until(lambda: link.polled)
        return task

    async def echoes(self) -> None:
        assert await self.post("4still here") == (200, "ok")
        assert await self.receive() == "4still here"


class Socket:
    """A WebSocket; `receive` answers pings."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws
        self.handshake: dict[str, Any] = {}

    async def send(self, *frames: str | bytes) -> None:
        for frame in frames:
            if isinstance(frame, bytes):
                await self.ws.send_bytes(frame)
            else:
                await self.ws.send_str(frame)

    async def receive(self) -> str | bytes | None:
        """None: the server has closed."""
        while True:
            message = await self.ws.receive(timeout=LIMIT_S)
            if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                return None
            if message.data != "2":
                data: str | bytes = message.data
                return data
            await self.ws.send_str("3")

    async def closes(self) -> list[str | bytes]:
        """What the server still says before it closes, as it must."""
        said = []
        while (packet := await self.receive()) is not None:
            said.append(packet)
        return said

    async def echoes(self) -> None:
        await self.send("4still here")
        assert await self.receive() == "4still here"
