"""Engine.IO over HTTP long polling: nothing hangs, and nothing is dropped unsaid."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from contract.registry import NAMESPACES
from models.sessions.actions import Sessions
from realtime.engine import MESSAGE_BYTES_MAX
from tests.socket.protocol import SEPARATOR, Place, Polling, pending_poll
from tests.support import PATIENCE_S, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


def send_frames(place: Place, name: str, count: int, text: str = "hello") -> list[str]:
    frames = []
    for number in range(count):
        payload = {"conversation_id": place.conversation, "client_id": f"{name}-{number}", "text": text}
        frames.append(f"42/chat,{number}" + json.dumps(["chat:send", payload]))
    return frames


async def acknowledgements(polling: Polling, count: int) -> list[dict[str, Any]]:
    """What is acknowledged under the ids 0, 1, 2…, in this order."""
    answers: list[dict[str, Any]] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(answers) < count:
            packet = await polling.receive()
            prefix = f"43/chat,{len(answers)}["
            if packet.startswith("43"):
                assert packet.startswith(prefix), packet
                answers.append(json.loads(packet[len(prefix) - 1 :])[0])
    return answers


async def test_handshake_connect_event_and_acknowledgement(place: Place) -> None:
    async with Polling(place.url) as session:
        assert session.handshake["upgrades"] == ["websocket"]
        assert session.handshake["maxPayload"] == MESSAGE_BYTES_MAX
        for namespace in NAMESPACES:
            answer = await session.connect(namespace, place.ada.access_token)
            assert "sid" in json.loads(answer.removeprefix(f"40{namespace},"))
        assert (await session.ask("/chat", "chat:get", {"conversation_id": place.conversation}))["ok"]
        assert (await session.ask("/chat", "chat:nothing", {}))["error"]["code"] == "unknown_command"


async def test_events_of_others_come_by_poll(place: Place, polling: Polling) -> None:
    payload = {"conversation_id": place.conversation, "client_id": "to-poll", "text": "over there?"}
    waiting = asyncio.ensure_future(polling.receive())
    assert (await place.bystander.ask("/chat", "chat:send", payload))["ok"]
    assert (await waiting).startswith('42/chat,["chat:message"')


@pytest.mark.parametrize("count", [17, 100])
async def test_many_packets_in_one_post_are_all_processed(place: Place, polling: Polling, count: int) -> None:
    assert await polling.post(*send_frames(place, f"many{count}", count)) == 200
    answers = await acknowledgements(polling, count)
    seqs = [answer["data"]["message"]["seq"] for answer in answers]
    assert seqs == list(range(seqs[0], seqs[0] + count))


async def test_a_large_post_is_processed_whole(place: Place, polling: Polling) -> None:
    frames = send_frames(place, "large", 25, "x" * 9_000)
    assert 200_000 < len(SEPARATOR.join(frames)) < MESSAGE_BYTES_MAX
    assert await polling.post(*frames) == 200
    assert all(answer["ok"] for answer in await acknowledgements(polling, 25))


async def test_a_post_that_arrives_in_pieces_is_processed_whole(place: Place, polling: Polling) -> None:
    """TCP cuts where it likes."""
    body = SEPARATOR.join(send_frames(place, "pieces", 2)).encode()
    target = urlsplit(polling.where)
    reader, writer = await asyncio.open_connection(target.hostname, target.port)
    head = f"POST {target.path}?{target.query} HTTP/1.1\r\nHost: {target.netloc}\r\nConnection: close\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:50])
    await writer.drain()
    await asyncio.sleep(0.1)  # long enough for the server to begin with the first piece
    writer.write(body[50:])
    await writer.drain()
    answer = await asyncio.wait_for(reader.read(), PATIENCE_S)
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 200")
    assert all(one["ok"] for one in await acknowledgements(polling, 2))


async def test_a_post_in_chunks_is_processed_or_refused(place: Place, polling: Polling) -> None:
    """Without a Content-Length; what must not happen is "ok" and nothing done."""

    async def chunks() -> AsyncIterator[bytes]:
        yield SEPARATOR.join(send_frames(place, "chunks", 2)).encode()

    status = await asyncio.wait_for(polling.post_body(chunks()), PATIENCE_S)
    if status == 200:
        assert all(one["ok"] for one in await acknowledgements(polling, 2))
    else:
        assert status in (400, 411)


async def test_an_oversize_post_is_answered_and_ends_the_session(place: Place, polling: Polling) -> None:
    pending = await pending_poll(place, polling)
    body = b'42/chat,["chat:list",{"cursor":"' + b"x" * MESSAGE_BYTES_MAX + b'"}]'
    status = await asyncio.wait_for(polling.post_body(body), PATIENCE_S)
    assert status in (400, 413)
    await asyncio.wait_for(pending, PATIENCE_S)
    assert await asyncio.wait_for(polling.closed(), PATIENCE_S)
    await place.undisturbed()


@pytest.mark.parametrize(
    "body",
    [b"x", b"9", b"7", b"\xff\xfe", b"3\x1ex", b"3\x1e\x1e3", b'42/chat,["chat:list",{}]\x1e9',
     "é".encode()],
    ids=repr,
)  # fmt: skip
async def test_a_malformed_post_is_refused_and_ends_the_session(place: Place, polling: Polling, body: bytes) -> None:
    assert await asyncio.wait_for(polling.post_body(body), PATIENCE_S) == 400
    assert await asyncio.wait_for(polling.closed(), PATIENCE_S)
    await place.undisturbed()


@pytest.mark.parametrize("packet", ["0", "2", "b!!!", "bAAAA", "4", "49", '42/chat,["disconnect"]', "42/typing,[]"])
async def test_a_malformed_packet_ends_the_session(place: Place, polling: Polling, packet: str) -> None:
    pending = await pending_poll(place, polling)
    status = await asyncio.wait_for(polling.post(packet), PATIENCE_S)
    assert status in (200, 400)
    await asyncio.wait_for(pending, PATIENCE_S)
    assert await asyncio.wait_for(polling.closed(), PATIENCE_S)
    await place.undisturbed()


async def test_a_second_poll_is_refused_at_once(place: Place, polling: Polling) -> None:
    """As the protocol's own suite asks: the first is released, the second refused, the session ended."""
    first = await pending_poll(place, polling)
    assert (await asyncio.wait_for(polling.poll(), PATIENCE_S))[0] == 400
    assert await asyncio.wait_for(first, PATIENCE_S) == (200, ["1"])
    assert await asyncio.wait_for(polling.closed(), PATIENCE_S)
    await place.undisturbed()


