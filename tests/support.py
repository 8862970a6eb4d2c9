"""Real parts for tests: a server in this process or in its own, a Redis, and a raw Engine.IO connection."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import IO, Any

import aiohttp

from bench.clients import Account, Person, Rest
from ops.http import Site, make_runner
from ops.listening import listen
from server import Server
from settings import Settings

ROOT = Path(__file__).parent.parent
SECRET = "a secret of the tests, at least 32 bytes long"
PASSWORD = "correct horse battery staple"
NAMESPACES = ("/chat", "/typing", "/presence", "/offers", "/finance", "/system")
# So much longer than anything takes that a machine whose cores are busy does not reach it.
PATIENCE_S = 60.0
_LISTENING = re.compile(r"parley listening on (http://\S+)")


@contextlib.asynccontextmanager
async def serving(settings: Settings, mongo_url: str) -> AsyncIterator[tuple[Server, str]]:
    """A server in this process on a port of its own."""
    server = Server(settings, mongo_url)
    runner = make_runner(server.app)
    try:
        await server.start()
        await runner.setup()
        await Site(runner, listen("127.0.0.1", 0, 1)[0][0]).start()
        yield server, f"http://127.0.0.1:{runner.addresses[0][1]}"
        await server.drain()
    finally:
        await runner.cleanup()
        await server.stop()


class Process:
    """`python server.py` as an operator runs it."""

    def __init__(self, data_dir: Path, **env: str) -> None:
        self.data_dir = data_dir
        self._env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PARLEY")},
            "DATA_DIR": str(data_dir), "PORT": "0", "BCRYPT_ROUNDS": "4", **env,
        }  # fmt: skip
        self._popen: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self.url = ""

    @property
    def pid(self) -> int:
        assert self._popen is not None
        return self._popen.pid

    def start(self, timeout_s: float = 3 * PATIENCE_S) -> Process:
        """Returns once it accepts traffic; fails with its output if it does not."""
        self._reader = None
        self._popen = subprocess.Popen(
            [sys.executable, "server.py"], cwd=ROOT, env=self._env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert self._popen.stdout is not None
        lines = []
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            line = self._popen.stdout.readline()
            lines.append(line)
            if found := _LISTENING.search(line):
                self.url = found[1]
                # Nobody reads on from here: a full pipe would stop the server's logging, and with it the server.
                self._reader = threading.Thread(target=_read_on, args=(self._popen.stdout,), daemon=True)
                self._reader.start()
                return self
            if not line:
                break
        self.kill()
        raise AssertionError("the server did not start:\n" + "".join(lines))

    def make_admin(self, email: str) -> None:
        """An administrator with PASSWORD, made beside the server as an operator makes the first one."""
        command = [sys.executable, "-m", "models.users", "create-admin", email]
        subprocess.run(command, cwd=ROOT, env=self._env, input=f"{PASSWORD}\n", text=True, check=True)

    def kill(self) -> None:
        """kill -9."""
        if self._popen is not None and self._popen.poll() is None:
            self._popen.kill()
            self._ended(PATIENCE_S)

    def terminate(self, timeout_s: float = PATIENCE_S) -> int:
        """SIGTERM; returns the exit code."""
        assert self._popen is not None
        self._popen.send_signal(signal.SIGTERM)
        return self._ended(timeout_s)

    def _ended(self, timeout_s: float) -> int:
        assert self._popen is not None
        assert self._popen.stdout is not None
        code = self._popen.wait(timeout_s)
        if self._reader is not None:
            self._reader.join(timeout_s)
        self._popen.stdout.close()
        return code


def _read_on(stream: IO[str]) -> None:
    for _ in stream:
        pass


class Crowd:
    """Registers people against one server and closes their connections at the end."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.rest = Rest(url)
        self._people: list[Person] = []
        self._count = 0

    async def account(self, name: str = "Ada", **fields: Any) -> Account:
        self._count += 1
        email = f"{name.lower()}{self._count}.{secrets.token_hex(6)}@example.test"
        return await self.rest.register(email, PASSWORD, name, **fields)

    async def connect(
        self, account: Account, namespaces: tuple[str, ...] = NAMESPACES, url: str = "",
        transports: tuple[str, ...] = ("websocket",),
    ) -> Person:  # fmt: skip
        """One more device of an account; `url` puts it on another server than the crowd's."""
        rest = Rest(url) if url else self.rest
        person = Person(rest, account, namespaces)
        person.transports = transports
        self._people.append(person)
        await person.connect()
        return person

    async def person(self, name: str = "Ada", namespaces: tuple[str, ...] = NAMESPACES) -> Person:
        return await self.connect(await self.account(name), namespaces)

    async def pair(self) -> tuple[Person, Person, dict[str, Any]]:
        """Two connected people and their direct conversation."""
        one, other = await self.person("Ada"), await self.person("Ben")
        return one, other, await direct(one, other)

    async def close(self) -> None:
        for person in self._people:
            await person.close()
            if person._rest is not self.rest:
                await person._rest.__aexit__()
        await self.rest.__aexit__()


