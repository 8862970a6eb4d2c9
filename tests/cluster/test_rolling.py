"""A rolling restart as people see it: four processes behind a proxy, restarted in turn under a light load."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.cluster.proxies import PROXIES, ROUTES, Cluster, four_processes, route_of
from tests.cluster.test_crash import whole_history
from tests.cluster.witness import Witness, slots_of
from tests.faults.test_kill import close_all
from tests.support import PATIENCE_S, ROOT, Crowd, group

WEBSOCKETS, POLLERS = 16, 8
PAUSE_S = 0.5


@pytest.fixture(scope="module")
def cluster(mongo_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    root = tmp_path_factory.mktemp("rolling")
    with four_processes(root, mongo_url, redis_url, DRAIN_TIMEOUT_S="4") as processes:
        with PROXIES["nginx"](processes, root) as made:
            yield made


@pytest.fixture
async def people(cluster: Cluster) -> AsyncIterator[list[Witness]]:
    crowd = Crowd(cluster.url)
    accounts = await asyncio.gather(*[crowd.account(f"P{number}") for number in range(WEBSOCKETS + POLLERS)])
    made = [Witness(crowd.rest, account, ("/chat", "/system")) for account in accounts]
    for person in made[WEBSOCKETS:]:
        person.transports = ("polling",)
    crowd._people += made
    await asyncio.gather(*[person.connect() for person in made])
    yield made
    await close_all(crowd)


async def restart(cluster: Cluster, route: str) -> None:
    process = cluster.processes[route]
    assert await asyncio.to_thread(process.terminate) == 0
    await asyncio.to_thread(process.start)


async def test_nobody_sees_more_than_a_reconnect(cluster: Cluster, people: list[Witness]) -> None:
    conversation = await group(*people)
    for person in people:
        person.follow(conversation)
    assert {route_of(person) for person in people} == set(ROUTES)
    sending = [asyncio.create_task(person.send_on(conversation, PAUSE_S)) for person in people]
    moved: list[float] = []
    for route in ROUTES:
        here = [(person, len(person.back)) for person in people if route_of(person) == route]
        await restart(cluster, route)
        for person, before in here:
            await person.returns(before)
        back = [person.back[before] for person, before in here]
        moved += back
        assert len(here) < 2 or len(slots_of(back)) > 1, f"all of {route} came back at once"
    for person in people:
        person.enough()
    await asyncio.gather(*sending)
    assert len(moved) >= len(people)  # everybody's process was restarted
    assert [person.refused for person in people] == [[]] * len(people)
    history = await whole_history(people[0], conversation["id"])
    assert [message["seq"] for message in history] == list(range(1, len(history) + 1))
    stored = {message["client_id"]: message for message in history if message["client_id"]}
    acked = {client_id: message for person in people for client_id, message in person.acked.items()}
    assert len(acked) > len(people) * len(ROUTES)
    assert stored == acked
    assert len(stored) == len([message for message in history if message["client_id"]])
    async with asyncio.timeout(PATIENCE_S):
        while any(person.cursors[conversation["id"]] < len(history) for person in people):
            await asyncio.sleep(0.05)


async def test_the_official_client_comes_back_by_itself(cluster: Cluster) -> None:
    node = await asyncio.create_subprocess_exec(
        "node", "tests/js/restart.mjs", cwd=ROOT, env={**os.environ, "PARLEY_URL": cluster.url},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert node.stdout is not None
    assert node.stdin is not None
    try:
        assert await asyncio.wait_for(node.stdout.readline(), PATIENCE_S) == b"connected\n"
        for route in ROUTES:
            await restart(cluster, route)
        node.stdin.write_eof()
        output = (await asyncio.wait_for(node.stdout.read(), 60)).decode()
        assert await node.wait() == 0, output
        assert output == "all came back\n"
    finally:
        if node.returncode is None:
            node.kill()
            await node.wait()
