"""Where the time of the cheapest command goes: `python -m bench.anatomy`.

A real server, one real connection in all but its socket: frames are fed to its protocol and what it writes is thrown
away, so that what is measured is Parley's own part of `chat:leave`. Then the stages are timed one by one.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec

from bench.clients import Rest
from contract.catalogue import COMMANDS
from contract.types import Empty
from handlers.base import Success
from ops.http import Site, make_runner
from ops.listening import listen
from ops.metrics import COMMANDS as TALLY
from realtime import packets
from realtime.namespace import Incoming
from realtime.rooms import Member
from realtime.session import Session
from realtime.websocket import WebSocketLink
from server import Server
from settings import Settings
from storage.embedded import EmbeddedMongo

EVENTS = 20_000
BURST = 8
LEAVE = {"conversation_id": "c_0123456789abcdef01234567"}


class Sink:
    """A transport that throws away what it is given."""

    def write(self, data: bytes) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def resume_reading(self) -> None:
        pass

    def abort(self) -> None:
        pass


def masked(text: str) -> bytes:
    """A client's frame, with the mask of zeros that leaves it as it is."""
    payload = text.encode()
    head = bytes((0x81, 0x80 | len(payload))) if len(payload) < 126 else b"\x81\xfe" + len(payload).to_bytes(2, "big")
    return head + bytes(4) + payload


def microseconds(work: Callable[[], Any], events: int = EVENTS) -> float:
    """The best of five: what the machine adds is noise."""
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(events):
            work()
        best = min(best, (time.perf_counter() - started) / events * 1e6)
    return best


async def connected(server: Server, token: str) -> tuple[Session, Member]:
    eio = server.sio.eio
    session = Session(eio, eio.generate_id(), "")
    link = session.link = eio.make_link(session)
    link.transport = cast(asyncio.Transport, Sink())
    session.upgraded = True
    eio.sockets[session.sid] = session
    link.data_received(masked("40/chat," + json.dumps({"token": token})))
    while "/chat" not in session.members or not session.members["/chat"].connected:
        await asyncio.sleep(0.01)
    return session, session.members["/chat"]


async def stages(server: Server, session: Session, member: Member) -> list[tuple[str, float]]:
    text = "42/chat,17" + json.dumps(["chat:leave", LEAVE])
    link, engine, chat = cast(WebSocketLink, session.link), server.sio, member.handler
    incoming = cast(Incoming, engine.decode(session, text[1:]))
    burst = masked(text) * BURST
    reply = Success(data=Empty())

    def whole() -> None:
        link.data_received(burst)
        engine.eio.flusher.flush()

    user_id, limits = session.owner.identity.user_id, server.executor.limits
    command = COMMANDS["chat:leave"]
    nothing = WebSocketLink(Silent(), engine.eio.flusher, engine.eio.wheel, 262_144)
    return [
        ("all of it, eight in a read", microseconds(whole, EVENTS // BURST) / BURST),
        ("reading the frame", microseconds(lambda: nothing.data_received(burst), EVENTS // BURST) / BURST),
        ("taking the packet apart", microseconds(lambda: engine.decode(session, text[1:]))),
        ("the choke point and the handler", microseconds(lambda: chat.receive(member, incoming))),
        ("  of that: the limit", microseconds(lambda: limits.retry_after_ms("chat:leave", user_id))),
        ("  of that: the payload", microseconds(lambda: msgspec.convert(LEAVE, command.payload))),
        ("  of that: the metrics", microseconds(lambda: TALLY.note("chat:leave", "ok", 0.000_01))),
        ("encoding the acknowledgement", microseconds(lambda: packets.ack("/chat", 17, reply))),
    ]


class Silent:
    """Hears frames and does nothing."""

    def frame_received(self, data: str | bytes) -> None: ...
    def transport_lost(self) -> None: ...
    def transport_failed(self) -> None: ...
    def too_slow(self) -> None: ...
    def behind(self, unread: int) -> None: ...

    def spend(self, cost: float) -> float:
        return 0.0


async def run(directory: Path, url: str) -> None:
    # Limits on, so that they are measured, and too high to be met.
    settings = Settings(data_dir=directory, bcrypt_rounds=4, rate_limit_scale=1_000_000)
    server = Server(settings, url)
    runner = make_runner(server.app)
    await server.start()
    await runner.setup()
    await Site(runner, listen("127.0.0.1", 0, 1)[0][0]).start()
    async with Rest(f"http://127.0.0.1:{runner.addresses[0][1]}") as rest:
        account = await rest.register("anatomy@bench.example", "correct horse battery staple", "Anatomy")
    session, member = await connected(server, account.access_token)
    for name, cost in await stages(server, session, member):
        print(f"{name:<36}{cost:>8.2f} µs")
    await runner.cleanup()
    await server.stop()


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        database = EmbeddedMongo(Path(directory))
        try:
            asyncio.run(run(Path(directory), database.start()))
        finally:
            database.stop()


if __name__ == "__main__":
    main()
