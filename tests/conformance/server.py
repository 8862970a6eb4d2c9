"""What the official protocol suites test: `python -m tests.conformance.server engine|socket PORT`.

The engine with the intervals and the echoes that the protocol documents ask for. The suites are in the repository
socketio/socket.io under docs/*/v*-test-suite; they expect the server on port 3000.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import uvloop
from aiohttp import web

from ops import strangers
from ops.http import Site, make_runner
from ops.listening import listen
from realtime import engine
from realtime.engine import SocketServer
from realtime.inbox import Step
from realtime.managers import MemoryManager
from realtime.namespace import Incoming
from realtime.packets import Outgoing, event
from realtime.recovery import Claim
from realtime.rooms import Member
from realtime.session import Session

CONNECT_TIMEOUT_S = 1.5  # more than the three pings that a heartbeat test waits for without a CONNECT


def make_server() -> SocketServer:
    engine.PING_INTERVAL_S, engine.PING_TIMEOUT_S = 0.3, 0.2  # type: ignore[assignment]
    engine.MESSAGE_BYTES_MAX = 1_000_000
    return SocketServer(MemoryManager(), CONNECT_TIMEOUT_S, ["*"])


class Echoing:
    """Above Engine.IO: sends back what it gets."""

    def decode(self, session: Session, data: str | bytes) -> str | bytes:
        return data

    def overlaps(self, session: Session, packet: Any) -> bool:
        return False

    def run(self, session: Session, packet: str | bytes) -> Step:
        session.admit()
        if isinstance(packet, bytes):
            session.link.send(Outgoing.of_bytes(packet))
        else:
            session.link.send(Outgoing(b"4" + packet.encode()))
        return None

    def ended(self, session: Session) -> None:
        pass


class Echo:
    """A namespace: `auth` after connecting; an echo of `message`, and of `message-with-ack` in its acknowledgement."""

    recovers = False
    attachments_max = 10

    def __init__(self, name: str) -> None:
        self.name = name

    async def connect(self, member: Member, auth: Any, claim: Claim | None) -> None:
        asyncio.get_running_loop().call_soon(self.send, member, "auth", auth or {})

    def parting(self, member: Member) -> tuple[str, list[str]]:
        return "", []

    def disconnect(self, member: Member) -> None:
        pass

    def overlaps(self, name: str) -> bool:
        return False

    def receive(self, member: Member, packet: Incoming) -> list[Any]:
        name: str = packet.data[0]
        arguments: list[Any] = packet.data[1:]
        if name == "message":
            self.send(member, "message-back", tuple(arguments))
        return arguments

    def send(self, member: Member, name: str, data: Any) -> None:
        member.session.link.send(event(self.name, name, data))


def make_app(kind: str) -> tuple[web.Application, SocketServer]:
    """`engine`: echoes on /engine.io/. `socket`: the namespaces / and /custom on /socket.io/."""
    app = web.Application(client_max_size=1_000_000)
    sio = make_server()
    app[strangers.KEY] = sio.eio.strangers
    if kind == "engine":
        sio.eio.above = Echoing()
        sio.eio.connect_timeout_s = 1e9  # there is nothing to connect to
        sio.attach(app, "engine.io")
    else:
        for name in ("/", "/custom"):
            sio.mount(Echo(name))
        sio.attach(app)

    async def life(_: web.Application) -> AsyncIterator[None]:
        yield
        await sio.stop()

    app.cleanup_ctx.append(life)
    return app, sio


async def serve(kind: str, port: int) -> None:
    runner = make_runner(make_app(kind)[0])
    await runner.setup()
    for listening in listen("localhost", port, 1)[0]:
        await Site(runner, listening).start()
    print(f"listening on {port}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], int(sys.argv[2])))
