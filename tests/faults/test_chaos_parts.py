"""The parts of the chaos harness: a schedule is repeatable and whole, and a proxy does to its lines what it says."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from bench.chaos.plan import KINDS, SINGLE, draw, kinds_with
from bench.chaos.processes import Cluster
from bench.chaos.proxy import DIRECTIONS, HOST, Line, Proxy
from tests.support import PATIENCE_S

ROUNDING_S = 0.02
Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.mark.parametrize("redis", ["single", "cluster"])
@pytest.mark.parametrize("seed", range(20))
def test_a_schedule_has_every_kind_often_enough(seed: int, redis: str) -> None:
    plan = draw(seed, 10, 3, kinds_with(redis))
    assert draw(seed, 10, 3, kinds_with(redis)) == plan
    counts = Counter(fault.kind for fault in plan.faults)
    assert all(count >= 10 * KINDS[kind].per_minute for kind, count in counts.items())
    assert set(counts) == set(kinds_with(redis))
    for fault in plan.faults:
        kind = KINDS[fault.kind]
        assert fault.at >= 0
        assert fault.at + fault.lasts_s <= 600 - plan.calm_s + ROUNDING_S
        assert kind.shortest <= fault.lasts_s <= kind.longest
    for sequence in plan.by_thing():
        for before, after in pairwise(sequence):
            assert before.at + before.lasts_s <= after.at + ROUNDING_S


def test_another_seed_is_another_schedule_and_a_short_one_has_every_kind() -> None:
    assert draw(1, 10, 3) != draw(2, 10, 3)
    assert {fault.kind for fault in draw(1, 0.4, 2).faults} == set(SINGLE)
    assert draw(1, 0.5, 2, ()).faults == ()


class Lines:
    """A server that sends back what it gets, and a client of it through a proxy."""

    def __init__(self, proxy: Proxy, client: Client) -> None:
        self.proxy = proxy
        self.reader, self.writer = client

    @property
    def line(self) -> Line:
        return next(iter(self.proxy.lines))

    async def echo(self, text: bytes, timeout_s: float = 5.0) -> bytes:
        self.writer.write(text)
        async with asyncio.timeout(timeout_s):
            return await self.reader.readexactly(len(text))


async def _send_back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
    except ConnectionResetError:
        pass
    finally:
        writer.close()


@pytest.fixture
async def lines() -> AsyncIterator[Lines]:
    server = await asyncio.start_server(_send_back, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    proxy = Proxy(lambda home: home, port)
    await proxy.start()
    client = await asyncio.open_connection(HOST, int(proxy.url.rpartition(":")[2]))
    made = Lines(proxy, client)
    assert await made.echo(b"hello") == b"hello"
    yield made
    client[1].close()
    await proxy.stop()
    server.close()


@pytest.mark.parametrize("directions", [DIRECTIONS, DIRECTIONS[:1], DIRECTIONS[1:]])
async def test_a_frozen_line_carries_nothing_and_loses_nothing(lines: Lines, directions: tuple[str, ...]) -> None:
    freezing = asyncio.create_task(lines.line.freeze(directions, 0.5))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    lines.writer.write(b"held")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await lines.reader.readexactly(1)
    await freezing
    assert await lines.reader.readexactly(4) == b"held"


async def test_a_slow_line_carries_everything_in_its_time(lines: Lines) -> None:
    slowing = asyncio.create_task(lines.line.slow(1_000, 60))
    await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    began_at = loop.time()
    assert await lines.echo(b"x" * 1_000) == b"x" * 1_000
    assert loop.time() - began_at > 0.9
    slowing.cancel()


async def test_a_cut_line_ends_at_both_sides(lines: Lines) -> None:
    lines.proxy.cut()
    assert await lines.reader.read() == b""
    async with asyncio.timeout(PATIENCE_S):
        while lines.proxy.lines:
            await asyncio.sleep(0.01)


def test_the_connections_of_one_session_go_to_one_process() -> None:
    """A poll that comes to another process than its session is refused, which no load balancer lets happen."""
    serving = {1: True, 2: False, 3: True}
    webs = [SimpleNamespace(port=port, look=lambda port=port: serving[port]) for port in serving]
    cluster: Any = SimpleNamespace(webs=webs)
    assert [Cluster.dial(cluster, home) for home in (1, 2, 2, 2, 3)] == [1, 3, 3, 3, 3]
    serving[3] = False
    assert [Cluster.dial(cluster, home) for home in (1, 2, 3)] == [1, 1, 1]
    serving[1] = False
    assert Cluster.dial(cluster, 1) is None


async def test_nobody_to_dial() -> None:
    proxy = Proxy(lambda home: None, 1)
    await proxy.start()
    reader, writer = await asyncio.open_connection(HOST, int(proxy.url.rpartition(":")[2]))
    assert await reader.read() == b""
    writer.close()
    await proxy.stop()
