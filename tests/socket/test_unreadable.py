"""What clients may legally send and the decoder cannot read: an error of that one command, and no more."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.socket.protocol import Place, Polling, refusal
from tests.support import PATIENCE_S, Raw

pytestmark = pytest.mark.asyncio(loop_scope="module")

HALF = "\\ud83d"  # as JSON.stringify writes it
DEEP = 100_000


def send(**fields: str) -> str:
    """A chat:send whose fields are given as JSON."""
    rest = {"conversation_id": '"c_1"', "client_id": '"x"', "text": '"t"'} | fields
    return '["chat:send",{' + ",".join(f'"{name}":{value}' for name, value in rest.items()) + "}]"


UNREADABLE = {
    "half an emoji": (send(text=f'"I agree {HALF}"'), "text"),
    "the other half": (send(text='"\\udc4d ok"'), "text"),
    "two halves in the wrong order": (send(text='"\\udc4d\\ud83d"'), "text"),
    "a half between characters": (send(text=f'"a{HALF}b"'), "text"),
    "half in an id": (send(client_id=f'"{HALF}"'), "client_id"),
    "half in a list": (send(mentions=f'["u_1","{HALF}"]'), "mentions[1]"),
    "half in a field's name": (f'["chat:send",{{"{HALF}":1}}]', "payload"),
    "half in a map's key": (f'["chat:sync",{{"cursors":{{"{HALF}":1}}}}]', "cursors"),
    "half as the payload": (f'["chat:send","{HALF}"]', "payload"),
    "half within": ('["chat:send",{"a":{"b":[{"c":"\\udfff"}]}}]', "a.b[0].c"),
    "a number beyond all": ('["chat:read",{"conversation_id":"c_1","seq":1e999}]', "seq"),
    "a number of 5,000 digits": (f'["chat:read",{{"conversation_id":"c_1","seq":{"9" * 5_000}}}]', "seq"),
    "a number of 40 digits": (f'["chat:read",{{"conversation_id":"c_1","seq":{"9" * 40}}}]', "seq"),
    "not a number, as Python writes it": ('["chat:read",{"conversation_id":"c_1","seq":NaN}]', "seq"),
    "arrays in arrays": ('["chat:list",' + "[" * DEEP + "]" * DEEP + "]", "payload"),
    "objects in objects": ('["chat:list",' + '{"a":' * 20_000 + "1" + "}" * 20_000 + "]", "payload"),
}


@pytest.mark.parametrize("case", UNREADABLE)
async def test_only_that_command_is_refused(place: Place, case: str) -> None:
    event, field = UNREADABLE[case]
    async with Raw(place.url) as raw:
        for namespace in ("/chat", "/offers"):
            await raw.connect(namespace, place.ada.access_token)
        await raw.send(f"42/chat,3{event}")
        await raw.send(f"42/chat,{event}")  # without an acknowledgement there is nothing to say
        frame = await raw.receive() or "closed"
        assert frame.startswith("43/chat,3["), frame
        error = json.loads(frame.removeprefix("43/chat,3"))[0]["error"]
        assert error["code"] == "validation_failed"
        assert [detail["field"] for detail in error["details"]] == [field]
        assert error["message"] == f"{field}: {error['details'][0]['reason']}"
        assert (await raw.ask("/chat", "chat:list", {}))["ok"]
        assert (await raw.ask("/offers", "offer:list", {}))["ok"]


UNKNOWN = {
    "a number": "[1]",
    "a negative fraction": "[-1.5,{}]",
    "half an emoji": f'["{HALF}",{{}}]',
    "a long name before what is too deep": '["' + "x" * 500 + '",' + "[" * DEEP + "]" * DEEP + "]",
}


@pytest.mark.parametrize("case", UNKNOWN)
async def test_a_name_that_no_command_has(place: Place, case: str) -> None:
    async with Raw(place.url) as raw:
        await raw.connect("/chat", place.ada.access_token)
        await raw.send(f"42/chat,3{UNKNOWN[case]}")
        frame = await raw.receive() or "closed"
        assert '"unknown_command"' in frame, frame
        assert (await raw.ask("/chat", "chat:list", {}))["ok"]


@pytest.mark.parametrize("placeholder", ["1", "-1", '"0"', "null"])
async def test_an_object_that_looks_like_a_placeholder(place: Place, placeholder: str) -> None:
    async with Raw(place.url) as raw:
        await raw.connect("/chat", place.ada.access_token)
        await raw.send('451-/chat,3["chat:send",{"_placeholder":true,"num":' + placeholder + "}]")
        await raw.send(b"bytes")
        assert '"validation_failed"' in (await raw.receive() or "closed")
        assert (await raw.ask("/chat", "chat:list", {}))["ok"]


@pytest.mark.parametrize("count", [11, 200])
async def test_more_attachments_than_are_taken(place: Place, count: int) -> None:
    async with Raw(place.url) as raw:
        await raw.connect("/chat", place.ada.access_token)
        await raw.send(f'45{count}-/chat,3["chat:send",{{"_placeholder":true,"num":0}}]')
        for _ in range(count):
            await raw.send(b"x" * 1_000)
        frame = await raw.receive() or "closed"
        assert '"validation_failed"' in frame, frame
        assert f"{count} binary attachments" in frame
        assert (await raw.ask("/chat", "chat:list", {}))["ok"]


async def test_by_long_polling(place: Place, polling: Polling) -> None:
    event, field = UNREADABLE["half an emoji"]
    assert await polling.post(f"42/chat,3{event}", '42/chat,4["chat:list",{}]') == 200
    refused = await polling.receive()
    assert refused.startswith("43/chat,3[")
    assert f'"field":"{field}"' in refused
    assert (await polling.receive()).startswith('43/chat,4[{"ok":true')


@pytest.mark.parametrize("name", ["token", "device_id", "pid", "offset"])
async def test_a_connect_is_refused_by_itself(place: Place, name: str) -> None:
    async with Raw(place.url) as raw:
        await raw.connect("/offers", place.ada.access_token)
        auth: dict[str, Any] = {"token": place.ada.access_token, name: "HALF"}
        await raw.send("40/chat," + json.dumps(auth).replace("HALF", HALF))
        error = refusal(await raw.receive(), "/chat")
        assert error["code"] == "validation_failed"
        assert error["details"][0]["field"] == f"auth.{name}"
        assert (await raw.connect("/chat", place.ada.access_token)).startswith("40/chat,")
        assert (await raw.ask("/offers", "offer:list", {}))["ok"]


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize("depth", [200, 400, 990, 3_000, DEEP])
@pytest.mark.parametrize(
    "packet",
    [
        '451-/chat,3["chat:list",{deep},{{"_placeholder":true,"num":0}}]',
        '42/chat,3["chat:list",{deep}]',
        '42/chat,3["chat:list",{{"a":{deep}}}]',
        '42/chat?a=b,3["chat:list",{deep}]',
        '42/chat,3000000000000000["chat:list",{deep}]',
        '43/chat,3[{deep}]',
        '43/chat,3["x",{deep}]',
    ],
    ids=["binary", "an event", "an object", "with a query", "a long number", "an acknowledgement", "a second answer"],
)  # fmt: skip
async def test_nested_deeply(place: Place, depth: int, packet: str) -> None:
    async with Raw(place.url) as raw:
        await raw.connect("/chat", place.ada.access_token)
        await raw.connect("/offers", place.ada.access_token)
        await raw.send(packet.format(deep=nested(depth)))
        if packet.startswith("45"):
            await raw.send(b"bytes")
        if not packet.startswith("43"):
            frame = await raw.receive() or "closed"
            assert '"validation_failed"' in frame, frame
        assert (await raw.ask("/chat", "chat:list", {}))["ok"]
        assert (await raw.ask("/offers", "offer:list", {}))["ok"]


@pytest.mark.parametrize("depth", [200, 990, 3_000, DEEP])
async def test_a_connect_nested_deeply(place: Place, depth: int) -> None:
    """What it has beyond what it must have is not looked at, as long as it can be read."""
    async with Raw(place.url) as raw:
        await raw.connect("/offers", place.ada.access_token)
        await raw.send(f'40/chat,{{"token":"{place.ada.access_token}","a":{nested(depth)}}}')
        frame = await raw.receive() or "closed"
        assert frame.startswith("40/chat,") or refusal(frame, "/chat")["code"] == "validation_failed"
        assert depth < DEEP or frame.startswith("44/chat,")
        assert (await raw.ask("/offers", "offer:list", {}))["ok"]


async def test_a_long_path_is_not_said_in_full(place: Place) -> None:
    async with Raw(place.url) as raw:
        await raw.connect("/chat", place.ada.access_token)
        await raw.send('42/chat,3["chat:list",{"' + "A" * 100_000 + '":[0,1e999]}]')
        frame = await raw.receive() or "closed"
        assert '"validation_failed"' in frame
        assert len(frame) < 2_000


async def test_an_origin_that_is_no_text(place: Place) -> None:
    target = urlsplit(place.url)
    reader, writer = await asyncio.open_connection(target.hostname, target.port)
    writer.write(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nConnection: close\r\n")
    writer.write(b"Origin: http://\xff\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), PATIENCE_S)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 400"), answer
