"""A command costs as much as it makes everybody else hear. Small conversations notice nothing of it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bench.clients import CommandError, Person
from contract.registry import FAN_OUT_FREE, FAN_OUT_TIERS, Rate
from contract.types import PARTICIPANTS_MAX
from models.context import now
from models.conversations.limits import announcement
from models.users.document import email_key
from security.limits import FanOutLimits
from server import Server
from tests.socket.protocol import settings_for_tests
from tests.support import Crowd, serving

Json = dict[str, Any]


@pytest.fixture
async def limited(tmp_path: Path, mongo_url: str) -> AsyncIterator[tuple[Server, Crowd]]:
    async with serving(settings_for_tests(tmp_path, rate_limit_scale=1), mongo_url) as (server, url):
        crowd = Crowd(url)
        yield server, crowd
        await crowd.close()


async def filled(server: Server, owner: Person, people: int, *others: Person) -> str:
    """A group of so many, most of whom have an account and never were here."""
    ids = [f"u_{number:024x}" for number in range(people - 1 - len(others))]
    accounts = [
        {
            "_id": one, "email": f"{one}@example.test", "email_key": email_key(f"{one}@example.test"),
            "name": "Someone", "disabled": False, "created_at": now(),
        }
        for one in ids
    ]  # fmt: skip
    await server.database.collection("users").insert_many(accounts)
    everyone = [*(other.account.id for other in others), *ids]
    made = await owner.call("chat:create", {"type": "group", "participant_ids": everyone, "client_id": f"of {people}"})
    return str(made["conversation"]["id"])


async def tried(person: Person, command: str, payload: Json) -> CommandError | None:
    try:
        await person._attempt(command, payload, f"/{command.partition(':')[0]}")
    except CommandError as error:
        return error
    return None


async def test_a_thousand_hear_of_a_chat_and_not_of_a_flood(limited: tuple[Server, Crowd]) -> None:
    server, crowd = limited
    ada, ben = await crowd.person("Ada"), await crowd.person("Ben")
    rate, refusals, started = FAN_OUT_TIERS["messages"], [], time.monotonic()
    where = {"conversation_id": await filled(server, ada, PARTICIPANTS_MAX, ben)}
    left = rate.burst - announcement(PARTICIPANTS_MAX)
    for number in range(60):  # as many at once as the command itself allows
        error = await tried(ada, "chat:send", {**where, "client_id": f"{number}", "text": "Forty?"})
        if error is not None:
            refusals.append(error)
    took_s = time.monotonic() - started
    said = 60 - len(refusals)
    assert left // PARTICIPANTS_MAX <= said <= (left + took_s * rate.count / rate.per_s) / PARTICIPANTS_MAX + 1
    assert rate.count / rate.per_s / PARTICIPANTS_MAX < 3, "messages a second that one can keep up"
    error = refusals[-1]
    assert error.code == "rate_limited"
    assert error.message == "This tells too many people at once; wait and try again."
    assert error.details == {
        "limit": "fan_out_messages", "people": PARTICIPANTS_MAX, "count": rate.count, "per_s": rate.per_s,
        "burst": rate.burst,
    }  # fmt: skip
    assert error.retry_after_ms is not None
    assert 0 < error.retry_after_ms <= 1_000 * PARTICIPANTS_MAX * rate.per_s / rate.count + 2
    # One who floods has used up nobody else's, and may still read and leave.
    assert await tried(ben, "chat:send", {**where, "client_id": "b", "text": "Quiet, please."}) is None
    assert await tried(ada, "chat:read", {**where, "seq": 1}) is None
    assert await tried(ada, "chat:members", {**where, "remove": [ada.account.id]}) is None


def cheap(server: Server, scale: float = 1.0) -> None:
    """As if a small group were a large one."""
    tiers = {"messages": Rate(60, 3_600, 2 * (FAN_OUT_FREE + 1)), "signals": Rate(60, 3_600, 2 * (FAN_OUT_FREE + 1))}
    server.domain.conversations.limits._fan_out = FanOutLimits(tiers, scale)


async def test_all_that_tells_everyone_costs_and_through_any_door(limited: tuple[Server, Crowd]) -> None:
    server, crowd = limited
    ada = await crowd.person("Ada")
    where = {"conversation_id": await filled(server, ada, FAN_OUT_FREE + 1)}
    said = (await ada.call("chat:send", {**where, "client_id": "1", "text": "one"}))["message"]
    target = {"message_id": said["id"]}
    costly: list[tuple[str, Json, str]] = [
        ("chat:send", {**where, "client_id": "2", "text": "two"}, "messages"),
        ("chat:react", {**target, "emoji": "👍", "on": True}, "messages"),
        ("chat:edit", {**target, "text": "won"}, "messages"),
        ("chat:update", {**where, "title": "Tea"}, "messages"),
        ("chat:members", {**where, "add": [(await crowd.account("Ben")).id]}, "messages"),
        ("chat:delete", target, "messages"),
        ("chat:read", {**where, "seq": 1}, "signals"),
        ("typing:start", where, "signals"),
    ]
    for command, payload, tier in costly:
        cheap(server)
        fan_out = server.domain.conversations.limits._fan_out
        fan_out.charge(tier, ada.account.id, 2 * (FAN_OUT_FREE + 1) - 1)
        error = await tried(ada, command, payload)
        assert error is not None, command
        assert (error.code, error.details["limit"]) == ("rate_limited", f"fan_out_{tier}"), command
        assert error.retry_after_ms
        if command == "chat:send":
            from_rest = await tried_over_rest(crowd, ada, where["conversation_id"])
            assert from_rest.details["limit"] == "fan_out_messages"
        cheap(server, scale=0)
        assert await tried(ada, command, payload) is None, command
        cheap(server)
    # What concerns oneself alone costs nothing.
    server.domain.conversations.limits._fan_out.charge("messages", ada.account.id, 2 * (FAN_OUT_FREE + 1))
    assert await tried(ada, "chat:update", {**where, "muted": True}) is None


async def tried_over_rest(crowd: Crowd, person: Person, conversation_id: str) -> CommandError:
    path = f"{crowd.url}/api/v1/chat/conversations/{conversation_id}/messages"
    headers = {"Authorization": f"Bearer {person.account.access_token}"}
    async with crowd.rest._session.post(path, json={"client_id": "r", "text": "r"}, headers=headers) as answer:
        assert answer.status == 429
        return CommandError((await answer.json())["error"])


async def test_a_group_of_few_costs_nothing(limited: tuple[Server, Crowd]) -> None:
    server, crowd = limited
    ada = await crowd.person("Ada")
    where = {"conversation_id": await filled(server, ada, FAN_OUT_FREE)}
    cheap(server)
    for tier in ("messages", "signals"):
        server.domain.conversations.limits._fan_out.charge(tier, ada.account.id, 2 * (FAN_OUT_FREE + 1))
    assert await tried(ada, "chat:send", {**where, "client_id": "1", "text": "one"}) is None
    assert await tried(ada, "chat:read", {**where, "seq": 1}) is None
    assert await tried(ada, "chat:update", {**where, "title": "Tea"}) is None


def test_what_costs_more_than_there_can_be_is_done_when_all_of_it_is_there() -> None:
    limits = FanOutLimits({"messages": Rate(60, 60, 10)}, 1.0)
    limits.charge("messages", "u", 1_000)
    with pytest.raises(Exception, match="tells too many people"):
        limits.charge("messages", "u", 1)
