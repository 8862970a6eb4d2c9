"""What the protocol tests share: a server with a bystander on it, and a client that polls."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from bench.clients import Account
from realtime.polling import PollingLink
from server import Server
from settings import Settings
from tests.support import SECRET, Crowd, Raw, serving, until

Json = dict[str, Any]
SEPARATOR = "\x1e"


def settings_for_tests(data_dir: Path, **fields: Any) -> Settings:
    name = f"t_{secrets.token_hex(6)}"
    basics: Json = {"mongo_db": name, "jwt_secret": SECRET, "rate_limit_scale": 0, "bcrypt_rounds": 4}
    return Settings(data_dir=data_dir, **basics | fields)


@dataclass(slots=True)
class Place:
    """`bystander` is Ben's good connection: whatever a test does to its own, this one must go on answering."""

    url: str
    server: Server
    ada: Account
    ben: Account
    conversation: str
    bystander: Raw

    async def undisturbed(self) -> None:
        answer = await self.bystander.ask("/chat", "chat:get", {"conversation_id": self.conversation})
        assert answer["ok"], answer


@contextlib.asynccontextmanager
async def place_on(settings: Settings, mongo_url: str) -> AsyncIterator[Place]:
    async with serving(settings, mongo_url) as (server, url):
        crowd = Crowd(url)
        try:
            ada, ben = await crowd.account("Ada"), await crowd.account("Ben")
            body: Json = {"type": "direct", "participant_ids": [ben.id], "client_id": "direct"}
            made = await crowd.rest.request("POST", "/api/v1/chat/conversations", body, ada.access_token)
            async with Raw(url) as bystander:
                await bystander.connect("/chat", ben.access_token)
                yield Place(url, server, ada, ben, made["id"], bystander)
        finally:
            await crowd.close()


def refusal(frame: str | None, namespace: str) -> Json:
    """The error object of a CONNECT_ERROR."""
    assert frame is not None, "closed instead of refused"
    prefix = "44" if namespace == "/" else f"44{namespace},"
    assert frame.startswith(prefix), frame
    body = json.loads(frame.removeprefix(prefix))
    assert set(body) == {"message", "data"}, body
    error: Json = body["data"]
    assert set(error) == {"code", "message", "details", "retryable", "retry_after_ms", "request_id"}
    assert body["message"] == error["message"]
    return error


class Polling:
    """One Engine.IO session over HTTP requests alone."""

    def __init__(self, url: str, agent: str = aiohttp.http.SERVER_SOFTWARE, t: str = "") -> None:
        self.url = url
        self._t = t
        self.http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20), headers={"User-Agent": agent})
        self.handshake: Json = {}
        self._waiting: list[str] = []

    async def __aenter__(self) -> Polling:
        status, packets = await self.poll(self._t)
        assert status == 200
        assert packets[0][0] == "0"
        self.handshake = json.loads(packets[0][1:])
        self._waiting = packets[1:]
        return self

    async def __aexit__(self, *_: object) -> None:
        with contextlib.suppress(TimeoutError, aiohttp.ClientError):  # a session that is left open would ping on
            await asyncio.wait_for(self.post("1"), 2)
        await self.http.close()

    @property
    def where(self) -> str:
        sid = f"&sid={self.handshake['sid']}" if self.handshake else ""
        return f"{self.url}/socket.io/?EIO=4&transport=polling{sid}"

    async def poll(self, t: str = "") -> tuple[int, list[str]]:
        """`t`: what clients give to each poll anew, so that nobody answers it from a cache."""
        async with self.http.get(self.where + (f"&t={t}" if t else "")) as response:
            return response.status, (await response.text()).split(SEPARATOR)

    async def post(self, *packets: str) -> int:
        return await self.post_body(SEPARATOR.join(packets).encode())

    async def post_body(self, body: Any) -> int:
        headers = {"Content-Type": "text/plain;charset=UTF-8"}
        async with self.http.post(self.where, data=body, headers=headers) as response:
            await response.read()
            return response.status

    async def receive(self) -> str:
        """The next packet that is neither a ping, which is answered, nor a NOOP."""
        while True:
            while self._waiting:
                packet = self._waiting.pop(0)
                if packet == "2":
                    await self.post("3")
                elif packet != "6":
                    return packet
            status, self._waiting = await self.poll()
            assert status == 200, self._waiting

    async def connect(self, namespace: str, token: str) -> str:
        assert await self.post(f"40{namespace}," + json.dumps({"token": token})) == 200
        return await self.receive()

    async def ask(self, namespace: str, *event: Any) -> Any:
        assert await self.post(f"42{namespace},7{json.dumps(list(event))}") == 200
        while not (packet := await self.receive()).startswith(f"43{namespace},7"):
            pass
        return json.loads(packet.removeprefix(f"43{namespace},7"))[0]

    async def closed(self) -> bool:
        """The session is gone: a poll is refused, or says so."""
        status, packets = await self.poll()
        while status == 200 and packets != ["1"]:
            status, packets = await self.poll()
        if status == 200:
            status, _ = await self.poll()
        return status == 400


async def pending_poll(place: Place, polling: Polling) -> asyncio.Future[tuple[int, list[str]]]:
    """A poll that the server has and does not answer yet."""
    task = asyncio.ensure_future(polling.poll())
    session = place.server.sio.eio.sockets[polling.handshake["sid"]]
    link = session.link
    assert isinstance(link, PollingLink)
    await until(lambda: link.polled)
    return task
