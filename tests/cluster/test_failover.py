"""Two web processes on a Redis cluster of three masters and three replicas are one server, also while a master dies."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.clients import CommandError, Person
from bench.redis_cluster import RedisCluster, ask
from realtime.relay.client import prefix_of
from tests.cluster.test_across import Scene, two_processes
from tests.cluster.test_crash import Sender, whole_history
from tests.faults.test_kill import close_all
from tests.rest.client import Http, http
from tests.support import PASSWORD, PATIENCE_S, Heard, direct, group, until

Json = dict[str, Any]
# A master's death is noticed in two seconds; then the election, the next attempts of both processes, what was missed.
BACK_WITHIN_S = PATIENCE_S
DATABASE = f"t_{secrets.token_hex(6)}"


@pytest.fixture(scope="module")
def urls(
    tmp_path_factory: pytest.TempPathFactory, mongo_url: str, redis_nodes: RedisCluster
) -> Iterator[tuple[str, str]]:
    with two_processes(tmp_path_factory.mktemp("failover"), mongo_url, redis_nodes.url, MONGO_DB=DATABASE) as (a, b):
        yield a.url, b.url


@pytest.fixture
async def scene(urls: tuple[str, str], redis_cluster: RedisCluster) -> AsyncIterator[Scene]:
    made = Scene(*urls)
    yield made
    await close_all(made.crowd)


async def readiness(url: str) -> str:
    async with http(url) as call:
        return str((await call("GET", "/api/v1/health/ready")).body["status"])


async def both_are(scene: Scene, status: str) -> None:
    async with asyncio.timeout(BACK_WITHIN_S):
        while {await readiness(scene.a), await readiness(scene.b)} != {status}:
            await asyncio.sleep(0.1)


async def test_people_on_different_processes_are_told_of_everything(scene: Scene) -> None:
    ada, ben, conversation = await scene.pair()
    place = {"conversation_id": conversation["id"]}
    at_ada = Heard(ada, "chat:message", "chat:receipt", "user:status_change")
    at_ben = Heard(ben, "chat:message", "typing:start", "typing:stop")
    seen = await ada.call("presence:subscribe", {"user_ids": [ben.account.id]})
    assert [presence["status"] for presence in seen["presences"]] == ["online"]
    await ben.call("chat:join", place)
    await ada.call("typing:start", place)
    await at_ben.wait("typing:start", **place)
    sent = (await ada.call("chat:send", {**place, "client_id": "ping", "text": "ping"}))["message"]
    await at_ben.wait("chat:message", message=sent)
    answer = (await ben.call("chat:send", {**place, "client_id": "pong", "text": "pong"}))["message"]
    await at_ada.wait("chat:message", message=answer)
    await ben.call("chat:read", {**place, "seq": 2})
    await at_ada.wait("chat:receipt", user_id=ben.account.id, read_seq=2)
    await ben.close()
    await at_ada.wait("user:status_change", user_id=ben.account.id, status="offline")
    await scene.device(ben.account, scene.a)
    await at_ada.wait("user:status_change", user_id=ben.account.id, status="online")


async def test_a_session_revoked_at_one_process_is_closed_on_the_other(scene: Scene) -> None:
    account = await scene.account("Ada")
    elsewhere = await scene.crowd.rest.login(account.user["email"], PASSWORD)
    closed = await scene.device(elsewhere, scene.b)
    told = Heard(closed, "auth:revoked")
    sessions = await scene.crowd.rest.request("GET", "/api/v1/auth/sessions", token=account.access_token)
    (other,) = [session["id"] for session in sessions["items"] if not session["current"]]
    await scene.crowd.rest.request("DELETE", f"/api/v1/auth/sessions/{other}", token=account.access_token)
    assert (await told.wait("auth:revoked"))["reason"] == "revoked"
    for url in (scene.a, scene.b):
        with pytest.raises(CommandError) as caught:
            await scene.device(elsewhere, url)
        assert caught.value.code == "session_revoked"


async def check_delivery(
    people: list[Person], senders: list[Sender], conversation_id: str, events: list[Heard]
) -> None:
    """Nothing acknowledged is lost, everybody has everything, and what came as an event came in order and once."""
    history = await whole_history(people[0], conversation_id)
    assert [message["seq"] for message in history] == list(range(1, len(history) + 1))
    stored = {message["client_id"]: message for message in history}
    for sender in senders:
        assert sender.unanswered is None
        assert all(stored[client_id] == message for client_id, message in sender.acked.items())
    await until(lambda: all(person.cursors[conversation_id] == len(history) for person in people))
    for heard in events:
        told = [payload["message"] for name, payload in heard.all if name == "chat:message"]
        seqs = [message["seq"] for message in told if message["conversation_id"] == conversation_id]
        assert seqs == sorted(set(seqs))


@pytest.mark.parametrize("harm", ["kill", "freeze"])
async def test_a_master_that_fails_while_people_send_costs_them_nothing(
    scene: Scene, redis_cluster: RedisCluster, harm: str
) -> None:
    ada, ben, cleo = await asyncio.gather(*[
        scene.person(name, url) for name, url in (("Ada", scene.a), ("Ben", scene.b), ("Cleo", scene.b))
    ])  # fmt: skip
    conversation = await group(ada, ben, cleo)
    other = await direct(cleo, ada)
    await both_are(scene, "ready")
    people = [ada, ben, cleo]
    events = [Heard(person, "chat:message", "chat:head", "user:status_change") for person in people]
    await ben.call("presence:subscribe", {"user_ids": [ada.account.id]})
    senders = [Sender(person, conversation) for person in (ada, ben)]
    await senders[0].until(30)
    owner = redis_cluster.master_of(prefix_of(DATABASE))
    getattr(redis_cluster, harm)(owner)
    await both_are(scene, "degraded")
    dora = await scene.person("Dora", scene.a)  # she comes while nobody can be told that she has
    await both_are(scene, "ready")
    await senders[0].until(len(senders[0].acked) + 20)
    ping = {"conversation_id": other["id"], "client_id": "ping", "text": "live again"}
    sent = (await ada.call("chat:send", ping))["message"]
    await events[2].wait("chat:message", message=sent)
    redis_cluster.mend()
    for sender in senders:
        await sender.until(len(sender.acked) + 20)
        sender.stopped = True
        await sender.task
    await check_delivery(people, senders, conversation["id"], events)
    await group(dora, ben)  # strangers do not see each other
    async with asyncio.timeout(BACK_WITHIN_S):
        while True:
            seen = await ben.call("presence:subscribe", {"user_ids": [ada.account.id, dora.account.id]})
            if [presence["status"] for presence in seen["presences"]] == ["online", "online"]:
                break
            await asyncio.sleep(0.2)
    assert "offline" not in [payload["status"] for name, payload in events[1].all if name == "user:status_change"]


async def test_the_death_of_a_master_that_has_nothing_of_ours_is_not_noticed(
    scene: Scene, redis_cluster: RedisCluster
) -> None:
    ada, ben, conversation = await scene.pair()
    at_ben = Heard(ben, "chat:message")
    await both_are(scene, "ready")
    redis_cluster.kill(redis_cluster.other_master(prefix_of(DATABASE)))
    for number in range(60):
        payload = {"conversation_id": conversation["id"], "client_id": f"m{number}", "text": "still live"}
        sent = (await ada.call("chat:send", payload))["message"]
        await at_ben.wait("chat:message", message=sent, timeout_s=2)
        assert await readiness(scene.b) == "ready"
        await asyncio.sleep(0.05)


class Callers:
    """Requests from addresses of our choice, to two processes that trust one proxy; two attempts to log in are free."""

    def __init__(self, *calls: Http) -> None:
        self._calls = calls

    async def codes(self, address: str) -> list[str]:
        login = {"email": "nobody@example.test", "password": PASSWORD}
        first, second = self._calls
        from_there = {"X-Forwarded-For": address}
        return [
            (await call("POST", "/api/v1/auth/login", login, headers=from_there)).code
            for call in (first, second, first)
        ]


def counted_at(redis_cluster: RedisCluster, address: str) -> tuple[int, str]:
    """(the port of the master that counts an address, the name of its key there)."""
    for port in redis_cluster.running:
        for name in ask(port, "KEYS", f"*{address}"):
            if redis_cluster.master_of(name.decode()) == port:
                return port, name.decode()
    raise LookupError(address)


async def test_limits_are_counted_together_before_a_failover_and_after(
    tmp_path: Path, mongo_url: str, redis_cluster: RedisCluster, scene: Scene
) -> None:
    limited = {"RATE_LIMIT_SCALE": "0.035", "TRUSTED_PROXIES": "1"}
    counted = ["invalid_credentials", "invalid_credentials", "rate_limited"]
    with two_processes(tmp_path, mongo_url, redis_cluster.url, **limited) as (a, b):
        async with http(a.url) as first, http(b.url) as second:
            callers = Callers(first, second)
            assert await callers.codes("10.0.0.1") == counted
            port, name = counted_at(redis_cluster, "10.0.0.1")
            others = [f"10.0.{number}.2" for number in range(1, 200)]
            there = [one for one in others if redis_cluster.master_of(name.replace("10.0.0.1", one)) == port]
            redis_cluster.kill(port)
            assert "invalid_credentials" in await callers.codes(there[0]), "counted by each process for itself"
            for address in there[1:]:
                if await callers.codes(address) == counted:
                    break
                await asyncio.sleep(0.5)
            assert counted_at(redis_cluster, address)[0] != port