async def direct(one: Person, other: Person) -> dict[str, Any]:
    """The direct conversation of two people."""
    payload = {"type": "direct", "participant_ids": [other.account.id], "client_id": f"direct-{time.time_ns()}"}
    conversation: dict[str, Any] = (await one.call("chat:create", payload))["conversation"]
    return conversation


async def group(owner: Person, *others: Person, title: str = "Coffee") -> dict[str, Any]:
    """A group of these people."""
    ids = [other.account.id for other in others]
    payload = {"type": "group", "participant_ids": ids, "title": title, "client_id": f"group-{time.time_ns()}"}
    conversation: dict[str, Any] = (await owner.call("chat:create", payload))["conversation"]
    return conversation


class Raw:
    """One WebSocket that speaks Engine.IO text frames as they are, for what a polite client never sends."""

    def __init__(self, url: str, query: str = "", headers: dict[str, str] | None = None) -> None:
        self._url = f"{url}/socket.io/?EIO=4&transport=websocket{query}"
        self._session = aiohttp.ClientSession(headers=headers)
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self.handshake: dict[str, Any] = {}

    async def __aenter__(self) -> Raw:
        self._socket = await self._session.ws_connect(self._url)
        opened = await self.receive()
        assert opened is not None
        assert opened[0] == "0"
        self.handshake = json.loads(opened[1:])
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._socket is not None:
            await self._socket.close()
        await self._session.close()

    async def send(self, frame: str | bytes) -> None:
        assert self._socket is not None
        if isinstance(frame, bytes):
            await self._socket.send_bytes(frame)
        else:
            await self._socket.send_str(frame)

    async def receive(self, timeout_s: float = PATIENCE_S) -> str | None:
        """The next frame that is not a ping, which is answered; None once the server has closed."""
        assert self._socket is not None
        while True:
            message = await asyncio.wait_for(self._socket.receive(), timeout_s)
            if message.type is not aiohttp.WSMsgType.TEXT:
                return None
            if message.data == "2":
                await self._socket.send_str("3")
                continue
            if message.data in ("1", "6"):  # CLOSE and NOOP: what follows them is what tells
                continue
            return str(message.data)

    async def connect(self, namespace: str, token: str) -> str:
        await self.send(f"40{namespace}," + json.dumps({"token": token}))
        answer = await self.receive()
        assert answer is not None
        return answer

    async def ask(self, namespace: str, *event: Any) -> Any:
        """Emits an event as it is given and returns what its acknowledgement carries; skips events."""
        await self.send(f"42{namespace},7{json.dumps(list(event))}")
        while True:
            frame = await self.receive()
            assert frame is not None, "closed instead of acknowledged"
            if frame.startswith(f"43{namespace},7"):
                return json.loads(frame[len(f"43{namespace},7") :])[0]


async def until(condition: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
    """For what the server does after its client has seen it."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


class Heard:
    """Collects events of a person, and waits for the one that fits."""

    def __init__(self, person: Person, *events: str) -> None:
        self.all: list[tuple[str, dict[str, Any]]] = []
        self._news = asyncio.Event()
        for event in events:
            person.on(event, lambda payload, event=event: self._note(event, payload))  # type: ignore[misc]

    def _note(self, event: str, payload: dict[str, Any]) -> None:
        self.all.append((event, payload))
        self._news.set()

    async def wait(self, event: str, timeout_s: float = PATIENCE_S, **fields: Any) -> dict[str, Any]:
        deadline = time.monotonic() + timeout_s
        while True:
            for name, payload in self.all:
                if name == event and all(payload.get(field) == value for field, value in fields.items()):
                    return payload
            self._news.clear()
            left_s = deadline - time.monotonic()
            try:
                await asyncio.wait_for(self._news.wait(), max(left_s, 0.001))
            except TimeoutError:
                raise AssertionError(f"no {event} with {fields} among {self.all}") from None
