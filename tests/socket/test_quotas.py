"""How much one may have and do: refused clearly, freed again, durable, and never used up by somebody else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.clients import CommandError, Person
from contract import quotas as contract
from models.conversations import limits as conversation_limits
from models.conversations.listing import Listing
from models.quotas import actions as quotas
from models.quotas.document import Pace
from server import Server
from tests.clock import Clock
from tests.rest.client import http
from tests.socket.protocol import settings_for_tests
from tests.support import Crowd, direct, group, serving, until

Json = dict[str, Any]


def at_most(monkeypatch: pytest.MonkeyPatch, **amounts: int) -> None:
    """Of what there may be."""
    for name, amount in amounts.items():
        monkeypatch.setattr(conversation_limits, name, replace(getattr(contract, name), amount=amount))


def a_day(server: Server, **amounts: int) -> None:
    for name, amount in amounts.items():
        server.domain.quotas._paces[name] = Pace(replace(server.domain.quotas._paces[name].limit, amount=amount), 1.0)


@pytest.fixture
async def limited(tmp_path: Path, mongo_url: str) -> AsyncIterator[tuple[Server, Crowd]]:
    """Limits by the day are on."""
    async with serving(settings_for_tests(tmp_path, rate_limit_scale=1, access_token_ttl_s=86_400), mongo_url) as (
        server,
        url,
    ):
        crowd = Crowd(url)
        yield server, crowd
        await crowd.close()


async def refused(person: Person, command: str, payload: Json) -> CommandError:
    """At once: a person's `call` would wait as long as it is told to."""
    with pytest.raises(CommandError) as caught:
        await person._attempt(command, payload, "/chat")
    return caught.value


def of(name: str, *others: Person, kind: str = "group") -> Json:
    return {"type": kind, "participant_ids": [other.account.id for other in others], "client_id": name}


# What there may be


