"""Socket.IO as its protocol document has it: connecting to namespaces, events, acknowledgements, binary."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.conformance.client import LIMIT_S, Place, Socket
from tests.conformance.server import CONNECT_TIMEOUT_S
from tests.support import until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def raw(place: Place) -> AsyncIterator[Socket]:
    """Connected to nothing yet."""
    async with place.socket() as socket:
        yield socket


@pytest_asyncio.fixture(loop_scope="module")
async def socket(raw: Socket) -> Socket:
    """On the main namespace."""
    await connect(raw)
    return raw


async def connect(socket: Socket, namespace: str = "", auth: str = "") -> str:
    """Returns the Socket.IO id."""
    await socket.send(f"40{namespace}{auth}")
    answer = await text(socket)
    assert answer.startswith(f"40{namespace}{{"), answer
    fields = json.loads(answer.removeprefix(f"40{namespace}"))
    assert set(fields) == {"sid"}
    assert await text(socket) == f'42{namespace}["auth",{auth or "{}"}]'
    return str(fields["sid"])


async def text(socket: Socket) -> str:
    packet = await socket.receive()
    assert isinstance(packet, str), packet
    return packet


async def alive(socket: Socket) -> None:
    await socket.send('42["message","still here"]')
    assert await socket.receive() == '42["message-back","still here"]'


# Connecting


async def test_connecting_to_the_main_namespace(raw: Socket) -> None:
    assert await connect(raw) != raw.handshake["sid"]


async def test_connecting_with_a_payload(raw: Socket) -> None:
    await connect(raw, auth='{"token":"123"}')


async def test_connecting_to_another_namespace(raw: Socket) -> None:
    await connect(raw, "/custom,")
    await raw.send('42/custom,["message",1]')
    assert await text(raw) == '42/custom,["message-back",1]'


async def test_connecting_to_another_namespace_with_a_payload(raw: Socket) -> None:
    await connect(raw, "/custom,", '{"token":"abc","more":[1,null]}')


async def test_namespaces_share_a_connection_and_have_their_own_ids(socket: Socket) -> None:
    assert await connect(socket, "/custom,") != await connect_another(socket)


async def connect_another(socket: Socket) -> str:
    """Leaves the main namespace and comes back."""
    await socket.send("41")
    return await connect(socket)


async def test_a_query_of_a_namespace_is_left_aside(raw: Socket) -> None:
    await raw.send("40/custom?token=x,")
    assert (await text(raw)).startswith('40/custom,{"sid":')


async def test_an_unknown_namespace_is_refused_and_the_connection_stays(socket: Socket) -> None:
    await socket.send("40/random")
    assert await text(socket) == '44/random,{"message":"Invalid namespace"}'
    await socket.send('40/random,{"token":"123"}')
    assert await text(socket) == '44/random,{"message":"Invalid namespace"}'
    await alive(socket)


async def test_one_that_is_refused_may_still_connect(raw: Socket) -> None:
    await raw.send("40/random,")
    assert await text(raw) == '44/random,{"message":"Invalid namespace"}'
    await connect(raw)


@pytest.mark.parametrize("first", [None, "40/random,"])
async def test_without_connect_the_connection_is_closed(place: Place, first: str | None) -> None:
    before = time.monotonic()
    async with place.socket() as idle, place.socket() as busy:
        await connect(busy)
        if first is not None:
            await idle.send(first)
            await text(idle)
        assert await idle.closes() == ["1"]
        assert time.monotonic() - before >= CONNECT_TIMEOUT_S, "too early"
        await alive(busy)


async def test_without_connect_a_polling_session_is_closed(place: Place) -> None:
    session = await place.polling()
    pending = await session.pending()
    assert await asyncio.wait_for(pending, LIMIT_S) == (200, "1")
    assert (await session.get())[0] == 400


async def test_polling_carries_it_all_too(place: Place) -> None:
    session = await place.polling()
    assert await session.post("40") == (200, "ok")
    received = ""
    while '42["auth",{}]' not in received:
        received += await session.receive()
    assert received.startswith('40{"sid":')
    packets = (
        '421["message-with-ack",1]',
        '452-["message",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]',
    )
    assert await session.post(*packets, "bAQID", "bBAUG") == (200, "ok")
    expected = [
        "431[1]", '452-["message-back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', "bBAUG", "bAQID",
    ]  # fmt: skip
    assert (await session.receive()).split("\x1e") == expected


@pytest.mark.parametrize("packet", ["4abc", '42["message"]', "41", '40{"token"', "40[]", "43", b"\1", ""])
async def test_an_invalid_packet_before_connect_closes(place: Place, raw: Socket, packet: str | bytes) -> None:
    await raw.send(packet)
    assert set(await raw.closes()) <= {"1"}
    assert raw.handshake["sid"] not in place.eio.sockets


INVALID = (
    "4abc", "42{}", '42abc["message-with-ack",1]', '42-1["message-with-ack",1]', '42["message', "42", "42[]",
    "42[true]", '42["connect"]', '42["disconnect"]', '450-["message"]', '45["message",{"_placeholder":true,"num":0}]',
    b"\1\2", '42/custom,["message"]', "47", "44", '44{"message":"x"}',
)  # fmt: skip


@pytest.mark.parametrize("packet", INVALID)
async def test_an_invalid_packet_closes(place: Place, socket: Socket, packet: str | bytes) -> None:
    async with place.socket() as other:
        await connect(other)
        await socket.send(packet, '42["message","too late"]')
        assert set(await socket.closes()) <= {"1"}
        assert socket.handshake["sid"] not in place.eio.sockets
        await alive(other)


# Disconnecting


async def test_disconnecting_leaves_the_connection(place: Place, socket: Socket) -> None:
    await connect(socket, "/custom,")
    await socket.send("41", '42/custom,["message","still here"]')
    assert await text(socket) == '42/custom,["message-back","still here"]'
    await connect(socket)
    await alive(socket)


async def test_an_event_after_disconnecting_closes(place: Place, socket: Socket) -> None:
    await socket.send("41", '42["message","too late"]')
    assert set(await socket.closes()) <= {"1"}
    assert socket.handshake["sid"] not in place.eio.sockets


async def test_a_disconnected_last_namespace_leaves_the_connection_open(place: Place, socket: Socket) -> None:
    await socket.send("41")
    served = place.session(socket.handshake["sid"])
    await until(lambda: not served.members)
    assert not served.closed
    await connect(socket)


# Events and acknowledgements


@pytest.mark.parametrize(
    "arguments",
    ["", ',"hello"', ',1,"2",{"3":[true]},null', ',"é\\u001e\\"\\n"', ",[[],{}],-1.5", ',"' + "x" * 70_000 + '"'],
    ids=range(6),
)  # fmt: skip
async def test_an_event_comes_back(socket: Socket, arguments: str) -> None:
    await socket.send(f'42["message"{arguments}]')
    answer = await text(socket)
    assert json.loads(answer.removeprefix("42")) == json.loads(f'["message-back"{arguments}]')


@pytest.mark.parametrize("number", ["0", "1", "456", "999999999"])
async def test_an_acknowledgement_has_the_number_and_the_arguments(socket: Socket, number: str) -> None:
    await socket.send(f'42{number}["message-with-ack",1,"2",{{"3":[false]}}]')
    assert await text(socket) == f'43{number}[1,"2",{{"3":[false]}}]'


async def test_an_acknowledgement_on_a_namespace(raw: Socket) -> None:
    await connect(raw, "/custom,")
    await raw.send('42/custom,456["message-with-ack"]')
    assert await text(raw) == "43/custom,456[]"


async def test_answers_come_in_the_order_of_the_questions(socket: Socket) -> None:
    await socket.send(*(f'42{number}["message-with-ack",{number}]' for number in range(300)))
    assert [await text(socket) for _ in range(300)] == [f"43{number}[{number}]" for number in range(300)]


async def test_an_acknowledgement_from_the_client_is_taken(socket: Socket) -> None:
    await socket.send('437["nobody asked"]')
    await alive(socket)


# Binary


async def test_a_binary_event_comes_back(socket: Socket) -> None:
    await socket.send(
        '452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', b"\1\2\3", b"\4\5\6"
    )
    assert await text(socket) == '452-["message-back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]'
    assert [await socket.receive(), await socket.receive()] == [b"\1\2\3", b"\4\5\6"]


async def test_attachments_may_be_used_twice_and_deep_inside(socket: Socket) -> None:
    await socket.send('451-["message",{"a":[{"_placeholder":true,"num":0}]},{"_placeholder":true,"num":0}]', b"\1")
    assert await text(socket) == (
        '452-["message-back",{"a":[{"_placeholder":true,"num":0}]},{"_placeholder":true,"num":1}]'
    )
    assert [await socket.receive(), await socket.receive()] == [b"\1", b"\1"]


async def test_a_binary_acknowledgement(socket: Socket) -> None:
    await socket.send(
        '452-789["message-with-ack",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', b"\1\2\3", b"\4\5\6"
    )
    assert await text(socket) == '462-789[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]'
    assert [await socket.receive(), await socket.receive()] == [b"\1\2\3", b"\4\5\6"]


async def test_binary_on_a_namespace(raw: Socket) -> None:
    await connect(raw, "/custom,")
    await raw.send('451-/custom,7["message-with-ack",{"_placeholder":true,"num":0}]', b"\0")
    assert await text(raw) == '461-/custom,7[{"_placeholder":true,"num":0}]'
    assert await raw.receive() == b"\0"


@pytest.mark.parametrize("attachment", ['42["message"]', "2", "451-x"])
async def test_text_where_an_attachment_was_announced_closes(socket: Socket, attachment: str) -> None:
    await socket.send('451-["message",{"_placeholder":true,"num":0}]', f"4{attachment}")
    assert set(await socket.closes()) <= {"1"}
