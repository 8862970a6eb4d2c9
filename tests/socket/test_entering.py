"""Whoever loses a right while it is looked up does not enter by it; whoever has left all namespaces is a stranger."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from bench.clients import CommandError, Person
from contract.rooms import presence_room
from models.messages.reading import Reading
from models.presence.actions import PresenceActions
from server import Server
from tests.contract.stage import settings_for_tests
from tests.support import Crowd, Heard, Raw, group, serving, until

Json = dict[str, Any]


def removed_meanwhile(
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str, remove: Callable[[], Awaitable[Any]]
) -> None:
    """The first answer of this look-up is true when it is made, and is not any more when it is given."""
    original, asked = getattr(owner, name), []

    async def look_up(*arguments: Any) -> Any:
        answer = await original(*arguments)
        asked.append(name)
        if len(asked) == 1:
            await remove()
        return answer

    monkeypatch.setattr(owner, name, look_up)


async def trio(crowd: Crowd) -> tuple[Person, Person, Json, Callable[[], Awaitable[Any]]]:
    """(the owner, one who is removed by what comes last, their conversation)."""
    ada, ben, cleo = [await crowd.person(name) for name in ("Ada", "Ben", "Cleo")]
    conversation = await group(ada, ben, cleo)
    place = {"conversation_id": conversation["id"]}
    # Another device of hers: the commands of one connection wait for each other.
    owner = await crowd.connect(ada.account)

    async def remove() -> None:
        await owner.call("chat:members", {**place, "remove": [ben.account.id]})

    return ada, ben, conversation, remove


async def test_a_join(server: Server, crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    ada, ben, conversation, remove = await trio(crowd)
    heard = Heard(ben, "typing:start")
    removed_meanwhile(monkeypatch, Reading, "join", remove)
    with pytest.raises(CommandError, match="not_a_participant"):
        await ben.call("chat:join", {"conversation_id": conversation["id"]})
    await ada.call("typing:start", {"conversation_id": conversation["id"]})
    await ada.call("chat:list", {})
    assert heard.all == []
    assert all(not one.looking_at for one in server.connections.of_user(ben.account.id))


async def test_a_subscription(server: Server, crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    ada, ben, _, remove = await trio(crowd)
    removed_meanwhile(monkeypatch, PresenceActions, "visible", remove)
    seen = await ben.call("presence:subscribe", {"user_ids": [ada.account.id]}, "/presence")
    assert (seen["presences"], seen["refused"]) == ([], [ada.account.id])
    (connection,) = server.connections.of_user(ben.account.id)
    inside = server.sio.manager.in_rooms("/presence", [presence_room(ada.account.id)])
    assert connection.sids["/presence"] not in [member.sid for member in inside]


async def test_a_join_beside_somebody_elses_leaving(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    ada, _, conversation, remove = await trio(crowd)
    removed_meanwhile(monkeypatch, Reading, "join", remove)
    joined = await ada.call("chat:join", {"conversation_id": conversation["id"]})
    assert joined["conversation"]["id"] == conversation["id"]


@pytest.mark.parametrize("last", ["41/chat,", "40/chat,{}"], ids=["left", "lost by a second CONNECT"])
async def test_whoever_is_in_no_namespace_any_more_has_the_time_of_a_beginner(
    tmp_path: Path, mongo_url: str, last: str
) -> None:
    async with serving(settings_for_tests(tmp_path), mongo_url) as (server, url):
        crowd = Crowd(url)
        account = await crowd.account()
        await crowd.rest.__aexit__()
        async with Raw(url) as gone, Raw(url) as back, Raw(url) as stays:
            for raw in (gone, back, stays):
                await raw.connect("/chat", account.access_token)
            await until(lambda: len(server.strangers) == 0)
            server.sio.eio.connect_timeout_s = 2.0  # only now: who begins has as long as ever
            for raw in (gone, back):
                await raw.send(last)
            await until(lambda: len(server.strangers) == 2)
            if last.startswith("40"):
                assert (await back.receive() or "").startswith("44")
                assert (await gone.receive() or "").startswith("44")
            await back.connect("/offers", account.access_token)
            assert await gone.receive() is None
            await asyncio.sleep(0.5)  # the other's deadline, which was right behind
            assert (await back.ask("/offers", "offer:list", {}))["ok"]
            assert (await stays.ask("/chat", "chat:list", {}))["ok"]
        await crowd.close()