async def test_closing_by_the_client(place: Place, polling: Polling) -> None:
    pending = await pending_poll(place, polling)
    assert await polling.post("1") == 200
    await asyncio.wait_for(pending, PATIENCE_S)
    assert await asyncio.wait_for(polling.closed(), PATIENCE_S)
    await until(lambda: len(place.server.connections) == 1)


async def test_closing_while_a_connect_is_under_way(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The session ends before the log-in was checked: nobody is left connected to nothing."""
    begun, go_on, genuine = asyncio.Event(), asyncio.Event(), Sessions.require_live

    async def slow(self: Sessions, session_id: str) -> None:
        begun.set()
        await go_on.wait()
        await genuine(self, session_id)

    async with Polling(place.url) as session:
        await until(lambda: len(place.server.connections) == 1)
        monkeypatch.setattr(Sessions, "require_live", slow)
        connecting = asyncio.ensure_future(session.post("40/chat," + json.dumps({"token": place.ada.access_token})))
        await asyncio.wait_for(begun.wait(), PATIENCE_S)
        assert await asyncio.wait_for(session.post("1"), PATIENCE_S) == 200
        go_on.set()
        await asyncio.wait_for(connecting, PATIENCE_S)
    assert len(place.server.connections) == 1
    assert place.server.connections.of_user(place.ada.id) == set()
    assert not place.server.sio.manager.in_rooms("/chat", [f"user:{place.ada.id}"])


@pytest.mark.parametrize(
    "query",
    ["EIO=4&transport=polling&sid=unknown", "EIO=3&transport=polling", "transport=polling", "EIO=4&transport=carrier",
     "EIO=4&transport=websocket", "EIO=x&transport=polling"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_requests_that_name_no_session(place: Place, method: str, query: str) -> None:
    async with aiohttp.ClientSession() as http, http.request(method, f"{place.url}/socket.io/?{query}") as response:
        assert response.status == 400


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_other_methods(place: Place, method: str) -> None:
    url = f"{place.url}/socket.io/?EIO=4&transport=polling"
    async with aiohttp.ClientSession() as http, http.request(method, url) as response:
        assert response.status == 400


@pytest.mark.parametrize(("agent", "at_once"), [("Python/3.11 aiohttp/3.14.0", 16), ("okhttp/4.12", 40)])
async def test_a_python_client_gets_no_more_packets_at_once_than_it_takes(
    place: Place, agent: str, at_once: int
) -> None:
    async with Polling(place.url, agent) as polling:
        await polling.connect("/chat", place.ada.access_token)
        name = f"burst-{at_once}"
        assert await polling.post(*send_frames(place, name, 40)) == 200
        link = place.server.sio.eio.sockets[polling.handshake["sid"]].link
        await until(lambda: len(link.packets) >= 40)
        status, packets = await polling.poll()
        assert (status, len(packets)) == (200, at_once)
        polling._waiting = packets
        assert all(answer["ok"] for answer in await acknowledgements(polling, 40))


async def test_a_poll_that_is_repeated_gets_the_same_answer(place: Place, polling: Polling) -> None:
    """By the HTTP client itself: the connection ended before the answer came, and the next one asks again."""
    heard = []
    for number in range(3):
        (frame,) = send_frames(place, f"repeated-{number}", 1)
        assert await polling.post(frame) == 200
        answer = await polling.poll(f"poll-{number}")
        assert answer[0] == 200
        for _ in range(2):
            assert await polling.poll(f"poll-{number}") == answer
        heard += answer[1]
    acknowledged = [json.loads(packet[len("43/chat,0") :])[0] for packet in heard if packet.startswith("43/chat,0")]
    assert [one["data"]["message"]["client_id"] for one in acknowledged] == [f"repeated-{n}-0" for n in range(3)]
