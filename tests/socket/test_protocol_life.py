"""How long a connection lives, how many a user may have, and from which pages they may come."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import aiohttp
import pytest

import realtime.engine
from settings import Settings
from tests.socket.protocol import Polling, place_on, refusal
from tests.support import NAMESPACES, PATIENCE_S, Raw


async def gone(raw: Raw) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while await raw.receive() is not None:
            pass


async def test_a_client_that_never_connects_is_closed(settings: Settings, mongo_url: str) -> None:
    async with place_on(replace(settings, connect_timeout_s=2), mongo_url) as place:
        async with Raw(place.url) as silent, Raw(place.url) as left, Polling(place.url) as polling:
            await left.connect("/chat", place.ada.access_token)
            await gone(silent)
            assert await asyncio.wait_for(polling.closed(), PATIENCE_S)
            assert (await left.ask("/chat", "chat:list", {}))["ok"]
            await place.undisturbed()


@pytest.mark.parametrize("connect", ["40/chat,", '40/chat,{"token":"garbage"}', "40/nothing,"])
async def test_a_client_that_is_only_refused_is_closed_too(settings: Settings, mongo_url: str, connect: str) -> None:
    """A refusal is no log-in: without one nobody may hold a connection for as long as they like."""
    async with place_on(replace(settings, connect_timeout_s=2), mongo_url) as place, Raw(place.url) as raw:
        await raw.send(connect)
        answer = await raw.receive()
        assert answer is not None
        assert answer.startswith("44")
        await gone(raw)
        await place.undisturbed()


async def test_pings_keep_a_connection_and_silence_ends_it(
    settings: Settings, mongo_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(realtime.engine, "PING_INTERVAL_S", 0.3)
    monkeypatch.setattr(realtime.engine, "PING_TIMEOUT_S", 2)
    async with place_on(settings, mongo_url) as place, Raw(place.url) as silent:
        assert (silent.handshake["pingInterval"], silent.handshake["pingTimeout"]) == (300, 2_000)
        await silent.connect("/chat", place.ada.access_token)
        assert silent._socket is not None
        pings, loop = 0, asyncio.get_running_loop()
        answering = asyncio.ensure_future(place.bystander.receive())  # answers pings while it waits
        deadline = loop.time() + PATIENCE_S
        while (message := await silent._socket.receive(timeout=PATIENCE_S)).type is aiohttp.WSMsgType.TEXT:
            pings += message.data == "2"
            assert loop.time() < deadline, "still there"
        assert pings >= 1
        assert not answering.done(), "the connection that answers has been closed too"
        answering.cancel()
        async with Raw(place.url) as other:
            await other.connect("/chat", place.ada.access_token)
            assert (await other.ask("/chat", "chat:list", {}))["ok"]


async def test_polling_that_stops_ends_the_session(
    settings: Settings, mongo_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(realtime.engine, "PING_INTERVAL_S", 0.2)
    monkeypatch.setattr(realtime.engine, "PING_TIMEOUT_S", 2)
    async with place_on(settings, mongo_url) as place, Polling(place.url) as polling:
        await polling.connect("/chat", place.ada.access_token)
        waiting = asyncio.ensure_future(place.bystander.receive())
        async with asyncio.timeout(PATIENCE_S):
            while place.server.connections.of_user(place.ada.id):
                await asyncio.sleep(0.05)
        waiting.cancel()
        assert (await polling.poll())[0] == 400


async def test_a_user_has_so_many_connections(settings: Settings, mongo_url: str) -> None:
    async with place_on(replace(settings, connections_per_user_max=2), mongo_url) as place:
        async with Raw(place.url) as one, Raw(place.url) as two, Raw(place.url) as three:
            token = place.ada.access_token
            assert (await one.connect("/chat", token)).startswith("40/chat,")
            assert (await two.connect("/chat", token)).startswith("40/chat,")
            error = refusal(await three.connect("/chat", token), "/chat")
            assert (error["code"], error["retryable"]) == ("too_many_connections", False)
            # Namespaces of one connection are not counted, other users neither.
            assert (await two.connect("/typing", token)).startswith("40/typing,")
            await place.undisturbed()
            # One that leaves makes room.
            await one.send("41/chat,")
            async with asyncio.timeout(PATIENCE_S):
                while (answer := await three.connect("/chat", token)).startswith("44"):
                    assert refusal(answer, "/chat")["code"] == "too_many_connections"
            assert (await three.ask("/chat", "chat:list", {}))["ok"]


async def test_a_user_connects_so_often(settings: Settings, mongo_url: str) -> None:
    limited = replace(settings, connections_per_user_max=1, rate_limit_scale=1.0)
    async with place_on(limited, mongo_url) as place, Raw(place.url) as raw:
        token = place.ada.access_token
        for namespace in (*NAMESPACES, *NAMESPACES):
            assert (await raw.connect(namespace, token)).startswith(f"40{namespace},")
            await raw.send(f"41{namespace},")
        error = refusal(await raw.connect("/chat", token), "/chat")
        assert (error["code"], error["retryable"]) == ("rate_limited", True)
        assert 0 < error["retry_after_ms"] <= 2_100
        await place.undisturbed()
        await asyncio.sleep(error["retry_after_ms"] / 1000)
        assert (await raw.connect("/chat", token)).startswith("40/chat,")


async def handshake_from(url: str, origin: str | None, **headers: str) -> tuple[int, int]:
    """HTTP statuses of the two handshakes from a page of this origin: (WebSocket, polling)."""
    given = headers | ({"Origin": origin} if origin is not None else {})
    where = f"{url}/socket.io/?EIO=4&transport="
    async with aiohttp.ClientSession(headers=given) as http:
        async with http.get(f"{where}polling") as response:
            polling = response.status
        try:
            async with http.ws_connect(f"{where}websocket") as ws:
                assert (await ws.receive_str())[0] == "0"
                return 101, polling
        except aiohttp.WSServerHandshakeError as error:
            return error.status, polling


async def test_pages_of_other_sites_are_refused(settings: Settings, mongo_url: str) -> None:
    async with place_on(replace(settings, cors_origins=("https://app.example",)), mongo_url) as place:
        own = place.url.removeprefix("http://")
        for origin in (None, f"http://{own}", "https://app.example"):
            assert await handshake_from(place.url, origin) == (101, 200), origin
        strangers = (
            f"https://{own}", "https://evil.example", "null", "http://127.0.0.1:1", f"http://{own}.evil.example", "https://app.example.org",
            f"http://evil.example/{own}", "http://app.example", f"http://user@{own}", own,
        )  # fmt: skip
        for origin in strangers:
            assert await handshake_from(place.url, origin) == (400, 400), origin


IN, OUT = (101, 200), (400, 400)


async def test_behind_a_proxy_the_page_s_own_site_is_the_public_one(settings: Settings, mongo_url: str) -> None:
    async with place_on(replace(settings, trusted_proxies=1), mongo_url) as place:
        for host in ("chat.example", "Chat.Example", "chat.example:443", "evil.example, chat.example"):
            public = {"X-Forwarded-Host": host, "X-Forwarded-Proto": "https"}
            assert await handshake_from(place.url, "https://chat.example", **public) == IN, host
            for origin in ("http://chat.example", "https://evil.example", "https://chat.example:80", place.url):
                assert await handshake_from(place.url, origin, **public) == OUT, (host, origin)
        websocket = {"X-Forwarded-Host": "chat.example", "X-Forwarded-Proto": "wss"}
        assert await handshake_from(place.url, "https://chat.example", **websocket) == IN
        spoilt = {"X-Forwarded-Host": "chat.example", "X-Forwarded-Proto": "https, http"}
        assert await handshake_from(place.url, "https://chat.example", **spoilt) == OUT
        assert await handshake_from(place.url, place.url) == IN, "a proxy that says nothing of it passes Host on"


async def test_without_one_nobody_may_say_what_the_site_is(settings: Settings, mongo_url: str) -> None:
    async with place_on(settings, mongo_url) as place:
        public = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"}
        assert await handshake_from(place.url, "https://evil.example", **public) == OUT
        assert await handshake_from(place.url, place.url, **public) == IN


async def test_behind_two_the_first_of_them_was_asked(settings: Settings, mongo_url: str) -> None:
    async with place_on(replace(settings, trusted_proxies=2), mongo_url) as place:
        appended = {"X-Forwarded-Host": "evil.example, chat.example, inner", "X-Forwarded-Proto": "http, https, http"}
        assert await handshake_from(place.url, "https://chat.example", **appended) == IN
        for origin in ("http://evil.example", "https://evil.example", "http://inner"):
            assert await handshake_from(place.url, origin, **appended) == OUT


async def test_the_registry_is_empty_when_all_have_gone(settings: Settings, mongo_url: str) -> None:
    async with place_on(settings, mongo_url) as place:
        for namespace in ("/chat", "/typing", "/presence", "/system"):
            async with Raw(place.url) as raw:
                await raw.connect("/chat", place.ada.access_token)
                await raw.connect(namespace, place.ada.access_token)
                await raw.send(f"42{namespace}," + json.dumps(["disconnect"]))
                await gone(raw)
        async with asyncio.timeout(PATIENCE_S):
            while len(place.server.connections) > 1 or len(place.server.sio.eio.sockets) > 1:
                await asyncio.sleep(0.01)
        for space in place.server.sio.manager._spaces.values():
            left = {member for members in (*space.rooms.values(), space.members.values()) for member in members}
            assert {member.session for member in left} <= set(place.server.sio.eio.sockets.values())
