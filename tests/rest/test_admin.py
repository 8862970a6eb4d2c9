"""What administrators see of a process and do to its connections; nobody else may."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from bench.clients import Account, Person
from contract.identity import Register, Role
from contract.registry import ENDPOINTS
from server import Server
from settings import Settings
from tests.rest.client import Answer, Http, http
from tests.support import NAMESPACES, PASSWORD, PATIENCE_S, Crowd, serving, until

ADMIN = "/api/v1/admin"
Json = dict[str, Any]


class Office:
    """A server, an administrator's token, and a crowd."""

    def __init__(self, server: Server, call: Http, crowd: Crowd, token: str) -> None:
        self.server = server
        self.call = call
        self.crowd = crowd
        self.token = token

    async def get(self, path: str, **query: Any) -> Json:
        answer = await self.call("GET", f"{ADMIN}/{path}", token=self.token, params=query)
        assert answer.status == 200, answer.body
        body: Json = answer.body
        return body

    async def delete(self, connection_id: str) -> Answer:
        return await self.call("DELETE", f"{ADMIN}/connections/{connection_id}", token=self.token)


async def official(server: Server, crowd: Crowd, role: Role) -> Account:
    email = f"{role}@example.test"
    await server.domain.users.create(Register(email=email, password=PASSWORD, name="Root"), role)
    return await crowd.rest.login(email, PASSWORD)


@pytest.fixture
async def office(settings: Settings, mongo_url: str) -> AsyncIterator[Office]:
    async with serving(replace(settings, route="w7"), mongo_url) as (server, url), http(url) as call:
        crowd = Crowd(url)
        admin = await official(server, crowd, "admin")
        yield Office(server, call, crowd, admin.access_token)
        await crowd.close()


async def test_only_administrators(office: Office) -> None:
    vendor = await office.crowd.account("Vera", role="vendor")
    boss = await official(office.server, office.crowd, "super_admin")
    for method, path, good in (
        ("GET", "stats", 200), ("GET", "connections", 200), ("DELETE", "connections/x-1", 404),
    ):  # fmt: skip
        for account in (await office.crowd.account("Ada"), vendor):
            answer = await office.call(method, f"{ADMIN}/{path}", token=account.access_token)
            assert (answer.status, answer.code) == (403, "forbidden")
        for token in (office.token, boss.access_token):
            assert (await office.call(method, f"{ADMIN}/{path}", token=token)).status == good
        assert (await office.call(method, f"{ADMIN}/{path}")).status == 401


async def test_stats_of_the_process_that_answers(office: Office) -> None:
    quiet = await office.get("stats")
    assert (quiet["sessions"], quiet["connections"], quiet["namespaces"], quiet["rooms"]) == (0, 0, {}, 0)
    people = [await office.crowd.person(f"P{number}") for number in range(2)]
    await office.crowd.connect(people[0].account, ("/chat",), transports=("polling",))
    await people[0].call("presence:subscribe", {"user_ids": [people[0].account.id]})
    stats = await office.get("stats")
    assert (stats["process"]["route"], stats["process"]["pid"]) == ("w7", os.getpid())
    assert stats["status"] == "ready"
    assert (stats["sessions"], stats["connections"]) == (3, 3)
    assert stats["namespaces"] == {name: 3 if name == "/chat" else 2 for name in NAMESPACES}
    manager = office.server.sio.manager
    assert stats["rooms"] == sum(len(space.rooms) for space in manager._spaces.values())
    assert stats["rooms"] >= 4  # each person's in /chat and /system
    assert (stats["commands_running"], stats["log_ins_running"]) == (1, 0)  # this one
    assert stats["loop_lag_ms"] >= 0
    assert stats["backlog"] == {"connections": 0, "bytes": 0}
    assert stats["redis"]["status"] == "not_configured"
    assert {"parley", "python", "python-socketio", "python-engineio", "aiohttp"} <= set(stats["versions"])


async def test_the_process_is_the_one_of_the_request_ids(office: Office) -> None:
    answer = await office.call("GET", f"{ADMIN}/stats", token=office.token)
    assert answer.headers["X-Request-Id"].startswith(answer.body["process"]["id"])


