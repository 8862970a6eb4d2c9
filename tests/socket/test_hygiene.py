"""What must not linger: upgrades that come to nothing, peers that say goodbye and do not read, words after the last."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from realtime import websocket
from tests.conformance.client import hosting
from tests.faults.slow import CLOSE, SlowReader
from tests.support import PATIENCE_S, until


async def test_a_websocket_that_never_upgrades_ends_with_its_session() -> None:

    async with hosting("engine") as place:
        session = await place.polling()
        async with place.socket(session.sid) as idle:
            assert await session.post("1") == (200, "ok")
            message = await asyncio.wait_for(idle.ws.receive(), PATIENCE_S)
            assert message.type is aiohttp.WSMsgType.CLOSE


async def test_a_probed_websocket_that_never_upgrades_ends_with_its_session() -> None:
    async with hosting("engine") as place:
        session = await place.polling()
        async with place.socket(session.sid) as idle:
            await idle.send("2probe")
            assert await idle.ws.receive_str() == "3probe"
            await until(lambda: session.sid not in place.eio.sockets)  # no pongs
            message = await asyncio.wait_for(idle.ws.receive(), PATIENCE_S)
            assert message.type is aiohttp.WSMsgType.CLOSE


async def test_a_peer_that_closes_and_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing a transport waits for its buffer, which such a peer never takes."""
    monkeypatch.setattr(websocket, "CLOSE_WAIT_S", 0.2)
    async with hosting("socket") as place:
        async with SlowReader(place.url.removesuffix("/socket.io/")) as slow:
            await slow.send("40")
            link: Any = place.session(slow.sid).link
            while not link.blocked:
                link.write(b"\x82\x7e\xff\xff" + bytes(65_535))
            await slow._frame(CLOSE, b"\x03\xe8")
            await until(lambda: link._closing)
            await until(lambda: slow.sid not in place.eio.sockets)
            await until(lambda: link.transport is None)  # with its session its connection ends, and what waits for it


async def test_a_malformed_post_of_a_session_that_ends_meanwhile_is_refused() -> None:
    """The session goes while the body is still being read."""
    async with hosting("engine") as place:
        session = await place.polling()
        reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
        head = f"POST /engine.io/?{session.query} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nx"
        writer.write(head.encode())
        await asyncio.sleep(0.1)
        assert (await session.post("1"))[0] == 400, "a second one beside it ends the session"
        writer.write(b"x")
        answer = await asyncio.wait_for(reader.readline(), PATIENCE_S)
        writer.close()
        assert answer.startswith(b"HTTP/1.1 400"), answer


async def test_nothing_follows_the_close_frame() -> None:
    """A CONNECT in the inbox of a session that what comes behind it closes."""
    async with hosting("socket") as place:
        async with SlowReader(place.url.removesuffix("/socket.io/")) as raw:
            refused, wrong = b"40/random,", b"abc"
            frames = b"".join(bytes((0x81, 0x80 | len(data))) + b"\0\0\0\0" + data for data in (refused, wrong))
            await raw._write(frames)
            kinds = []
            while CLOSE not in kinds:
                kinds.append((await raw._receive())[0])
            await raw._frame(CLOSE, b"\x03\xe8")
            while await raw._more():
                pass
            assert raw._buffer == b""
