"""Two processes that share a database and a Redis are one server to the people on them."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.clients import Account, CommandError, Person
from tests.faults.test_kill import close_all
from tests.rest.client import http
from tests.support import PASSWORD, PATIENCE_S, SECRET, Crowd, Heard, Process, direct, group

Json = dict[str, Any]


@contextlib.contextmanager
def two_processes(root: Path, mongo_url: str, redis_url: str, **env: str) -> Iterator[tuple[Process, Process]]:
    """Also for the other files here."""
    shared = {
        "MONGO_URL": mongo_url, "MONGO_DB": f"t_{secrets.token_hex(6)}", "REDIS_URL": redis_url, "JWT_SECRET": SECRET,
        "RATE_LIMIT_SCALE": "0", **env,
    }  # fmt: skip
    a, b = Process(root / "a", **shared), Process(root / "b", **shared)
    try:
        yield a.start(), b.start()
    finally:
        a.kill()
        b.kill()


class Scene:
    """A crowd that registers at A and connects to either process."""

    def __init__(self, a: str, b: str) -> None:
        self.a, self.b = a, b
        self.crowd = Crowd(a)

    async def account(self, name: str) -> Account:
        """The tests of a file share one database, so the address is of this test alone."""
        return await self.crowd.rest.register(f"{name.lower()}.{secrets.token_hex(8)}@example.test", PASSWORD, name)

    async def person(self, name: str, url: str) -> Person:
        return await self.device(await self.account(name), url)

    async def device(self, account: Account, url: str) -> Person:
        return await self.crowd.connect(account, url=url)

    async def pair(self) -> tuple[Person, Person, Json]:
        """Ada on A, Ben on B."""
        ada, ben = await asyncio.gather(self.person("Ada", self.a), self.person("Ben", self.b))
        return ada, ben, await direct(ada, ben)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, mongo_url: str, redis_url: str) -> Iterator[tuple[str, str]]:
    with two_processes(tmp_path_factory.mktemp("cluster"), mongo_url, redis_url) as (a, b):
        yield a.url, b.url


@pytest.fixture
async def scene(cluster: tuple[str, str]) -> AsyncIterator[Scene]:
    made = Scene(*cluster)
    yield made
    await close_all(made.crowd)


async def test_people_on_different_processes_talk_both_ways(scene: Scene) -> None:
    ada, ben = await asyncio.gather(scene.person("Ada", scene.a), scene.person("Ben", scene.b))
    at_ada, at_ben = (
        Heard(person, "chat:conversation", "chat:message", "chat:message_updated") for person in (ada, ben)
    )
    conversation = await direct(ada, ben)
    told = await at_ben.wait("chat:conversation")
    assert told["conversation"]["id"] == conversation["id"]
    ping = {"conversation_id": conversation["id"], "client_id": "ping", "text": "ping"}
    pong = {"conversation_id": conversation["id"], "client_id": "pong", "text": "pong"}
    sent = (await ada.call("chat:send", ping))["message"]
    assert (await at_ben.wait("chat:message", message=sent))["message"]["seq"] == 1
    answer = (await ben.call("chat:send", pong))["message"]
    assert (await at_ada.wait("chat:message", message=answer))["message"]["seq"] == 2
    edited = (await ada.call("chat:edit", {"message_id": sent["id"], "text": "ping!"}))["message"]
    await at_ben.wait("chat:message_updated", message=edited)
    reacted = (await ben.call("chat:react", {"message_id": sent["id"], "emoji": "👍", "on": True}))["message"]
    assert (await at_ada.wait("chat:message_updated", message=reacted))["message"]["version"] == 3
    assert [name for name, _ in at_ada.all].count("chat:message") == 1
    assert [name for name, _ in at_ben.all].count("chat:message") == 1


async def test_receipts_cross_over_to_others_and_to_ones_own_devices(scene: Scene) -> None:
    ada, ben, conversation = await scene.pair()
    at_ada = Heard(ada, "chat:receipt")
    phone = await scene.device(ben.account, scene.a)
    at_phone = Heard(phone, "chat:receipt")
    for number in range(3):
        payload = {"conversation_id": conversation["id"], "client_id": f"m{number}", "text": "hello"}
        await ada.call("chat:send", payload)
    await ben.call("chat:delivered", {"conversation_id": conversation["id"], "seq": 3})
    await at_ada.wait("chat:receipt", user_id=ben.account.id, delivered_seq=3, read_seq=0)
    receipt = (await ben.call("chat:read", {"conversation_id": conversation["id"], "seq": 2}))["receipt"]
    assert receipt["unread"] == 1
    heard = await at_ada.wait("chat:receipt", user_id=ben.account.id, delivered_seq=3, read_seq=2)
    assert "unread" not in heard
    assert (await at_phone.wait("chat:receipt", read_seq=2))["unread"] == 1


async def test_typing_reaches_those_who_look_on_the_other_process(scene: Scene) -> None:
    ada, ben, conversation = await scene.pair()
    at_ben = Heard(ben, "typing:start", "typing:stop", "chat:message")
    await ben.call("chat:join", {"conversation_id": conversation["id"]})
    place = {"conversation_id": conversation["id"]}
    await ada.call("typing:start", place)
    started = await at_ben.wait("typing:start", **place)
    assert started["user_id"] == ada.account.id
    await ada.call("typing:stop", place)
    await at_ben.wait("typing:stop", user_id=ada.account.id, **place)
    await ben.call("chat:leave", place)
    await ada.call("typing:start", place)
    await ada.call("chat:send", {**place, "client_id": "barrier", "text": "barrier"})
    await at_ben.wait("chat:message")  # goes the same way as typing, after it
    assert [name for name, _ in at_ben.all] == ["typing:start", "typing:stop", "chat:message"]


async def test_presence_over_both_processes(scene: Scene) -> None:
    """Two stories at once, since both are mostly waiting."""
    await asyncio.gather(devices_on_both_processes_are_one_person(scene), a_short_drop_is_not_told(scene))


async def devices_on_both_processes_are_one_person(scene: Scene) -> None:
    ada, ben, _ = await scene.pair()
    at_ada = Heard(ada, "user:status_change")
    seen = await ada.call("presence:subscribe", {"user_ids": [ben.account.id]})
    assert [presence["status"] for presence in seen["presences"]] == ["online"]
    second = await scene.device(ben.account, scene.a)
    await ben.close()
    await asyncio.sleep(6.5)  # longer than the grace: nothing must happen, which no event can tell
    assert at_ada.all == []
    left_at = time.monotonic()
    await second.close()
    gone = await at_ada.wait("user:status_change", timeout_s=12, user_id=ben.account.id, status="offline")
    assert time.monotonic() - left_at > 4.5
    assert gone["last_seen_at"] is not None
    await scene.device(ben.account, scene.b)
    await at_ada.wait("user:status_change", user_id=ben.account.id, status="online")
    assert [payload["status"] for _, payload in at_ada.all] == ["offline", "online"]


async def a_short_drop_is_not_told(scene: Scene) -> None:
    """Though the return is on the other process."""
    ada, ben, _ = await scene.pair()
    at_ada = Heard(ada, "user:status_change")
    await ada.call("presence:subscribe", {"user_ids": [ben.account.id]})
    await ben.close()
    again = await scene.device(ben.account, scene.a)
    await asyncio.sleep(6.5)
    assert at_ada.all == []
    status = await again.call("presence:set", {"status": "dnd", "text": "in a meeting"})
    assert status["presence"]["status"] == "dnd"
    await at_ada.wait("user:status_change", status="dnd", text="in a meeting")


async def test_someone_added_on_one_process_is_in_it_on_the_other(scene: Scene) -> None:
    ada, ben, _ = await scene.pair()
    cleo = await scene.person("Cleo", scene.b)
    at_ben, at_cleo = (Heard(person, "chat:conversation", "chat:message") for person in (ben, cleo))
    team = await group(ada, ben)
    place = {"conversation_id": team["id"]}
    await ben.call("chat:send", {**place, "client_id": "b1", "text": "just us"})
    changed = (await ada.call("chat:members", {**place, "add": [cleo.account.id]}))["conversation"]
    told = await at_cleo.wait("chat:conversation")
    assert told["conversation"]["participants"] == changed["participants"]
    first = (await cleo.call("chat:send", {**place, "client_id": "c1", "text": "hello all"}))["message"]
    await at_ben.wait("chat:message", message=first)
    assert (await cleo.call("chat:history", place))["messages"][-1] == first
    await ada.call("chat:members", {**place, "remove": [cleo.account.id]})
    await ben.call("chat:send", {**place, "client_id": "b2", "text": "just us again"})
    with pytest.raises(CommandError) as caught:
        await cleo.call("chat:send", {**place, "client_id": "c2", "text": "still here"})
    assert caught.value.code == "not_a_participant"
    texts = [payload["message"]["text"] for name, payload in at_cleo.all if name == "chat:message"]
    assert "just us" not in texts
    assert "just us again" not in texts


async def test_a_session_revoked_at_one_process_is_closed_on_the_other(scene: Scene) -> None:
    account = await scene.account("Ada")
    elsewhere = await scene.crowd.rest.login(account.user["email"], PASSWORD)
    kept, closed = await asyncio.gather(scene.device(account, scene.b), scene.device(elsewhere, scene.b))
    told, gone = Heard(closed, "auth:revoked"), asyncio.Event()
    closed._socket.on("disconnect", lambda reason: gone.set(), namespace="/chat")
    sessions = await scene.crowd.rest.request("GET", "/api/v1/auth/sessions", token=account.access_token)
    (other,) = [session["id"] for session in sessions["items"] if not session["current"]]
    await scene.crowd.rest.request("DELETE", f"/api/v1/auth/sessions/{other}", token=account.access_token)
    assert (await told.wait("auth:revoked"))["reason"] == "revoked"
    await asyncio.wait_for(gone.wait(), PATIENCE_S)
    assert (await kept.call("chat:list", {}))["items"] == []
    for url in (scene.a, scene.b):
        with pytest.raises(CommandError) as caught:
            await scene.device(elsewhere, url)
        assert caught.value.code == "session_revoked"


async def test_tabs_that_refresh_on_both_processes_get_the_same_token(scene: Scene) -> None:
    async with http(scene.a) as on_a, http(scene.b) as on_b:
        for _ in range(5):
            old = (await scene.account("Ada")).tokens["refresh_token"]
            body = {"refresh_token": old}
            answers = await asyncio.gather(
                *(call("POST", "/api/v1/auth/refresh", body) for call in (on_a, on_b, on_a, on_b))
            )
            assert [answer.status for answer in answers] == [200] * 4, answers
            tokens = [answer.body["tokens"] for answer in answers]
            assert len({one["refresh_token"] for one in tokens} - {old}) == 1
            for one, call in zip(tokens, (on_b, on_a, on_b, on_a), strict=True):
                assert (await call("GET", "/api/v1/auth/me", token=one["access_token"])).status == 200