async def test_redis_is_told_of(settings: Settings, mongo_url: str, redis_url: str) -> None:
    async with serving(replace(settings, redis_url=redis_url), mongo_url) as (server, url), http(url) as call:
        crowd = Crowd(url)
        admin = await official(server, crowd, "admin")
        answer = await call("GET", f"{ADMIN}/stats", token=admin.access_token)
        assert (answer.body["redis"]["status"], answer.body["process"]["route"]) == ("up", "")
        await crowd.close()


async def test_connections_are_listed_in_pages(office: Office) -> None:
    account = await office.crowd.account("Ada")
    await office.crowd.connect(account)
    other = await office.crowd.person("Ben", ("/chat",))
    await office.crowd.connect(account, ("/chat", "/system"), transports=("polling",))
    everybody: list[Json] = []
    cursor: Json = {}
    for left in (1, 1, 0):
        page = await office.get("connections", limit=1, **cursor)
        assert page["process"]["route"] == "w7"
        everybody += page["items"]
        assert (page["next_cursor"] is not None) is bool(left)
        cursor = {"cursor": page["next_cursor"]}
    assert (await office.get("connections"))["items"] == everybody
    assert [(one["user_id"], one["transport"], one["namespaces"]) for one in everybody] == [
        (account.id, "websocket", sorted(NAMESPACES)), (other.account.id, "websocket", ["/chat"]),
        (account.id, "polling", ["/chat", "/system"]),
    ]  # fmt: skip
    times = [one["connected_at"] for one in everybody]
    assert times == sorted(times)
    assert {one["waiting_bytes"] for one in everybody} == {0}
    mine = await office.get("connections", user_id=account.id, limit=1)
    assert mine["items"] == everybody[:1]
    rest = await office.get("connections", user_id=account.id, limit=1, cursor=mine["next_cursor"])
    assert (rest["items"], rest["next_cursor"]) == (everybody[2:], None)
    assert (await office.get("connections", user_id="u_nobody"))["items"] == []


async def test_nothing_listed_lets_one_speak_for_the_client(office: Office) -> None:
    """Whoever knows an Engine.IO id can poll for its session."""
    await office.crowd.person("Ada")
    (sid,) = office.server.sio.eio.sockets
    assert sid.partition(".")[0] not in str(await office.get("connections"))


async def test_a_cursor_that_no_list_gave(office: Office) -> None:
    for cursor in ("x", "bm90IGFuIGludA", "W10"):
        answer = await office.call("GET", f"{ADMIN}/connections", token=office.token, params={"cursor": cursor})
        assert (answer.status, answer.code) == (422, "validation_failed")


async def cut(person: Person) -> asyncio.Event:
    gone = asyncio.Event()
    person._socket.on("disconnect", lambda reason: gone.set(), namespace="/chat")
    return gone


async def test_a_connection_is_closed_and_the_others_stay(office: Office) -> None:
    ada, ben = await office.crowd.person("Ada"), await office.crowd.person("Ben")
    gone, stays = await cut(ada), await cut(ben)
    (listed,) = (await office.get("connections", user_id=ada.account.id))["items"]
    assert (await office.delete(listed["id"])).status == 204
    await asyncio.wait_for(gone.wait(), PATIENCE_S)
    await until(lambda: len(office.server.connections) == 1)
    assert not stays.is_set()
    assert (await ben.call("chat:list", {}))["items"] == []
    again = await office.delete(listed["id"])
    assert (again.status, again.code) == (404, "not_found")
    assert "w7" in again.body["error"]["message"]


async def test_a_connection_of_another_process_is_not_found(office: Office) -> None:
    await office.crowd.person("Ada")
    for connection_id in ("00000000-1", "1", "-", "x-y", f"{'9' * 60}"):
        assert (await office.delete(connection_id)).code == "not_found"


def test_there_is_no_route_to_it_without_a_login() -> None:
    """The whole folder: what is added later is protected too."""
    admin = [endpoint for (_, path), endpoint in ENDPOINTS.items() if path.startswith(ADMIN)]
    assert len(admin) >= 3
    for endpoint in admin:
        assert endpoint.operation.needs_login
        assert "forbidden" in endpoint.operation.own_errors
