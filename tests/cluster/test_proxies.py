"""Four processes behind the real nginx and the real HAProxy, configured as in `deploy/`."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import server
from ops.http import HEADER_BYTES_MAX
from realtime.engine import PING_INTERVAL_S, PING_TIMEOUT_S
from storage.embedded import EmbeddedMongo
from tests.cluster.proxies import PROXIES, ROUTES, Cluster, four_processes, nginx, port_of, route_of
from tests.faults.test_kill import close_all
from tests.socket.protocol import Polling
from tests.support import PASSWORD, PATIENCE_S, ROOT, Crowd, Heard, Process, group

Json = dict[str, Any]
WEBSOCKET, POLLING, UPGRADE = ("websocket",), ("polling",), ("polling", "websocket")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedMongo]:
    """Their own, because it is stopped for a moment."""
    embedded = EmbeddedMongo(tmp_path_factory.mktemp("mongo"))
    embedded.start()
    yield embedded
    embedded.stop()


@pytest.fixture(scope="module")
def processes(
    database: EmbeddedMongo, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Process]]:
    address = json.loads((database.data_dir / "db.json").read_text())
    with four_processes(tmp_path_factory.mktemp("four"), address["url"], redis_url) as four:
        yield four


@pytest.fixture(scope="module", params=PROXIES)
def cluster(
    request: pytest.FixtureRequest, processes: dict[str, Process], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    with PROXIES[request.param](processes, tmp_path_factory.mktemp(request.param)) as made:
        yield made


@pytest.fixture
async def crowd(cluster: Cluster) -> AsyncIterator[Crowd]:
    people = Crowd(cluster.url)
    yield people
    await close_all(people)


async def test_people_of_every_transport_talk_across_the_processes(crowd: Crowd) -> None:
    kinds = [WEBSOCKET, POLLING, UPGRADE] * 3
    people = [
        await crowd.connect(await crowd.account(f"P{number}"), transports=kind) for number, kind in enumerate(kinds)
    ]
    assert {route_of(person) for person in people} == set(ROUTES)  # whoever has the fewest gets the next
    expected = ["websocket" if "websocket" in kind else "polling" for kind in kinds]
    assert [person._socket.eio.current_transport for person in people] == expected
    everybody = [Heard(person, "chat:message") for person in people]
    conversation = await group(*people)
    for number, person in enumerate(people):
        send = {"conversation_id": conversation["id"], "client_id": f"m{number}", "text": f"from {number}"}
        sent = (await person.call("chat:send", send))["message"]
        for other, heard in enumerate(everybody):
            if other != number:
                await heard.wait("chat:message", message=sent)
    for heard in everybody:
        assert len(heard.all) == len(people) - 1


async def test_what_belongs_to_a_polling_session_finds_its_process(cluster: Cluster) -> None:
    """Each request may come over a connection of its own."""
    sessions = [Polling(cluster.url) for _ in range(8)]
    for session in sessions:
        await session.__aenter__()
    assert {session.handshake["sid"].rpartition(".")[2] for session in sessions} == set(ROUTES)
    for _ in range(5):
        for session in sessions:
            await session.post("4" + "0/nowhere,")
            status, packets = await session.poll()
            assert (status, packets[0][:2]) == (200, "44"), packets
    for session in sessions:
        await session.__aexit__()


async def test_a_session_of_no_process_is_refused(cluster: Cluster) -> None:
    async with aiohttp.ClientSession() as http:
        for sid in ("AAAA.w1", "AAAA.w9", "AAAA", ".w2"):
            async with http.get(f"{cluster.url}/socket.io/?EIO=4&transport=polling&sid={sid}") as response:
                assert response.status == 400


async def test_a_client_cannot_choose_its_address(crowd: Crowd) -> None:
    account = await crowd.account("Ada")
    body = {"email": account.user["email"], "password": PASSWORD}
    url = f"{crowd.url}/api/v1/auth"
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        for given in ("6.6.6.6", "6.6.6.6, 7.7.7.7"):
            async with http.post(f"{url}/login", json=body, headers={"X-Forwarded-For": given}) as response:
                token = (await response.json())["tokens"]["access_token"]
            async with http.get(f"{url}/sessions", headers={"Authorization": f"Bearer {token}"}) as response:
                sessions = (await response.json())["items"]
            assert [session["ip"] for session in sessions if session["current"]] == ["127.0.0.1"]


async def test_limits_of_size(cluster: Cluster) -> None:
    crowd = Crowd(cluster.url)
    member = {"Authorization": f"Bearer {(await crowd.account()).access_token}"}
    await crowd.close()
    async with aiohttp.ClientSession(headers=member) as http:
        url = f"{cluster.url}/api/v1/auth/password/change"
        for size, status in ((server.BODY_BYTES_MAX, 422), (server.BODY_BYTES_MAX + 1, 413)):
            body = json.dumps({"current_password": "x", "new_password": "x" * size})
            body = body.replace("x" * (len(body) - size), "", 1)
            async with http.post(url, data=body, headers={"Content-Type": "application/json"}) as response:
                assert (len(body), response.status) == (size, status)
        for size, good in ((HEADER_BYTES_MAX - 1_000, True), (HEADER_BYTES_MAX * 2, False)):
            async with http.get(f"{cluster.url}/api/v1/health/live", headers={"X-Long": "x" * size}) as response:
                assert (response.status == 200) is good


async def test_metrics_are_not_for_the_public(cluster: Cluster, processes: dict[str, Process]) -> None:
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{cluster.url}/metrics") as response:
            assert response.status == 403
        async with http.get(f"{processes['w1'].url}/metrics") as response:
            assert response.status == 200


async def test_a_503_passes_through(processes: dict[str, Process], database: EmbeddedMongo, tmp_path: Path) -> None:
    """In nginx. HAProxy asks for readiness itself, and when no process is ready it is HAProxy that says 503."""
    assert database._process is not None
    with nginx(processes, tmp_path) as cluster:
        os.kill(database._process.pid, signal.SIGSTOP)
        try:
            async with aiohttp.ClientSession() as http, asyncio.timeout(PATIENCE_S):
                answered = (200, "ready")  # which each process remembers for a second
                while answered == (200, "ready"):
                    async with http.get(f"{cluster.url}/api/v1/health/ready") as response:
                        answered = (response.status, (await response.json())["status"])
            assert answered == (503, "not_ready")
        finally:
            os.kill(database._process.pid, signal.SIGCONT)
        async with aiohttp.ClientSession() as http:  # nobody was put aside for it
            answers = await asyncio.gather(*[http.get(f"{cluster.url}/api/v1/health/live") for _ in range(20)])
            assert {answer.status for answer in answers} == {200}
            for answer in answers:
                answer.release()


@pytest.mark.parametrize(("name", "timeouts"), [
    ("nginx.conf", ["proxy_read_timeout", "proxy_send_timeout"]),
    ("haproxy.cfg", ["timeout client", "timeout server", "timeout tunnel"]),
])  # fmt: skip
def test_timeouts_are_longer_than_the_silence_of_a_quiet_client(name: str, timeouts: list[str]) -> None:
    text = (ROOT / "deploy" / name).read_text()
    for timeout in timeouts:
        (seconds,) = re.findall(rf"\b{timeout} +(\d+)s", text)
        assert int(seconds) > PING_INTERVAL_S + PING_TIMEOUT_S + 10


def test_the_files_name_the_limits_of_the_server() -> None:
    for name in ("nginx.conf", "haproxy.cfg"):
        assert str(server.BODY_BYTES_MAX) in (ROOT / "deploy" / name).read_text()
    assert f"large_client_header_buffers 4 {HEADER_BYTES_MAX};" in (ROOT / "deploy/nginx.conf").read_text()
    assert f"tune.bufsize {HEADER_BYTES_MAX + 1024}" in (ROOT / "deploy/haproxy.cfg").read_text()


async def test_processes_that_share_a_data_directory_have_log_files_of_their_own(processes: dict[str, Process]) -> None:
    logs = processes["w1"].data_dir / "logs"
    for route, process in processes.items():
        async with aiohttp.ClientSession() as http:
            await (await http.get(f"{process.url}/api/v1/health/live?port={port_of(process.url)}")).release()
        lines = [json.loads(line) for line in (logs / f"parley-{route}.log").read_text().splitlines()]
        assert {line["route"] for line in lines} == {route}
    assert not (logs / "parley.log").exists()
