"""Engine.IO: the way from polling up to WebSocket, and what may go wrong on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.conformance.client import LIMIT_S, Place, Polling, Socket
from tests.support import until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def session(engine: Place) -> Polling:
    return await engine.polling()


@pytest_asyncio.fixture(loop_scope="module")
async def upgraded(session: Polling) -> AsyncIterator[Socket]:
    async with session.place.socket(session.sid) as socket:
        await probe(socket)
        await socket.send("5")
        await socket.echoes()
        yield socket


async def probe(socket: Socket) -> None:
    await socket.send("2probe")
    assert await socket.receive() == "3probe"


async def test_the_waiting_poll_ends_and_the_websocket_goes_on(session: Polling) -> None:
    pending = await session.pending()
    async with session.place.socket(session.sid) as socket:
        await probe(socket)
        assert await asyncio.wait_for(pending, LIMIT_S) == (200, "6")
        await socket.send("5", "4hello")
        assert await socket.receive() == "4hello"


async def test_an_upgrade_without_a_waiting_poll(session: Polling) -> None:
    async with session.place.socket(session.sid) as socket:
        await probe(socket)
        await socket.send("5", "4hello", b"\1\2")
        assert [await socket.receive(), await socket.receive()] == ["4hello", b"\1\2"]


async def test_polls_during_the_probe_are_sent_away_empty(session: Polling) -> None:
    async with session.place.socket(session.sid) as socket:
        await probe(socket)
        assert await session.post("4hello") == (200, "ok")
        for _ in range(2):
            assert await asyncio.wait_for(session.get(), LIMIT_S) == (200, "6")
        await socket.send("5", "4last")
        assert [await socket.receive(), await socket.receive()] == ["4hello", "4last"]


async def test_what_was_queued_comes_over_the_websocket_once_and_in_order(session: Polling) -> None:
    assert await session.post("4before", "bAQIDBA==") == (200, "ok")
    async with session.place.socket(session.sid) as socket:
        await probe(socket)
        assert await session.post("4during") == (200, "ok")
        await socket.send("5")
        received = [await socket.receive() for _ in range(3)]
        assert received == ["4before", b"\1\2\3\4", "4during"]
        await socket.echoes()


async def test_nothing_comes_over_the_websocket_before_the_upgrade(session: Polling) -> None:
    async with session.place.socket(session.sid) as socket:
        assert await session.post("4hello") == (200, "ok")
        assert await session.receive() == "4hello"
        await probe(socket)
        await socket.send("5", "4last")
        assert await socket.receive() == "4last"


async def test_polling_is_over_after_the_upgrade(session: Polling, upgraded: Socket) -> None:
    assert (await session.get())[0] == 400
    assert (await session.post("4hello"))[0] == 400
    await upgraded.echoes()


async def test_the_session_ends_with_its_websocket(session: Polling, upgraded: Socket) -> None:
    await upgraded.ws.close()
    await until(lambda: session.sid not in session.place.eio.sockets)
    assert (await session.get())[0] == 400


async def test_an_upgraded_session_is_pinged_on(forgiving: Place) -> None:
    session = await forgiving.polling()
    async with forgiving.socket(session.sid) as socket:
        await probe(socket)
        await socket.send("5")
        for _ in range(2):
            assert await socket.ws.receive_str(timeout=LIMIT_S) == "2"
            await socket.send("3")
        await socket.echoes()


@pytest.mark.parametrize("first", ["2abc", "2", "4hello", "5", "1", "abc", "3probe", b"2probe"])
async def test_a_wrong_first_frame_closes_only_that_websocket(session: Polling, first: str | bytes) -> None:
    async with session.place.socket(session.sid) as socket:
        await socket.send(first)
        assert await socket.closes() == []
    await session.echoes()


@pytest.mark.parametrize("second", ["2probe", "2abc", "4hello", "1", "abc", "3"])
async def test_a_wrong_second_frame_closes_only_that_websocket(session: Polling, second: str) -> None:
    async with session.place.socket(session.sid) as socket:
        await probe(socket)
        assert await session.post("4kept") == (200, "ok")
        await socket.send(second)
        assert await socket.closes() == []
        assert await session.receive() == "4kept"
    await session.echoes()


@pytest.mark.parametrize("polls", [True, False], ids=["a poll waits", "no poll waits"])
async def test_a_websocket_lost_after_the_probe_leaves_polling(session: Polling, polls: bool) -> None:
    pending = await session.pending() if polls else None
    async with session.place.socket(session.sid) as socket:
        await probe(socket)
        if pending is not None:
            assert await asyncio.wait_for(pending, LIMIT_S) == (200, "6")
        assert await session.post("4kept") == (200, "ok")
        transport = socket.ws._writer.transport
        assert transport is not None
        transport.abort()
        await until(lambda: not session.place.session(session.sid).upgrading)
    assert await session.receive() == "4kept"
    pending = await session.pending()  # and no NOOP was left over for it
    assert await session.post("4hello") == (200, "ok")
    assert await asyncio.wait_for(pending, LIMIT_S) == (200, "4hello")


async def test_after_a_failed_upgrade_another_succeeds(session: Polling) -> None:
    async with session.place.socket(session.sid) as socket:
        await probe(socket)
    await until(lambda: not session.place.session(session.sid).upgrading)
    async with session.place.socket(session.sid) as socket:
        await probe(socket)
        await socket.send("5")
        await socket.echoes()


async def test_a_second_websocket_after_the_upgrade_is_turned_away(session: Polling, upgraded: Socket) -> None:
    async with session.place.socket(session.sid) as second:
        assert await second.closes() == []
    await upgraded.echoes()


async def test_a_second_websocket_during_the_upgrade_is_turned_away(session: Polling) -> None:
    async with session.place.socket(session.sid) as first:
        await probe(first)
        async with session.place.socket(session.sid) as second:
            assert await second.closes() == []
        await first.send("5")
        await first.echoes()


async def test_of_two_websockets_the_one_that_probes_first_wins(session: Polling) -> None:
    async with session.place.socket(session.sid) as one, session.place.socket(session.sid) as other:
        await probe(other)
        await one.send("2probe")
        assert await one.closes() == []
        await other.send("5")
        await other.echoes()


async def test_of_two_websockets_one_that_comes_too_late_is_closed(session: Polling) -> None:
    async with session.place.socket(session.sid) as one, session.place.socket(session.sid) as other:
        await probe(other)
        await other.send("5")
        await other.echoes()
        await one.send("2probe")
        assert await one.closes() == []
        await other.echoes()


async def test_a_websocket_session_cannot_be_polled_or_taken_over(engine: Place) -> None:
    async with engine.socket() as first:
        sid = first.handshake["sid"]
        for method, body in (("GET", None), ("POST", "4hello")):
            assert (await engine.request(method, f"EIO=4&transport=polling&sid={sid}", body))[0] == 400
        async with engine.socket(sid) as second:
            await second.send("2probe")
            assert await second.closes() == []
        await first.echoes()
