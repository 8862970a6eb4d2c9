"""A new name reaches every conversation, whoever is in the way, and nobody waits for many of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bench.clients import Person
from models.context import now
from models.conversations import actions, renaming
from server import Server
from tests.rest.client import Http, http
from tests.support import PATIENCE_S, Crowd, Heard, group

ME = "/api/v1/auth/me"
Json = dict[str, Any]


@pytest.fixture
async def call(url: str) -> AsyncIterator[Http]:
    async with http(url) as client:
        yield client


async def names(server: Server, user_id: str) -> set[str]:
    found = await server.database.collection("conversations").find({"participant_ids": user_id}).to_list(None)
    return {document["members"][user_id]["name"] for document in found}


async def until_named(server: Server, person: Person, name: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while await names(server, person.account.id) != {name}:
            await asyncio.sleep(0.05)


async def waiting(server: Server) -> list[Json]:
    jobs = await server.database.collection("jobs").find({"kind": actions.RENAME}).to_list(None)
    return [job["payload"] for job in jobs]


async def test_a_few_conversations_have_it_at_once(server: Server, crowd: Crowd, call: Http) -> None:
    ada, ben, conversation = await crowd.pair()
    await group(ada, ben)
    heard = Heard(ben, "chat:conversation")
    assert (await call("PATCH", ME, {"name": "Ada L."}, ada.account.access_token)).status == 200
    assert await names(server, ada.account.id) == {"Ada L."}
    event = await heard.wait("chat:conversation", conversation=(await one(ben, conversation)))
    assert "Ada L." in [person["name"] for person in event["conversation"]["participants"]]


async def one(person: Person, conversation: Json) -> Json:
    found: Json = (await person.call("chat:get", {"conversation_id": conversation["id"]}))["conversation"]
    return found


async def test_many_have_it_by_a_job_in_steps(
    server: Server, crowd: Crowd, call: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "RENAMED_AT_ONCE", 2)
    monkeypatch.setattr(renaming, "STEP_S", 0.0)  # each step does one
    monkeypatch.setattr(renaming, "RENAMED_AFTER_S", 0.0)
    ada, ben, _ = await crowd.pair()
    for _ in range(4):
        await group(ada, ben)
    assert (await call("PATCH", ME, {"name": "Ada L."}, ada.account.access_token)).status == 200
    assert await names(server, ada.account.id) == {"Ada", "Ada L."}, "the answer did not wait for all"
    assert await waiting(server) == [{"user_id": ada.account.id}]
    heard = Heard(ben, "chat:conversation")
    await until_named(server, ada, "Ada L.")
    async with asyncio.timeout(PATIENCE_S):
        while await waiting(server):
            await asyncio.sleep(0.05)
    assert len(heard.all) == 3


async def test_a_large_group_is_left_to_the_job(
    server: Server, crowd: Crowd, call: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "FAN_OUT_FREE", 2)
    ada, ben, small = await crowd.pair()
    large = await group(ada, ben, await crowd.person("Cleo"))
    await call("PATCH", ME, {"name": "Ada L."}, ada.account.access_token)
    assert "Ada L." in [person["name"] for person in (await one(ben, small))["participants"]]
    assert "Ada L." not in [person["name"] for person in (await one(ben, large))["participants"]]
    await until_named(server, ada, "Ada L.")


async def test_of_many_names_the_last_one_stays(
    server: Server, crowd: Crowd, call: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it is one that there was before, and whichever job is slow."""
    monkeypatch.setattr(actions, "RENAMED_AT_ONCE", 1)
    ada, ben, _ = await crowd.pair()
    for _ in range(3):
        await group(ada, ben)
    for name in ("A", "B", "A", "C", "B"):
        assert (await call("PATCH", ME, {"name": name}, ada.account.access_token)).status == 200
        assert len(await waiting(server)) <= 1, "each name has no job of its own"
    async with asyncio.timeout(PATIENCE_S):
        while await waiting(server):
            await asyncio.sleep(0.05)
    assert await names(server, ada.account.id) == {"B"}
    # A job that was given back and comes late has nothing to say any more.
    await server.domain.renaming.spread({"user_id": ada.account.id})
    assert await names(server, ada.account.id) == {"B"}


async def test_a_step_ends_when_enough_were_told_and_the_next_waits_elsewhere(
    server: Server, crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No worker waits for it."""
    monkeypatch.setattr(renaming, "STEP_PEOPLE", 4)
    monkeypatch.setattr(renaming, "PEOPLE_PER_S", 0.001)
    ada, ben, _ = await crowd.pair()
    for _ in range(3):
        await group(ada, ben)
    await server.database.collection("users").update_one({"_id": ada.account.id}, {"$set": {"name": "Ada L."}})
    what = {"user_id": ada.account.id}
    await server.domain.renaming.spread(what)
    found = await server.database.collection("conversations").find({"participant_ids": ada.account.id}).to_list(None)
    assert sum(one["members"][ada.account.id]["name"] == "Ada L." for one in found) == 2
    (job,) = await server.database.collection("jobs").find({"kind": actions.RENAME}).to_list(None)
    assert (job["payload"], job["taken"]) == (what, 0)
    assert (job["run_at"] - now()).total_seconds() > 3_000


async def test_the_job_is_there_before_anything_is_written(
    server: Server, crowd: Crowd, call: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, _, _ = await crowd.pair()

    async def dies(*_: object) -> bool:
        raise ConnectionError("as if this process died")

    with monkeypatch.context() as patch:
        patch.setattr(server.domain.conversations._store, "rename_member", dies)
        assert (await call("PATCH", ME, {"name": "Ada L."}, ada.account.access_token)).status == 500
    await until_named(server, ada, "Ada L.")


async def test_of_two_changes_at_once_what_was_written_over_is_made_up_for(
    server: Server, crowd: Crowd, call: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, ben, conversation = await crowd.pair()
    rename, slow = server.domain.conversations._store.rename_member, asyncio.Event()

    async def renamed_late(conversation_id: str, user_id: str, name: str) -> bool:
        if name == "First":
            await slow.wait()
        return await rename(conversation_id, user_id, name)

    monkeypatch.setattr(server.domain.conversations._store, "rename_member", renamed_late)
    first = asyncio.create_task(call("PATCH", ME, {"name": "First"}, ada.account.access_token))
    async with asyncio.timeout(PATIENCE_S):
        while (await call("GET", ME, token=ada.account.access_token)).body["name"] != "First":
            await asyncio.sleep(0.02)
    assert (await call("PATCH", ME, {"name": "Second"}, ada.account.access_token)).status == 200
    slow.set()
    assert (await first).status == 200
    await until_named(server, ada, "Second")
    assert "Second" in [person["name"] for person in (await one(ben, conversation))["participants"]]
