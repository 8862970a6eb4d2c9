"""The Socket.IO protocol over WebSocket: what is answered, and what closes the connection that sent it and no other."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from contract.registry import NAMESPACES, RESERVED_EVENTS
from realtime.engine import MESSAGE_BYTES_MAX, PING_INTERVAL_S, PING_TIMEOUT_S
from tests.socket.protocol import Place, refusal
from tests.support import PATIENCE_S, Raw, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def closes(raw: Raw) -> None:
    """The server ends this connection, whatever it still says before."""
    async with asyncio.timeout(PATIENCE_S):
        while await raw.receive() is not None:
            pass


def rooms(place: Place, namespace: str) -> dict[str, set[str]]:
    space = place.server.sio.manager._spaces.get(namespace)  # there is none until somebody was in it
    found = space.rooms if space is not None else {}
    return {room: {member.sid for member in members} for room, members in found.items()}


async def test_the_handshake(place: Place) -> None:
    async with Raw(place.url) as one, Raw(place.url) as other:
        assert one.handshake["sid"] != other.handshake["sid"]
        assert one.handshake | {"sid": ""} == {
            "sid": "", "upgrades": [], "pingInterval": PING_INTERVAL_S * 1000, "pingTimeout": PING_TIMEOUT_S * 1000,
            "maxPayload": MESSAGE_BYTES_MAX,
        }  # fmt: skip


async def test_connect_tells_the_socket_id(place: Place) -> None:
    async with Raw(place.url) as raw:
        sids = set()
        for namespace in NAMESPACES:
            answer = await raw.connect(namespace, place.ada.access_token)
            assert answer.startswith(f"40{namespace},")
            sids.add(json.loads(answer.removeprefix(f"40{namespace},"))["sid"])
        assert len(sids) == len(NAMESPACES)
        assert raw.handshake["sid"] not in sids


@pytest.mark.parametrize("frame", ["x", "9", "", "7", "0", "2", "b4", "-1", "é"])
async def test_a_malformed_engine_packet_closes(place: Place, frame: str) -> None:
    async with Raw(place.url) as raw:
        await raw.connect("/chat", place.ada.access_token)
        await raw.send(frame)
        await closes(raw)
    await place.undisturbed()


MALFORMED = (
    "4", "49", "47/chat,[]", "4x", "4-", "4/chat", "42/chat,", '42/chat,{"a":1}', "42/chat,[]", "42/chat,[true]",
    '42/chat,[{"a":1}]', "42/chat,[null]", "42/chat,null", '42/chat,"chat:list"', "42/chat,[nonsense", '42/chat,["a"',
    "40/chat,[1]", "40/chat,5[1]", '40/chat,"x"', "40/chat,true", "40/system,{", '41/chat,{"a":1}', '41/chat,["a"]',
    '44/chat,"x"', '44/chat,{"message":"x"}', "44/chat,", "43/chat,7", '43/chat,7{"a":1}', "43/chat,7[",
    "45", '45/chat,["a"]', '45-/chat,["a"]', '451/chat,["a"]', '4599999999999-/chat,["a"]', '451-/chat,{"a":1}',
    "451-/chat,[true]", '451-/chat,["disconnect"]', '461-/chat,{"a":1}', '452-/nowhere,["a"]',
    '42["a"]', '42/nowhere,["a"]', '42/typing,["typing:stop",{}]',
    "42/chat," + "9" * 5_000 + '["a"]',
)  # fmt: skip


@pytest.mark.parametrize("frame", MALFORMED, ids=lambda frame: frame[:24])
async def test_a_malformed_packet_closes(place: Place, frame: str) -> None:
    async with Raw(place.url) as raw:
        await raw.connect("/chat", place.ada.access_token)
        await raw.send(frame)
        await closes(raw)
    await place.undisturbed()


@pytest.mark.parametrize(
    "frames",
    [
        [b"bytes nobody announced"],
        [b""],
        ['451-/chat,["a",{"_placeholder":true,"num":0}]', "text"],
        ['451-/chat,["a",{"_placeholder":true,"num":0}]', '42/chat,["chat:list",{}]'],
        ['451-/chat,7["chat:list",{"_placeholder":true,"num":0}]', b"one", b"one too many"],
        ['451001-/chat,["a",{"_placeholder":true,"num":0}]'],
    ],
    ids=lambda frames: str(frames)[:60],
)
async def test_broken_binary_closes(place: Place, frames: list[str | bytes]) -> None:
    async with Raw(place.url) as raw:
        await raw.connect("/chat", place.ada.access_token)
        for frame in frames:
            await raw.send(frame)
        await closes(raw)
    await place.undisturbed()


async def test_text_that_is_not_utf_8_closes(place: Place) -> None:
    async with Raw(place.url) as raw:
        await raw.connect("/chat", place.ada.access_token)
        assert raw._socket is not None
        await raw._socket._writer.send_frame(b'42/chat,["chat:list\xff",{}]', aiohttp.WSMsgType.TEXT)
        await closes(raw)
    await place.undisturbed()


async def test_nesting_that_can_be_read_is_only_refused(place: Place) -> None:
    async with Raw(place.url) as raw:
        await raw.connect("/chat", place.ada.access_token)
        nested: Any = []
        for _ in range(300):
            nested = [nested]
        answer = await raw.ask("/chat", "chat:list", {"cursor": nested})
        assert answer["error"]["code"] == "validation_failed"


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("first", ["4", '42/chat,["disconnect"]', "9"])
async def test_nothing_after_a_malformed_packet_is_done(place: Place, first: str, namespace: str) -> None:
    """What was sent in one go with it finds the connection closed, and leaves no trace of a namespace entered."""
    await until(lambda: len(place.server.connections) == 1)
    before = rooms(place, namespace)
    async with Raw(place.url) as raw:
        await raw.connect("/system", place.ada.access_token)
        payload = {"conversation_id": place.conversation, "client_id": f"late-{first}-{namespace}", "text": "too late"}
        await raw.send(first)
        await raw.send(f"40{namespace}," + json.dumps({"token": place.ada.access_token}))
        await raw.send("42/chat,1" + json.dumps(["chat:send", payload]))
        await closes(raw)
    await until(lambda: len(place.server.connections) == 1)
    assert rooms(place, namespace) == before
    seen = await place.bystander.ask("/chat", "chat:search", {"query": "too late"})
    assert seen["data"]["items"] == []


@pytest.mark.parametrize("namespace", NAMESPACES)
async def test_an_event_before_connect_closes(place: Place, namespace: str) -> None:
    async with Raw(place.url) as raw:
        await raw.send(f'42{namespace},1["chat:list",{{}}]')
        await closes(raw)
    await place.undisturbed()


async def test_an_event_after_disconnect_closes(place: Place) -> None:
    async with Raw(place.url) as raw:
        await raw.connect("/chat", place.ada.access_token)
        await raw.send("41/chat,")
        await raw.send('42/chat,1["chat:list",{}]')
        await closes(raw)


async def test_a_namespace_can_be_left_and_entered_again(place: Place) -> None:
    async with Raw(place.url) as raw:
        await raw.connect("/chat", place.ada.access_token)
        await raw.connect("/typing", place.ada.access_token)
        await raw.send("41/chat,")
        assert (await raw.connect("/chat", place.ada.access_token)).startswith("40/chat,")
        assert (await raw.ask("/chat", "chat:list", {}))["ok"]
        assert not (await raw.ask("/typing", "typing:stop", {}))["ok"]


async def test_what_is_odd_but_allowed_closes_nothing(place: Place) -> None:
    """An answer nobody asked for, a pong nobody waited for, a query in the namespace, an event without arguments."""
    async with Raw(place.url) as raw:
        await raw.send("40/chat?a=b," + json.dumps({"token": place.ada.access_token, "device_id": "d", "more": 1}))
        assert (await raw.receive() or "").startswith("40/chat,")
        for frame in ("3", "43/chat,7[]", '42/chat,["chat:list"]', '42/chat,["unheard of"]'):
            await raw.send(frame)
        assert (await raw.ask("/chat", "chat:list"))["ok"]


@pytest.mark.parametrize("namespace", ["/chat", "/presence"])
@pytest.mark.parametrize("name", sorted(RESERVED_EVENTS))
async def test_a_reserved_event_closes_and_runs_no_handler(place: Place, name: str, namespace: str) -> None:
    await until(lambda: len(place.server.connections) == 1)  # the bystander; those of earlier tests have gone
    before = rooms(place, namespace), set(place.server.connections.of_user(place.ben.id))
    async with Raw(place.url) as watcher:  # Ada watches Ben, whose second device forges
        await watcher.connect("/presence", place.ada.access_token)
        seen = await watcher.ask("/presence", "presence:subscribe", {"user_ids": [place.ben.id]})
        assert seen["data"]["presences"][0]["status"] == "online"
        async with Raw(place.url) as raw:
            await raw.connect(namespace, place.ben.access_token)
            await raw.send(f"42{namespace},1" + json.dumps([name, {}, {"token": place.ada.access_token}]))
            assert await raw.receive() is None, "answered instead of closed"
        await until(lambda: set(place.server.connections.of_user(place.ben.id)) == before[1])
        again = await watcher.ask("/presence", "presence:subscribe", {"user_ids": [place.ben.id]})
        assert again["data"]["presences"] == seen["data"]["presences"]
    await until(lambda: rooms(place, namespace) == before[0])
    await place.undisturbed()


@pytest.mark.parametrize("namespace", ["/", "/nothing", "/chat/more", "/CHAT", "/" + "x" * 1_000])
async def test_an_unknown_namespace_is_refused_in_the_words_of_the_protocol(place: Place, namespace: str) -> None:
    async with Raw(place.url) as raw:
        prefix = "" if namespace == "/" else f"{namespace},"
        await raw.send(f"40{prefix}" + json.dumps({"token": place.ada.access_token}))
        assert await raw.receive() == f'44{prefix}{{"message":"Invalid namespace"}}'
        assert (await raw.connect("/chat", place.ada.access_token)).startswith("40/chat,")


async def test_a_connect_without_a_login_is_refused(place: Place) -> None:
    """`40/chat,5` too: the digit is an acknowledgement id, so nothing is sent as auth."""
    async with Raw(place.url) as raw:
        for frame in ("40/chat,", "40/chat", "40/chat,{}", "40/chat,5"):
            await raw.send(frame)
            assert refusal(await raw.receive(), "/chat")["code"] == "unauthenticated"


async def test_pipelined_commands_are_acknowledged_in_order(place: Place) -> None:
    async with Raw(place.url) as raw:
        await raw.connect("/chat", place.ada.access_token)
        made = await raw.ask(
            "/chat", "chat:create", {"type": "group", "participant_ids": [place.ben.id], "client_id": "p"}
        )
        where = made["data"]["conversation"]["id"]
        for number in range(1, 51):
            payload = {"conversation_id": where, "client_id": f"pipe-{number}", "text": f"{number}"}
            await raw.send(f"42/chat,{number}" + json.dumps(["chat:send", payload]))
        seqs = []
        for number in range(1, 51):
            frame = await raw.receive() or "closed"
            assert frame.startswith(f"43/chat,{number}[")
            message = json.loads(frame.removeprefix(f"43/chat,{number}"))[0]["data"]["message"]
            assert message["text"] == f"{number}"
            seqs.append(message["seq"])
        assert seqs == list(range(1, 51))


async def test_an_event_without_an_id_is_done_and_not_answered(place: Place) -> None:
    async with Raw(place.url) as raw:
        await raw.connect("/chat", place.ada.access_token)
        payload = {"conversation_id": place.conversation, "client_id": "no-id", "text": "no answer wanted"}
        await raw.send("42/chat," + json.dumps(["chat:send", payload]))
        await raw.send('42/chat,5["chat:get",' + json.dumps({"conversation_id": place.conversation}) + "]")
        frame = await raw.receive() or "closed"
        assert frame.startswith("43/chat,5[")
        latest = json.loads(frame.removeprefix("43/chat,5"))[0]["data"]["conversation"]["last_message"]
        assert latest["client_id"] == "no-id"
        while '"client_id":"no-id"' not in (await place.bystander.receive() or "closed"):
            pass


async def test_a_message_over_the_limit_closes(place: Place) -> None:
    async with Raw(place.url) as raw:
        await raw.connect("/chat", place.ada.access_token)
        head, tail = '42/chat,7["chat:list",{"cursor":"', '"}]'
        fitting = head + "x" * (MESSAGE_BYTES_MAX - 1 - len(head) - len(tail)) + tail
        await raw.send(fitting)
        frame = await raw.receive() or "closed"
        assert '"validation_failed"' in frame
        await raw.send(fitting.replace(tail, "xx" + tail))
        await closes(raw)
    await place.undisturbed()
