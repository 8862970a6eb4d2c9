"""Connections of whoever has not logged in: bounded, the oldest first, and never at the cost of those who have."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.parse import urlsplit

import bcrypt
import pytest

from ops import strangers
from ops.strangers import Strangers, share_of
from server import Server
from settings import Settings
from tests.rest.client import http
from tests.socket.protocol import Polling
from tests.support import PASSWORD, PATIENCE_S, Crowd, Raw, serving, until


class Silent:
    """TCP connections that say nothing, or only what they are given."""

    def __init__(self, url: str) -> None:
        where = urlsplit(url)
        assert where.hostname is not None
        self._where = where.hostname, where.port
        self._open: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def open(self, count: int, words: bytes = b"") -> None:
        for _ in range(count):
            reader, writer = await asyncio.open_connection(*self._where)
            writer.write(words)
            self._open.append((reader, writer))

    async def gone(self, first: int) -> None:
        """The first of them have been closed by the server."""
        for reader, _ in self._open[:first]:
            async with asyncio.timeout(PATIENCE_S):
                with contextlib.suppress(ConnectionResetError):
                    await reader.read()

    def close(self) -> None:
        for _, writer in self._open:
            writer.transport.abort()


@pytest.fixture
async def silent(url: str) -> AsyncIterator[Silent]:
    made = Silent(url)
    yield made
    made.close()


@pytest.mark.parametrize(
    "words", [b"", b"GET /api/v1/health/live HTTP/1.1\r\nHost: x\r\n", b"POST /x HTTP/1.1\r\nContent-Length: 9\r\n\r\n"]
)
async def test_the_oldest_go_first_and_members_stay(server: Server, crowd: Crowd, silent: Silent, words: bytes) -> None:
    ada, ben, conversation = await crowd.pair()
    server.strangers._most = 5
    await until(lambda: len(server.strangers) <= 5)
    await silent.open(40, words)
    await silent.gone(35)
    assert len(server.strangers) <= 5
    for number in range(3):
        sent = {"conversation_id": conversation["id"], "client_id": f"m{number}", "text": "Forty?"}
        await ada.call("chat:send", sent)
    cleo = await crowd.person("Cleo")  # who comes meanwhile is let in
    assert (await cleo.call("chat:list", {}))["items"] == []
    assert (await ben.call("chat:list", {}))["items"][0]["last_seq"] == 3


async def test_a_websocket_that_does_not_log_in_is_one(server: Server, crowd: Crowd, url: str) -> None:
    account = await crowd.account()
    await crowd.rest.__aexit__()
    await until(lambda: len(server.strangers) == 0)
    server.strangers._most = 2
    async with Raw(url) as first, Raw(url) as second:
        async with Raw(url):
            assert await first.receive() is None
        await second.connect("/chat", account.access_token)
        async with Raw(url), Raw(url), Raw(url):
            assert (await second.ask("/chat", "chat:list", {}))["ok"]


async def test_a_member_is_none_while_they_are_answered(server: Server, crowd: Crowd, url: str) -> None:
    account = await crowd.account()
    await crowd.rest.__aexit__()
    await until(lambda: len(server.strangers) == 0)
    async with Polling(url) as polling:
        await polling.connect("/chat", account.access_token)
        await until(lambda: len(server.strangers) == 1)  # the connection that is kept
        polls = asyncio.create_task(polling.poll())
        await until(lambda: len(server.strangers) == 0)
        assert await polling.post('42/chat,1["chat:list",{}]') == 200
        assert (await polls)[0] == 200
        await until(lambda: len(server.strangers) == 2)


async def test_who_is_being_answered_does_not_go_before_who_is_idle() -> None:
    class Connection:
        def __init__(self, busy: bool) -> None:
            self._request_in_progress = busy

    some, closed = Strangers(3), []
    for busy in (True, True, False, False):
        one = Connection(busy)
        some.came(one, lambda one=one: closed.append(one._request_in_progress))  # type: ignore[misc]
    assert closed == [False]


@pytest.mark.parametrize("body", [b"4" + b"x" * 70_000, b"\x1e".join([b"3"] * 100), b"d=", b"4null"])
async def test_a_stranger_posts_little_and_only_text(server: Server, url: str, body: bytes) -> None:
    server.sio.eio.pace(1.0)
    async with Polling(url) as polling:
        assert await polling.post_body(body) in (200, 400)
        await until(lambda: not server.sio.eio.sockets)


async def test_a_stranger_who_sends_far_too_much_at_once_is_closed(server: Server, url: str) -> None:
    server.sio.eio.pace(1.0)
    async with Raw(url) as raw:
        await raw.send("40/chat," + "x" * 100_000)
        assert await raw.receive() is None


async def test_silence_from_the_beginning_has_an_end(server: Server, silent: Silent, url: str) -> None:
    await silent.open(3)
    await until(lambda: len(server.strangers) == 3)
    async with http(url) as call:
        await call("GET", "/api/v1/health/live")
        server.strangers.look(time.monotonic())
        assert len(server.strangers) == 4
        server.strangers.look(time.monotonic() + strangers.FIRST_REQUEST_S)
        await silent.gone(3)
        assert len(server.strangers) == 1, "one that has asked for something is kept"


def test_it_is_said_how_many_were_closed(caplog: pytest.LogCaptureFixture) -> None:
    some, closed = Strangers(3), []
    for number in range(10):
        some.came(number, lambda number=number: closed.append(number))  # type: ignore[misc]
    some.look(time.monotonic())
    assert closed == list(range(7))
    assert "7 connections that had not logged in were closed" in caplog.text


@pytest.mark.parametrize("files", [256, 1_024, 65_536, 1_048_576])
def test_files_are_enough_for_all(files: int) -> None:
    assert strangers.strangers_max(files) >= 16
    assert strangers.strangers_max(files) + strangers.members_max(files) + strangers.FILES_RESERVED <= files


def test_one_address_has_its_share_and_its_own_oldest_go() -> None:
    room = Strangers(400)
    closed: list[object] = []
    room.came("honest", lambda: closed.append("honest"), share_of("203.0.113.9"))
    for number in range(150):
        room.came(number, lambda number=number: closed.append(number), share_of("198.51.100.7"))  # type: ignore[misc]
    assert closed == list(range(50))
    for number in range(150):  # a /64 is one customer's
        address = f"2001:db8::{number:x}"
        room.came(address, lambda address=address: closed.append(address), share_of(address))  # type: ignore[misc]
    assert [one for one in closed if isinstance(one, str)] == [f"2001:db8::{number:x}" for number in range(50)]
    room.went("honest")
    assert len(room) == 200


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "", None, "unix"])
def test_this_machine_and_who_is_not_known_are_not_counted(address: str | None) -> None:
    assert share_of(address) == ""


async def test_sessions_behind_a_proxy_are_counted_by_what_it_says(settings: Settings, mongo_url: str) -> None:
    async with serving(replace(settings, trusted_proxies=1), mongo_url) as (server, url):
        server.strangers._most = 40  # ten for each
        honest = Raw(url, headers={"X-Forwarded-For": "203.0.113.9"})
        hostile = [Raw(url, headers={"X-Forwarded-For": "198.51.100.7"}) for _ in range(13)]
        async with contextlib.AsyncExitStack() as stack:
            for raw in (honest, *hostile):
                await stack.enter_async_context(raw)
            for raw in hostile[:3]:
                assert await raw.receive() is None
            for raw in (honest, *hostile[3:]):
                assert "token_invalid" in await raw.connect("/chat", "no token")


async def test_where_much_was_refused_sessions_begin_late(
    settings: Settings, mongo_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused CONNECTs, on however many connections, are their address's; whoever shows a log-in does not wait."""
    behind = replace(settings, trusted_proxies=1, rate_limit_scale=1)
    waits: list[float] = []

    async def pause(request: object, seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("rest.middleware._pause", pause)
    hostile, honest = {"X-Forwarded-For": "198.51.100.7"}, {"X-Forwarded-For": "203.0.113.9"}
    async with serving(behind, mongo_url) as (server, url), http(url) as call:
        server.strangers.refusals._per_s = 0.001  # one is more than enough, however long this takes
        crowd = Crowd(url)
        account = await crowd.account()
        await crowd.close()
        for _ in range(2):
            async with Raw(url, headers=hostile) as raw:
                assert "token_invalid" in await raw.connect("/chat", "no token")
        before = len(waits)
        assert before > 0
        async with Raw(url, headers=honest) as raw:
            assert "token_invalid" in await raw.connect("/chat", "no token")
        assert (await call("GET", "/api/v1/auth/me", token=account.access_token, headers=hostile)).status == 200
        assert (await call("GET", "/api/v1/health/ready", headers=hostile)).status == 200
        assert len(waits) == before


def test_when_there_are_too_many_the_address_with_most_gives_way() -> None:
    """An honest one who is older than all of a flood from fifty addresses stays."""
    room = Strangers(100)
    closed: list[object] = []
    room.came("honest", lambda: closed.append("honest"), share_of("203.0.113.9"))
    for number in range(1_000):
        address = f"198.51.100.{number % 20}"
        room.came(number, lambda number=number: closed.append(number), share_of(address))  # type: ignore[misc]
    assert len(room) == 100
    assert "honest" not in closed


async def test_a_log_in_that_is_being_looked_at_is_not_closed_for_others(
    server: Server, crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await crowd.account()
    original, entered, go_on = bcrypt.checkpw, threading.Event(), threading.Event()

    def checkpw(password: bytes, hashed: bytes) -> bool:
        entered.set()
        go_on.wait(PATIENCE_S)
        return original(password, hashed)

    monkeypatch.setattr(bcrypt, "checkpw", checkpw)
    login = asyncio.create_task(crowd.rest.login(account.user["email"], PASSWORD))
    await until(entered.is_set)
    server.strangers._most = 3
    half = (
        b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
    )
    silent = Silent(crowd.url)
    await silent.open(20, half)  # something is being answered them too
    await silent.gone(17)
    go_on.set()
    assert (await login).id == account.id
    silent.close()
