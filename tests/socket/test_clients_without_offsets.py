"""Clients that cannot take an offset behind an event's payload get none: the real Python ones, and Dart's handshake."""

from __future__ import annotations

import asyncio
import json
import queue
import time
from typing import Any

import pytest
import socketio

from tests.socket.protocol import Place, Polling
from tests.support import PATIENCE_S, Raw

pytestmark = pytest.mark.asyncio(loop_scope="module")

BROWSER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/142.0.0.0 Safari/537.36",
    "Accept-Language": "en", "Cache-Control": "no-cache",
    "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits",
}  # fmt: skip
HEADERS: dict[str, dict[str, str]] = {
    "its own": {},
    "a name of its own": {"User-Agent": "trade-bot/1.0"},
    "a browser's": BROWSER,
    "a phone's": {"User-Agent": "okhttp/4.12.0", "Origin": "http://127.0.0.1"},
}
TRANSPORTS = [["websocket"], ["polling"], ["polling", "websocket"]]


async def say(place: Place, text: str) -> None:
    payload = {"conversation_id": place.conversation, "client_id": f"{text}-{time.time_ns()}", "text": text}
    assert (await place.bystander.ask("/chat", "chat:send", payload))["ok"]


@pytest.mark.parametrize("headers", HEADERS)
@pytest.mark.parametrize("transports", TRANSPORTS, ids="-".join)
async def test_the_asynchronous_python_client(place: Place, headers: str, transports: list[str]) -> None:
    client = socketio.AsyncClient(reconnection=False)
    heard: asyncio.Queue[str] = asyncio.Queue()

    @client.on("chat:message", namespace="/chat")  # type: ignore[untyped-decorator]
    async def message(payload: dict[str, Any]) -> None:
        await heard.put(payload["message"]["text"])

    extra = HEADERS[headers] | ({"Origin": place.url} if "Origin" in HEADERS[headers] else {})
    await client.connect(
        place.url, extra, {"token": place.ada.access_token}, transports, namespaces=["/chat"], wait_timeout=60
    )
    try:
        await say(place, "one argument")
        assert await asyncio.wait_for(heard.get(), PATIENCE_S) == "one argument"
    finally:
        await client.disconnect()


@pytest.mark.parametrize("headers", HEADERS)
@pytest.mark.parametrize("transports", TRANSPORTS, ids="-".join)
async def test_the_synchronous_python_client(place: Place, headers: str, transports: list[str]) -> None:
    client = socketio.Client(reconnection=False)
    heard: queue.Queue[str] = queue.Queue()

    @client.on("chat:message", namespace="/chat")  # type: ignore[untyped-decorator]
    def message(payload: dict[str, Any]) -> None:
        heard.put(payload["message"]["text"])

    extra = HEADERS[headers] | ({"Origin": place.url} if "Origin" in HEADERS[headers] else {})
    auth = {"token": place.ada.access_token}
    await asyncio.to_thread(
        client.connect, place.url, extra, auth, transports, namespaces=["/chat"], wait_timeout=60
    )  # fmt: skip
    try:
        await say(place, "one argument")
        assert await asyncio.to_thread(heard.get, timeout=PATIENCE_S) == "one argument"
    finally:
        await asyncio.to_thread(client.disconnect)


async def test_a_python_client_of_any_name_gets_few_packets_in_one_answer(place: Place) -> None:
    """python-engineio takes more than sixteen for an attack."""
    client = socketio.AsyncClient(reconnection=False)
    heard: asyncio.Queue[str] = asyncio.Queue()

    @client.on("chat:message", namespace="/chat")  # type: ignore[untyped-decorator]
    async def message(payload: dict[str, Any]) -> None:
        await heard.put(payload["message"]["text"])

    auth = {"token": place.ada.access_token}
    await client.connect(
        place.url, HEADERS["a name of its own"], auth, ["polling"], namespaces=["/chat"], wait_timeout=60
    )
    try:
        for number in range(40):
            payload = {"conversation_id": place.conversation, "client_id": f"many-{number}", "text": f"{number}"}
            await place.bystander.send("42/chat," + json.dumps(["chat:send", payload]))
        assert [await asyncio.wait_for(heard.get(), PATIENCE_S) for _ in range(40)] == [
            f"{number}" for number in range(40)
        ]
    finally:
        await client.disconnect()


async def event(place: Place, connected: Raw | Polling) -> list[Any]:
    """An event as it comes to a client that has connected."""
    answer = await connected.connect("/chat", place.ada.access_token)
    assert "pid" not in json.loads(answer.removeprefix("40/chat,"))
    await say(place, "to Dart")
    found: list[Any] = json.loads((await connected.receive() or "").removeprefix("42/chat,"))
    return found


async def test_dart_outside_a_browser(place: Place) -> None:
    async with Raw(place.url, headers={"User-Agent": "Dart/3.9 (dart:io)"}) as raw:
        assert len(await event(place, raw)) == 2


@pytest.mark.parametrize("t", ["", "now"])
async def test_dart_in_a_browser_begins_by_polling(place: Place, t: str) -> None:
    """Without `t` by default; with `timestampRequests` it is the time in base 36."""
    digits, number = "", int(time.time() * 1000)
    while number:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    async with Polling(place.url, BROWSER["User-Agent"], t=digits if t else "") as polling:
        assert len(await event(place, polling)) == 2


async def test_dart_in_a_browser_with_websocket_first_has_to_say_so(place: Place) -> None:
    """It writes the same as the official client there."""
    async with Raw(place.url, "&recovery=0", BROWSER) as raw:
        assert len(await event(place, raw)) == 2


async def test_a_name_that_only_sounds_like_one_of_them(place: Place) -> None:
    async with Raw(place.url, headers={"User-Agent": "Pythonista/2 Dartmouth/1 CFNetwork"}) as raw:
        answer = await raw.connect("/chat", place.ada.access_token)
        assert "pid" in json.loads(answer.removeprefix("40/chat,"))