async def test_strangers_fill_a_part_of_somebodys_groups_and_nothing_of_what_they_need_themselves(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_most(monkeypatch, GROUPS_JOINED_BY_STRANGERS=3, GROUPS_JOINED=5, GROUPS_MADE=4)
    victim, partner, caller = await crowd.person("Vic"), await crowd.person("Pat"), await crowd.person("Cal")
    attackers, bystander = [await crowd.person("Eve"), await crowd.person("Eva")], await crowd.person("Bea")
    talk = await direct(victim, partner)
    await partner.call("chat:send", {"conversation_id": talk["id"], "client_id": "a", "text": "Here I am."})
    called = await direct(caller, victim)  # and one that the victim does not answer yet
    for number in range(3):
        await attackers[0].call("chat:create", of(f"spam {number}", victim))
    for attacker in attackers:
        error = await refused(attacker, "chat:create", of("more spam", victim, bystander))
        assert (error.code, error.details) == (
            "limit_reached", {"limit": "groups_joined", "user_ids": [victim.account.id]},
        )  # fmt: skip
        assert error.message == "Some of these people cannot be put into more groups."
        assert error.retry_after_ms is None
        small = await group(attacker, bystander)
        added = {"conversation_id": small["id"], "add": [victim.account.id]}
        assert (await refused(attacker, "chat:members", added)).code == "limit_reached"
    assert (await refused(caller, "chat:create", of("trade", victim))).code == "limit_reached"
    # The victim's trade goes on, and those can reach them whom they know.
    for number in range(4):
        await victim.call("chat:create", of(f"own {number}", partner))
    await victim.call("chat:send", {"conversation_id": called["id"], "client_id": "a", "text": "Who is there?"})
    await partner.call("chat:create", of("trade", victim))
    await caller.call("chat:create", of("trade", victim))
    error = await refused(partner, "chat:create", of("more trade", victim))
    assert error.details == {"limit": "groups_joined", "user_ids": [victim.account.id]}


async def test_what_one_makes_has_limits_and_leaving_makes_room(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    at_most(monkeypatch, GROUPS_MADE=2, DIRECT_BEGUN=1)
    ada, ben, cleo = await crowd.person("Ada"), await crowd.person("Ben"), await crowd.person("Cleo")
    first = await group(ada, ben)
    await ada.call("chat:create", of("second", ben, cleo))
    error = await refused(ada, "chat:create", of("third", ben))
    assert (error.code, error.retry_after_ms) == ("limit_reached", None)
    assert error.message == "Groups that a user has made and is in: at most 2, and there are 2."
    assert error.details == {"limit": "groups_made", "amount": 2, "used": 2}
    again = await ada.call("chat:create", of("second", ben, cleo))
    assert again["duplicate"], "what is there already is not one more"
    await ada.call("chat:members", {"conversation_id": first["id"], "remove": [ada.account.id]})
    await ada.call("chat:create", of("third", ben))
    back = {"conversation_id": first["id"], "add": [ada.account.id]}
    await ben.call("chat:members", back)  # who makes a group is not put into it by others
    await direct(ada, ben)
    error = await refused(ada, "chat:create", of("talk", cleo, kind="direct"))
    assert error.details == {"limit": "direct_begun", "amount": 1, "used": 1}
    assert (await ada.call("chat:create", of("once more", ben, kind="direct")))["duplicate"]


async def test_people_in_the_groups_one_has_made_are_counted_for_who_put_them_in(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_most(monkeypatch, GROUP_PEOPLE=3)
    ada, ben, cleo, dora, eve = [await crowd.person(name) for name in ("Ada", "Ben", "Cleo", "Dora", "Eve")]
    made = await group(ada, ben)
    # What others put into it is not Ada's.
    await ben.call("chat:members", {"conversation_id": made["id"], "add": [cleo.account.id, dora.account.id]})
    await ada.call("chat:create", of("second", cleo, dora))
    error = await refused(ada, "chat:members", {"conversation_id": made["id"], "add": [eve.account.id]})
    assert (error.code, error.details) == ("limit_reached", {"limit": "group_people", "amount": 3, "used": 3})
    people = (await ada.call("chat:get", {"conversation_id": made["id"]}))["conversation"]["participants"]
    assert [one["user_id"] for one in people] == [one.account.id for one in (ada, ben, cleo, dora)]
    await ada.call("chat:members", {"conversation_id": made["id"], "remove": [one["user_id"] for one in people[1:]]})
    await ada.call("chat:members", {"conversation_id": made["id"], "add": [eve.account.id]})


async def test_a_place_that_was_counted_and_not_taken_is_found_when_it_is_needed(
    limited: tuple[Server, Crowd], monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    """As after a crash between the two; and those who try again and again do not have it looked for each time."""
    at_most(monkeypatch, GROUPS_JOINED_BY_STRANGERS=2, GROUPS_JOINED=2)
    server, crowd = limited
    ada, ben = await crowd.person("Ada"), await crowd.person("Ben")
    original, counted = Listing.count_joined, 0

    async def count(listing: Listing, user_id: str) -> int:
        nonlocal counted
        counted += 1
        return await original(listing, user_id)

    monkeypatch.setattr(Listing, "count_joined", count)
    for _ in range(2):
        limits = server.domain.conversations.limits
        await limits._join(ada.account.id, [ben.account.id], 1)
    assert (await refused(ada, "chat:create", of("one", ben))).code == "limit_reached"
    assert counted == 0, "they may be about to be taken"
    clock.move(quotas.RECOUNT_EVERY.total_seconds() + 1)
    await ada.call("chat:create", of("one", ben))
    await ada.call("chat:create", of("two", ben))
    assert counted == 1
    for number in range(5):
        assert (await refused(ada, "chat:create", of(f"{number}", ben))).code == "limit_reached"
    assert counted == 1
    clock.move(quotas.RECOUNT_EVERY.total_seconds() + 1)
    for number in range(5):
        assert (await refused(ada, "chat:create", of(f"{number}", ben))).code == "limit_reached"
    assert counted == 2


async def test_of_many_who_put_someone_in_at_once_one_can(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    at_most(monkeypatch, GROUPS_JOINED_BY_STRANGERS=1, GROUPS_JOINED=1)
    ada, ben, cleo = await crowd.person("Ada"), await crowd.person("Ben"), await crowd.person("Cleo")
    attempts = [
        one._attempt("chat:create", of(f"{number}", cleo), "/chat") for number in range(4) for one in (ada, ben)
    ]
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    assert sum(not isinstance(outcome, BaseException) for outcome in outcomes) == 1
    assert {outcome.code for outcome in outcomes if isinstance(outcome, CommandError)} == {"limit_reached"}
    assert len((await cleo.call("chat:list", {}))["items"]) == 1


async def joined(server: Server, person: Person) -> int:
    found = await server.database.collection("quotas").find_one({"_id": f"groups_joined:{person.account.id}"})
    return int(found["count"]) if found is not None else 0


async def test_who_is_removed_twice_at_once_is_counted_once(
    crowd: Crowd, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, ben, cleo = await crowd.person("Ada"), await crowd.person("Ben"), await crowd.person("Cleo")
    made = [await group(ada, ben, cleo) for _ in range(3)]
    barrier, leaving = asyncio.Barrier(2), server.domain.departures.leaving

    async def together(conversation_id: str, user_ids: list[str]) -> None:
        await leaving(conversation_id, user_ids)
        await barrier.wait()  # both have seen them in it

    monkeypatch.setattr(server.domain.departures, "leaving", together)
    remove = {"conversation_id": made[0]["id"], "remove": [ben.account.id, cleo.account.id]}
    leave = {"conversation_id": made[0]["id"], "remove": [cleo.account.id]}
    await asyncio.gather(ada.call("chat:members", remove), cleo.call("chat:members", leave))
    assert (await joined(server, ben), await joined(server, cleo)) == (2, 2)
    messages = (await ada.call("chat:history", {"conversation_id": made[0]["id"]}))["messages"]
    assert sum("Cleo" in message["text"] for message in messages) == 1


async def test_a_removal_is_told_though_it_cannot_be_counted(
    crowd: Crowd, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, ben = await crowd.person("Ada"), await crowd.person("Ben")
    made = await group(ada, ben)

    async def broken(*_: object) -> None:
        raise ConnectionError("the database is away")

    monkeypatch.setattr(server.domain.quotas, "give_back", broken)
    await ada.call("chat:members", {"conversation_id": made["id"], "remove": [ben.account.id]})
    messages = (await ada.call("chat:history", {"conversation_id": made["id"]}))["messages"]
    assert [message["text"] for message in messages] == ["Ada removed Ben"]


async def test_who_is_in_is_counted_though_the_adder_is_out(
    crowd: Crowd, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, ben, cleo = await crowd.person("Ada"), await crowd.person("Ben"), await crowd.person("Cleo")
    made = await group(ada, ben)
    conversations = server.domain.conversations
    add, change = conversations.add_members, conversations._store.change

    async def add_and_lose(*arguments: Any) -> Any:
        result = await add(*arguments)
        query = {"_id": made["id"]}
        await change(query, {"$pull": {"participant_ids": ben.account.id}, "$unset": {f"members.{ben.account.id}": ""}})
        return result

    monkeypatch.setattr(conversations, "add_members", add_and_lose)
    await ben.call("chat:members", {"conversation_id": made["id"], "add": [cleo.account.id]})
    assert await joined(server, cleo) == 1


# What may be done in a day


async def test_whom_many_strangers_have_met_takes_others_again_soon(
    limited: tuple[Server, Crowd], clock: Clock
) -> None:
    server, crowd = limited
    a_day(server, direct_met_a_day=2, conversations_a_day=2)
    victim, partner, eve, buyer = [await crowd.person(name) for name in ("Vic", "Pat", "Eve", "Bea")]
    talk = await direct(partner, victim)
    for number in range(2):
        await eve.call("chat:create", of(f"{number}", buyer))
    # Who may make none themselves uses up nothing of the victim's.
    assert (await refused(eve, "chat:create", of("talk", victim, kind="direct"))).details["limit"] == (
        "conversations_a_day"
    )
    await direct(await crowd.person("Eva"), victim)
    error = await refused(buyer, "chat:create", of("talk", victim, kind="direct"))
    assert (error.code, error.details["limit"], error.details["left"]) == ("rate_limited", "direct_met_a_day", 0)
    await direct(victim, await crowd.person("Dan"))  # who is called by many may call others
    await partner.call("chat:send", {"conversation_id": talk["id"], "client_id": "1", "text": "Still here."})
    assert error.retry_after_ms is not None
    clock.move(error.retry_after_ms / 1000)
    await buyer.call("chat:create", of("talk", victim, kind="direct"))


async def test_of_one_conversation_begun_many_times_at_once_one_is_counted(
    limited: tuple[Server, Crowd], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, crowd = limited
    a_day(server, direct_met_a_day=4)
    eve, victim = await crowd.person("Eve"), await crowd.person("Vic")
    again = await crowd.connect(eve.account)
    barrier, make = asyncio.Barrier(2), server.domain.conversations.limits.make

    async def together(document: Json) -> None:
        await barrier.wait()  # neither has found what the other makes
        await make(document)

    monkeypatch.setattr(server.domain.conversations.limits, "make", together)
    await asyncio.gather(
        eve.call("chat:create", of("a", victim, kind="direct")),
        again.call("chat:create", of("b", victim, kind="direct")),
    )
    pace = server.domain.quotas._paces["direct_met_a_day"]
    found = await server.database.collection("quotas").find_one({"_id": f"direct_met_a_day:{victim.account.id}"})
    assert found is not None
    assert pace.left(found["until"].timestamp(), time.time()) == 3


async def test_a_repeat_is_answered_though_no_more_may_be_said(limited: tuple[Server, Crowd]) -> None:
    server, crowd = limited
    a_day(server, user_bytes_a_day=1_000)
    ada, _, conversation = await crowd.pair()
    payload = {"conversation_id": conversation["id"], "client_id": "1", "text": "x" * 600}
    first = await ada.call("chat:send", payload)
    again = await ada._attempt("chat:send", payload, "/chat")
    assert again.data == {"message": first["message"], "duplicate": True}
    assert (await refused(ada, "chat:send", payload | {"text": "y" * 600})).code == "idempotency_mismatch"
    assert (await refused(ada, "chat:send", payload | {"client_id": "2"})).code == "rate_limited"


async def test_conversations_and_people_a_day_come_back_evenly(limited: tuple[Server, Crowd], clock: Clock) -> None:
    server, crowd = limited
    a_day(server, conversations_a_day=3, people_a_day=6)
    ada, ben, cleo, dora = [await crowd.person(name) for name in ("Ada", "Ben", "Cleo", "Dora")]
    first = await group(ada, ben)
    await ada.call("chat:create", of("second", ben, cleo, dora))
    await ada.call("chat:members", {"conversation_id": first["id"], "add": [cleo.account.id]})
    for command, payload in (
        ("chat:create", of("third", ben, cleo)),
        ("chat:members", {"conversation_id": first["id"], "add": [dora.account.id, await crowd_id(crowd)]}),
    ):
        error = await refused(ada, command, payload)
        assert error.code == "rate_limited"
        assert error.message == "People whom a user puts into groups: 6 a day, and there is no room for 2 more yet."
        assert error.details == {"limit": "people_a_day", "amount": 6, "per_s": 86_400, "left": 1, "asked": 2}
    assert error.retry_after_ms is not None
    assert 14_300_000 < error.retry_after_ms <= 14_400_001, "a sixth of a day, for the one who is too many"
    listed = (await cleo.call("chat:list", {}))["items"]
    assert len(listed) == 2, "of what was refused nothing is left"
    clock.move(error.retry_after_ms / 1000)
    await ada.call("chat:create", of("third", ben, cleo))
    error = await refused(ada, "chat:create", of("fourth", ben))
    assert error.details["limit"] == "conversations_a_day"
    assert error.message == "Conversations that a user makes: 3 a day, and there is no room for 1 more yet."
    # Nobody else is concerned, and what was refused has counted nothing.
    await ben.call("chat:create", of("own", ada))
    counted = await server.database.collection("quotas").find_one({"_id": f"groups_joined:{ben.account.id}"})
    assert counted is not None
    assert counted["count"] == 3


async def crowd_id(crowd: Crowd) -> str:
    return (await crowd.account("Fay")).id


async def test_bytes_a_day_of_a_user_over_both_doors(limited: tuple[Server, Crowd], clock: Clock) -> None:
    server, crowd = limited
    a_day(server, user_bytes_a_day=1_000)
    ada, ben, conversation = await crowd.pair()
    where = {"conversation_id": conversation["id"]}
    said = await ada.call("chat:send", {**where, "client_id": "1", "text": "é" * 300})
    await ada.call("chat:edit", {"message_id": said["message"]["id"], "text": "x" * 300})
    error = await refused(ada, "chat:send", {**where, "client_id": "2", "text": "x" * 101})
    assert error.code == "rate_limited"
    assert error.message == (
        "Bytes of text, in UTF-8, that a user sends and edits: 1000 a day, and there is no room for 101 more yet."
    )
    assert error.details["limit"] == "user_bytes_a_day"
    assert (error.details["amount"], error.details["per_s"], error.details["asked"]) == (1_000, 86_400, 101)
    assert error.details["left"] in (100, 101)
    assert error.retry_after_ms is not None
    assert 0 < error.retry_after_ms <= 86_401
    async with http(crowd.url) as call:
        path = f"/api/v1/chat/conversations/{conversation['id']}/messages"
        answer = await call("POST", path, {"client_id": "2", "text": "x" * 201}, ada.account.access_token)
        assert (answer.status, answer.code) == (429, "rate_limited")
        assert int(answer.headers["Retry-After"]) > 0
    edit = {"message_id": said["message"]["id"], "text": "x" * 201}
    assert (await refused(ada, "chat:edit", edit)).code == "rate_limited"
    await ben.call("chat:send", {**where, "client_id": "2", "text": "x" * 900})  # who is not concerned
    clock.move(error.retry_after_ms / 1000)
    sent = await ada.call("chat:send", {**where, "client_id": "2", "text": "x" * 101})
    assert sent["message"]["seq"] == 3, "of what was refused nothing was said"


async def test_bytes_a_day_of_a_conversation(limited: tuple[Server, Crowd]) -> None:
    server, crowd = limited
    a_day(server, conversation_bytes_a_day=1_000, spared_bytes_a_day=700)
    ada, ben, conversation = await crowd.pair()
    other = await group(ada, ben)
    await ada.call("chat:send", {"conversation_id": conversation["id"], "client_id": "1", "text": "x" * 600})
    payload = {"conversation_id": conversation["id"], "client_id": "1", "text": "x" * 600}
    await ben.call("chat:send", payload)  # who has said little; others do not silence them
    error = await refused(ben, "chat:send", payload | {"client_id": "2"})
    assert error.details["limit"] == "conversation_bytes_a_day"
    await ben.call("chat:send", {"conversation_id": other["id"], "client_id": "3", "text": "x" * 600})


async def test_what_was_said_is_remembered_by_the_next_process_but_for_a_grain(tmp_path: Path, mongo_url: str) -> None:
    settings = settings_for_tests(tmp_path, rate_limit_scale=1)
    amount, grain = 64_000, 1_000
    async with serving(settings, mongo_url) as (server, url):
        crowd = Crowd(url)
        a_day(server, user_bytes_a_day=amount)
        ada, _, conversation = await crowd.pair()
        for number in range(7):
            payload = {"conversation_id": conversation["id"], "client_id": f"{number}", "text": "x" * 9_000}
            await ada.call("chat:send", payload)
        assert (await refused(ada, "chat:send", payload | {"client_id": "more"})).code == "rate_limited"
        await until(lambda: server.domain.quotas._saving is None)
        await crowd.close()
    async with serving(settings, mongo_url) as (server, url):
        crowd = Crowd(url)
        a_day(server, user_bytes_a_day=amount)
        again = await crowd.connect(ada.account)
        payload = {"conversation_id": conversation["id"], "client_id": "next", "text": "x" * grain}
        await again.call("chat:send", payload)  # it does not know yet, and asks
        await until(lambda: server.domain.quotas._saving is None)
        assert (await refused(again, "chat:send", payload | {"client_id": "more"})).code == "rate_limited"
        await crowd.close()


async def test_a_send_asks_the_database_for_no_limit(
    limited: tuple[Server, Crowd], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, crowd = limited
    ada, _, conversation = await crowd.pair()
    calls: list[str] = []
    for name in ("find", "move", "add"):
        monkeypatch.setattr(server.domain.quotas._store, name, lambda *_, name=name: calls.append(name))
    for number in range(20):
        await ada.call("chat:send", {"conversation_id": conversation["id"], "client_id": f"{number}", "text": "Forty?"})
    assert calls == []


async def test_without_limits_nothing_is_counted_by_the_day(crowd: Crowd, server: Server) -> None:
    ada, _, conversation = await crowd.pair()
    await ada.call("chat:send", {"conversation_id": conversation["id"], "client_id": "1", "text": "Forty?"})
    assert not server.domain.quotas._meters
    ids = [document["_id"] for document in await server.database.collection("quotas").find().to_list(None)]
    assert not any("_a_day:" in identifier for identifier in ids)
