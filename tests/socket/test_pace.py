"""What a connection may bring, and what becomes of one that is refused again and again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bench.siege.attacks import upgrade
from contract.closing import TOO_MUCH
from realtime.engine import MESSAGE_BYTES_MAX
from realtime.inflow import PIECE_BYTES
from realtime.pace import MEMBER, PACKET_BYTES, STRANGER, TURN_PACKETS, UNSPENT, Pace, Paces, spend
from realtime.polling import PollingLink
from realtime.posting import STRANGER_BODY_MAX
from realtime.session import STRANGER_UNREAD_MAX
from server import Server
from tests.contract.stage import settings_for_tests
from tests.socket.protocol import Polling
from tests.support import Crowd, Raw, serving, until


def test_a_bucket_fills_up_again() -> None:
    each = Pace(per_s=10, burst=100)
    until = spend(UNSPENT, 60, each, 0.0)
    assert until <= 0.0, "something is left"
    until = spend(until, 60, each, 0.0)
    assert until == 2.0
    assert spend(until, 0, each, 2.0) == 2.0
    until = spend(until, 10, each, 3.0)
    assert until == 3.0
    assert spend(until, 101, each, 1_000.0) == pytest.approx(1_000.1), "a burst is all that it holds"


def test_a_message_of_the_largest_size_fits_in_a_burst() -> None:
    assert MEMBER.packets.burst > MESSAGE_BYTES_MAX / PACKET_BYTES
    assert STRANGER.packets.burst * PACKET_BYTES < 100_000, "what a stranger makes us hold"


@pytest.fixture
async def limited(tmp_path: Path, mongo_url: str) -> AsyncIterator[tuple[Server, Crowd]]:
    async with serving(settings_for_tests(tmp_path, rate_limit_scale=1), mongo_url) as (server, url):
        crowd = Crowd(url)
        yield server, crowd
        await crowd.close()


async def frames_until_closed(raw: Raw) -> list[str]:
    frames = []
    while (one := await raw.receive()) is not None:
        frames.append(one)
    assert raw._socket is not None
    assert raw._socket.close_code == TOO_MUCH
    return frames


async def test_a_stranger_who_is_refused_too_often_is_closed(limited: tuple[Server, Crowd]) -> None:
    _, crowd = limited
    often = int(STRANGER.refusals.burst)
    async with Raw(crowd.url) as raw:
        for _ in range(often + 1):
            await raw.send('40/chat,{"token":"nonsense"}')
        frames = await frames_until_closed(raw)
    assert len(frames) == often
    assert all(one.startswith("44/chat,") for one in frames)


@pytest.mark.parametrize("packet", ['42/chat,7["chat:nonsense",{}]', "40/nowhere,{}", '42/chat,7["chat:list",3]'])
async def test_a_member_who_is_refused_again_and_again_is_closed(limited: tuple[Server, Crowd], packet: str) -> None:
    server, crowd = limited
    account = await crowd.account("Eve")
    async with Raw(crowd.url) as raw:
        await raw.connect("/chat", account.access_token)
        server.sio.eio._paces = (STRANGER, Paces(MEMBER.packets, Pace(0.1, 50)))
        for _ in range(51):
            await raw.send(packet)
        assert len(await frames_until_closed(raw)) == 50
    # It may come back, and is served.
    async with Raw(crowd.url) as raw:
        await raw.connect("/chat", account.access_token)
        assert (await raw.ask("/chat", "chat:list", {}))["ok"]


async def turns_meanwhile(ended: asyncio.Future[int]) -> int:
    turns = 0
    while not ended.done():
        await asyncio.sleep(0)
        turns += 1
    return turns


@pytest.mark.parametrize("before", [[], ['42/chat,1["chat:list",{}]']], ids=["at once", "behind one that waits"])
async def test_a_post_of_many_packets_leaves_others_their_turns(url: str, crowd: Crowd, before: list[str]) -> None:
    account = await crowd.account()
    nonsense = ['42/chat,["chat:nonsense",{}]'] * 3_200
    async with Polling(url) as polling:
        await polling.connect("/chat", account.access_token)
        posted = asyncio.ensure_future(polling.post(*before, *nonsense))
        assert await turns_meanwhile(posted) > len(nonsense) / TURN_PACKETS
        assert posted.result() == 200


async def test_a_second_post_beside_one_that_has_not_come_yet_ends_the_session(server: Server, url: str) -> None:
    goes_on = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"40/chat,"
        await goes_on.wait()
        yield b"{}"

    async with Polling(url) as polling:
        first = asyncio.create_task(polling.post_body(body()))
        session = server.sio.eio.sockets[polling.handshake["sid"]]
        link = session.link
        assert isinstance(link, PollingLink)
        await until(lambda: link.posted)
        assert await polling.post("3") == 400
        assert session.closed
        goes_on.set()
        await first
        assert not server.sio.eio.sockets


async def test_a_body_that_does_not_come_ends_the_session(
    server: Server, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("realtime.posting.BODY_S", 0.05)

    async def body() -> AsyncIterator[bytes]:
        yield b"40/chat,"
        await until(lambda: not server.sio.eio.sockets)

    async with Polling(url) as polling:
        assert await polling.post_body(body()) == 400
        assert not server.sio.eio.sockets


@pytest.mark.parametrize("bytes_sent", [STRANGER_UNREAD_MAX + 2 * PIECE_BYTES, 60_000])
async def test_a_stranger_s_message_that_does_not_end_is_not_kept(
    limited: tuple[Server, Crowd], bytes_sent: int
) -> None:
    """A frame may say that it is 256 KiB long: what has come of it would wait here for the rest."""
    _, crowd = limited
    where = urlsplit(crowd.url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.write(upgrade() + b"\x81\xff" + (262_000).to_bytes(8, "big") + bytes(4) + b"x" * bytes_sent)
    answer = await reader.read()
    writer.close()
    assert answer.endswith(b"\x88\x02" + TOO_MUCH.to_bytes(2, "big"))


async def test_pings_between_do_not_hide_it(limited: tuple[Server, Crowd]) -> None:
    _, crowd = limited
    where = urlsplit(crowd.url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    part, ping = b"\x01\xfe\x03\xe8" + bytes(4) + b"x" * 1_000, b"\x89\x80" + bytes(4)
    writer.write(upgrade() + part + ping)
    for _ in range(20):
        writer.write(b"\x00" + part[1:] + ping)
    answer = await reader.read()
    writer.close()
    assert answer.endswith(b"\x88\x02" + TOO_MUCH.to_bytes(2, "big"))


async def test_a_member_s_message_may_be_long(limited: tuple[Server, Crowd]) -> None:
    _, crowd = limited
    account = await crowd.account()
    async with Raw(crowd.url) as raw:
        await raw.connect("/chat", account.access_token)
        answer = await raw.ask("/chat", "chat:list", {"unknown": "x" * 200_000})
        assert answer["error"]["code"] == "validation_failed"


async def test_a_stranger_s_post_is_short(limited: tuple[Server, Crowd]) -> None:
    _, crowd = limited
    async with Polling(crowd.url) as polling:
        assert await polling.post("4" + "x" * STRANGER_BODY_MAX) >= 400
        assert await polling.closed()
