"""The way up from long polling to WebSocket: nothing is lost on it, and who does not come up goes on polling."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

from tests.socket.protocol import Place, Polling, pending_poll
from tests.support import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")


def upgrade_url(polling: Polling) -> str:
    return polling.where.replace("transport=polling", "transport=websocket")


async def probe(ws: aiohttp.ClientWebSocketResponse) -> None:
    await ws.send_str("2probe")
    assert await ws.receive_str(timeout=PATIENCE_S) == "3probe"


async def frame(ws: aiohttp.ClientWebSocketResponse, prefix: str) -> str:
    while not (text := await ws.receive_str(timeout=PATIENCE_S)).startswith(prefix):
        pass
    return text


async def test_upgrade_with_a_poll_pending(place: Place, polling: Polling) -> None:
    pending = await pending_poll(place, polling)
    async with polling.http.ws_connect(upgrade_url(polling)) as ws:
        await probe(ws)
        assert await asyncio.wait_for(pending, PATIENCE_S) == (200, ["6"])
        await ws.send_str("5")
        await ws.send_str('42/chat,3["chat:get",' + json.dumps({"conversation_id": place.conversation}) + "]")
        assert '"ok":true' in await frame(ws, "43/chat,3")
        payload = {"conversation_id": place.conversation, "client_id": "upgraded", "text": "there?"}
        assert (await place.bystander.ask("/chat", "chat:send", payload))["ok"]
        await frame(ws, '42/chat,["chat:message"')
        assert (await polling.poll())[0] == 400, "polling is over once upgraded"
        assert await polling.post("3") == 400


async def test_no_noop_is_left_over(place: Place, polling: Polling) -> None:
    """The NOOP is for the poll that it ends; the new transport begins with what is meant for it."""
    async with polling.http.ws_connect(upgrade_url(polling)) as ws:
        await probe(ws)
        await ws.send_str("5")
        await ws.send_str('42/chat,3["chat:list",{}]')
        assert (await ws.receive_str(timeout=PATIENCE_S)).startswith("43/chat,3")


async def test_nothing_is_lost_on_the_way_up(place: Place, polling: Polling) -> None:
    """A command posted between probe and upgrade is answered on whichever transport the client then listens to."""
    async with polling.http.ws_connect(upgrade_url(polling)) as ws:
        await probe(ws)
        body = json.dumps(["chat:get", {"conversation_id": place.conversation}])
        assert await polling.post(f"42/chat,4{body}") == 200
        await ws.send_str("5")
        assert '"ok":true' in await frame(ws, "43/chat,4")


@pytest.mark.parametrize("first", ["2", "2nonsense", "4", "x", '42/chat,["chat:list"]'])
async def test_a_wrong_probe_leaves_the_session_polling(place: Place, polling: Polling, first: str) -> None:
    async with polling.http.ws_connect(upgrade_url(polling)) as ws:
        await ws.send_str(first)
        while (await ws.receive(timeout=PATIENCE_S)).type is aiohttp.WSMsgType.TEXT:
            pass
    if await polling.post("3") == 200:
        assert (await asyncio.wait_for(polling.ask("/chat", "chat:list", {}), PATIENCE_S))["ok"]
    else:
        assert await asyncio.wait_for(polling.closed(), PATIENCE_S)
    await place.undisturbed()


async def test_an_upgrade_given_up_leaves_the_session_polling(place: Place, polling: Polling) -> None:
    """The client's WebSocket breaks after the probe, as behind a proxy that will not have it."""
    async with polling.http.ws_connect(upgrade_url(polling)) as ws:
        await probe(ws)
    assert (await asyncio.wait_for(polling.ask("/chat", "chat:list", {}), PATIENCE_S))["ok"]


async def test_a_second_websocket_for_one_session_is_closed(place: Place, polling: Polling) -> None:
    async with polling.http.ws_connect(upgrade_url(polling)) as ws:
        await probe(ws)
        await ws.send_str("5")
        await ws.send_str('42/chat,1["chat:list",{}]')
        await frame(ws, "43/chat,1")
        async with polling.http.ws_connect(upgrade_url(polling)) as second:
            assert (await second.receive(timeout=PATIENCE_S)).type is aiohttp.WSMsgType.CLOSE
        await ws.send_str('42/chat,2["chat:list",{}]')
        await frame(ws, "43/chat,2")
