"""Engine.IO as its protocol document has it: handshake, heartbeat, polling and WebSocket. Upgrades: test_upgrade.py."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import time

import aiohttp
import pytest

from tests.conformance.client import LIMIT_S, Place, Polling, opened
from tests.socket.protocol import SEPARATOR
from tests.support import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

FIELDS = {"sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"}
BAD_HANDSHAKES = (
    "", "transport={}", "EIO=abc&transport={}", "EIO=3&transport={}", "EIO=5&transport={}", "EIO=&transport={}",
    "EIO=4", "EIO=4&transport=", "EIO=4&transport=abc", "EIO=4&transport={}&sid=unknown",
)  # fmt: skip


# The handshake


async def test_the_handshake_of_polling(brisk: Place) -> None:
    status, body = await brisk.request("GET", "EIO=4&transport=polling")
    assert status == 200
    assert SEPARATOR not in body
    handshake = opened(body)
    assert set(handshake) == FIELDS
    assert handshake.pop("sid") in brisk.eio.sockets
    assert handshake == {"upgrades": ["websocket"], "pingInterval": 300, "pingTimeout": 200, "maxPayload": 1_000_000}


async def test_the_handshake_of_a_websocket(brisk: Place) -> None:
    async with brisk.socket() as socket:
        assert set(socket.handshake) == FIELDS
        assert socket.handshake.pop("sid") in brisk.eio.sockets
        assert socket.handshake == {
            "upgrades": [], "pingInterval": 300, "pingTimeout": 200, "maxPayload": 1_000_000,
        }  # fmt: skip


@pytest.mark.parametrize("query", BAD_HANDSHAKES)
async def test_a_bad_handshake_of_polling_is_refused(engine: Place, query: str) -> None:
    before = set(engine.eio.sockets)
    status, _ = await engine.request("GET", query.format("polling"))
    assert status == 400
    assert set(engine.eio.sockets) == before


@pytest.mark.parametrize("query", BAD_HANDSHAKES)
async def test_a_bad_handshake_of_a_websocket_is_refused(engine: Place, query: str) -> None:
    before = set(engine.eio.sockets)
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await engine.http.ws_connect(f"{engine.url}?{query.format('websocket')}")
    assert refused.value.status == 400
    assert set(engine.eio.sockets) == before


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_only_get_begins_a_session(engine: Place, method: str) -> None:
    before = set(engine.eio.sockets)
    status, _ = await engine.request(method, "EIO=4&transport=polling")
    assert status == 400
    assert set(engine.eio.sockets) == before


async def test_what_is_sent_right_behind_a_websockets_handshake_is_read(engine: Place) -> None:
    """In the same segment, as a client does that does not wait for the answer."""
    key = base64.b64encode(os.urandom(16)).decode()
    head = (
        "GET /engine.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\n"
        f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", engine.port)
    writer.write(head.encode() + b"\x81\x86\0\0\0\x004early")  # masked with zeros
    async with asyncio.timeout(LIMIT_S):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        kind, length = await reader.readexactly(2)
        assert kind == 0x81
        assert (await reader.readexactly(length)).startswith(b'0{"sid":')
        assert await reader.readexactly(8) == b"\x81\x064early"
    writer.close()


# The heartbeat


async def test_polling_lives_as_long_as_it_answers_pings(forgiving: Place) -> None:
    interval_s = forgiving.eio.ping_interval - forgiving.eio.wheel.tick_s
    before = time.monotonic()
    session = await forgiving.polling()
    for _ in range(3):
        assert await session.get() == (200, "2")
        assert time.monotonic() - before >= interval_s, "too early"
        before = time.monotonic()
        assert await session.post("3") == (200, "ok")


async def test_polling_without_pongs_ends(brisk: Place) -> None:
    session = await brisk.polling()
    silent_since = time.monotonic()
    while time.monotonic() < silent_since + 0.5:  # a sleep may end a little early
        await asyncio.sleep(0.01)
    assert (await session.get())[0] == 400
    assert session.sid not in brisk.eio.sockets


async def test_polling_that_hears_the_ping_and_does_not_answer_ends(brisk: Place) -> None:
    session = await brisk.polling()
    assert await session.get() == (200, "2")
    await until(lambda: session.sid not in brisk.eio.sockets)
    assert (await session.get())[0] == 400


async def test_a_websocket_lives_as_long_as_it_answers_pings(forgiving: Place) -> None:
    interval_s = forgiving.eio.ping_interval - forgiving.eio.wheel.tick_s
    before = time.monotonic()
    async with forgiving.socket() as socket:
        for _ in range(3):
            assert await socket.ws.receive_str(timeout=LIMIT_S) == "2"
            assert time.monotonic() - before >= interval_s, "too early"
            before = time.monotonic()
            await socket.send("3")
        await socket.echoes()


async def test_a_websocket_without_pongs_is_closed(brisk: Place) -> None:
    before = time.monotonic()
    async with brisk.socket() as socket:
        assert await socket.ws.receive_str(timeout=LIMIT_S) == "2"
        async with asyncio.timeout(LIMIT_S):
            while (await socket.ws.receive()).type is aiohttp.WSMsgType.TEXT:
                pass
        assert time.monotonic() - before >= 0.5, "too early"
        assert socket.handshake["sid"] not in brisk.eio.sockets


# Polling


async def test_a_message_comes_back(engine: Place) -> None:
    session = await engine.polling()
    assert await session.post("4hello") == (200, "ok")
    assert await session.receive() == "4hello"


async def test_several_packets_come_back_together_and_in_order(engine: Place) -> None:
    session = await engine.polling()
    assert await session.post("4test1", "4test2", "4tést3") == (200, "ok")
    assert await session.receive() == "4test1\x1e4test2\x1e4tést3"


async def test_binary_is_base64_both_ways(engine: Place) -> None:
    session = await engine.polling()
    assert await session.post("4hello", "bAQIDBA==") == (200, "ok")
    assert await session.receive() == "4hello\x1ebAQIDBA=="


async def test_a_poll_waits_for_the_message(engine: Place) -> None:
    session = await engine.polling()
    pending = await session.pending()
    assert await session.post("4hello") == (200, "ok")
    assert await asyncio.wait_for(pending, LIMIT_S) == (200, "4hello")


@pytest.mark.parametrize("body", ["abc", "\x1e", "4hello\x1eabc", "bAQ", "7", "9hello"])
async def test_an_invalid_body_ends_the_session(engine: Place, body: str) -> None:
    session = await engine.polling()
    assert (await session.post(body))[0] == 400
    assert session.sid not in engine.eio.sockets
    assert (await session.get())[0] == 400


async def test_a_second_poll_ends_the_session(engine: Place) -> None:
    session = await engine.polling()
    first = await session.pending()
    assert (await session.get())[0] == 400
    assert await asyncio.wait_for(first, LIMIT_S) == (200, "1")
    assert (await session.get())[0] == 400


async def abort_a_poll(session: Polling) -> None:
    """Returns when the server, too, knows that the connection is gone."""
    place = session.place
    pending = await session.pending()
    before = place.http_connections
    pending.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await pending
    await until(lambda: place.http_connections < before)


async def test_a_poll_after_an_aborted_one_ends_the_session(engine: Place) -> None:
    session = await engine.polling()
    await abort_a_poll(session)
    assert (await asyncio.wait_for(session.get(), LIMIT_S))[0] == 400
    assert session.sid not in engine.eio.sockets


async def test_a_message_for_an_aborted_poll_is_not_lost_unsaid(engine: Place) -> None:
    """It is taken for a poll that nobody waits for any more: the session ends, so the client knows."""
    session = await engine.polling()
    await abort_a_poll(session)
    assert await session.post("4hello") == (200, "ok")
    await until(lambda: session.sid not in engine.eio.sockets)
    assert (await session.get())[0] == 400


async def test_a_client_that_closes_releases_its_poll(engine: Place) -> None:
    session = await engine.polling()
    pending = await session.pending()
    assert await session.post("1") == (200, "ok")
    assert await asyncio.wait_for(pending, LIMIT_S) == (200, "6")
    assert (await session.get())[0] == 400
    assert session.sid not in engine.eio.sockets


async def test_a_client_that_closes_and_then_polls_is_released_once(engine: Place) -> None:
    """Its close and its poll go over two connections: either may arrive first."""
    session = await engine.polling()
    assert await session.post("1") == (200, "ok")
    assert session.sid not in engine.eio.sockets
    assert await session.get() == (200, "6")
    assert (await session.get())[0] == 400
    assert (await session.post("4hello"))[0] == 400


# WebSocket


async def test_a_websocket_echoes_text_and_binary(engine: Place) -> None:
    async with engine.socket() as socket:
        await socket.send("4hello", b"\1\2\3\4", b"", "4", "4" + "é" * 70_000)
        assert [await socket.receive() for _ in range(5)] == ["4hello", b"\1\2\3\4", b"", "4", "4" + "é" * 70_000]


@pytest.mark.parametrize("packet", ["abc", "0", "2", "5", "6", "7", "1"])
async def test_what_closes_a_websocket(engine: Place, packet: str) -> None:
    async with engine.socket() as socket, engine.socket() as other:
        await socket.send("4first", packet, "4too late")
        assert [said for said in await socket.closes() if said != "1"] == ["4first"]
        assert socket.handshake["sid"] not in engine.eio.sockets
        await other.echoes()


async def test_a_client_that_closes_its_websocket_is_not_told_to(engine: Place) -> None:
    async with engine.socket() as socket:
        await socket.send("1")
        assert await socket.closes() == []
        assert socket.ws.close_code == 1000


@pytest.mark.parametrize("frame", [b"\x83\x80\0\0\0\0", b"\xc1\x81\0\0\0\0x", b"\x81\x81\0\0\0\0\xff"])
async def test_what_is_no_websocket_frame_closes(engine: Place, frame: bytes) -> None:
    """Of no known kind, compressed, not UTF-8."""
    async with engine.socket() as socket:
        transport = socket.ws._writer.transport
        assert transport is not None
        transport.write(frame)
        await socket.closes()
        assert socket.ws.close_code in (1002, 1007)
        assert socket.handshake["sid"] not in engine.eio.sockets
