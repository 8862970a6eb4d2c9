"""Redis is frozen: who is logged out on one process, or leaves a conversation there, is silent on the other as well.

That is told over Redis, and looked up in the database every few seconds.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench.redis_server import RedisServer
from contract.rooms import presence_room, user_room
from handlers.rechecking import EVERY_S
from server import Server
from settings import Settings
from tests.rest.client import http
from tests.rest.test_disabled import end_of
from tests.support import SECRET, Crowd, Heard, Raw, direct, group, serving, until

SILENT_WITHIN_S = 15.0


class Two:
    """Two servers and a Redis of their own."""

    def __init__(self, servers: list[Server], urls: list[str], redis: RedisServer) -> None:
        self.servers = servers
        self.a, self.b = urls
        self.crowd = Crowd(self.a)
        self._redis = redis

    async def freeze(self) -> None:
        os.kill(self._redis.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self._redis.pid, signal.SIGCONT)


@pytest.fixture
async def two(settings: Settings, mongo_url: str, tmp_path: Path) -> AsyncIterator[Two]:
    redis = RedisServer().start()
    shared = replace(
        settings, redis_url=redis.url, mongo_db=f"t_{secrets.token_hex(6)}", jwt_secret=SECRET, data_dir=tmp_path
    )
    try:
        async with (
            serving(replace(shared, route="a"), mongo_url) as (one, a),
            serving(replace(shared, route="b"), mongo_url) as (other, b),
        ):
            made = Two([one, other], [a, b], redis)
            yield made
            made.thaw()
            await made.crowd.close()
    finally:
        redis.stop()


def test_a_round_and_what_it_takes_are_well_within_the_promise() -> None:
    assert 2 * EVERY_S < SILENT_WITHIN_S


async def test_a_log_out(two: Two) -> None:
    ada = await two.crowd.account()
    async with Raw(two.b) as raw, http(two.a) as call:
        await raw.connect("/chat", ada.access_token)
        await two.freeze()
        assert (await call("POST", "/api/v1/auth/logout", token=ada.access_token)).status == 204
        assert await end_of(raw) == ("revoked", True)


async def test_a_closed_account(two: Two) -> None:
    ada = await two.crowd.account()
    async with Raw(two.b) as raw:
        await raw.connect("/finance", ada.access_token)
        await two.freeze()
        await two.servers[0].domain.users.close(ada.id, True, "test", "fraud")
        assert await end_of(raw) == ("revoked", True)


async def test_who_is_removed_hears_of_no_typing_and_sees_nobody(two: Two) -> None:
    ada = await two.crowd.person("Ada")
    ben = await two.crowd.connect(await two.crowd.account("Ben"), url=two.b)
    cleo = await two.crowd.connect(await two.crowd.account("Cleo"), url=two.b)
    conversation = await group(ada, ben, cleo)
    other = await direct(cleo, ben)  # these two go on seeing each other
    for person in (ben, cleo):
        await person.call("chat:join", {"conversation_id": conversation["id"]})
        await person.call("presence:subscribe", {"user_ids": [ada.account.id, ben.account.id, cleo.account.id]})
    await ada.call("presence:subscribe", {"user_ids": [ben.account.id, cleo.account.id]})
    await ben.call("chat:join", {"conversation_id": other["id"]})
    await two.freeze()
    await ada.call("chat:members", {"conversation_id": conversation["id"], "remove": [ben.account.id]})
    (server_b,) = [server for server in two.servers if server.connections.of_user(ben.account.id)]
    (connection,) = server_b.connections.of_user(ben.account.id)
    await until(lambda: list(connection.looking_at) == [other["id"]])
    members = server_b.sio.manager.in_rooms("/presence", [presence_room(ada.account.id)])
    await until(lambda: connection.sids["/presence"] not in {member.sid for member in members})
    heard, heard_cleo = Heard(ben, "typing:start", "user:status_change"), Heard(cleo, "typing:start")
    dora = await two.crowd.connect(cleo.account, url=two.b)
    await dora.call("typing:start", {"conversation_id": conversation["id"]}, "/typing")
    await dora.call("typing:start", {"conversation_id": other["id"]}, "/typing")
    await heard_cleo.wait("typing:start", conversation_id=conversation["id"])
    await heard.wait("typing:start", conversation_id=other["id"])
    assert [payload["conversation_id"] for _, payload in heard.all] == [other["id"]]
    # Whom they still share a conversation with they still see.
    watched = server_b.sio.manager.in_rooms("/presence", [presence_room(cleo.account.id)])
    assert connection.sids["/presence"] in {member.sid for member in watched}


async def test_whose_message_comes_after_the_removal_does_not_reach_them(two: Two) -> None:
    """Who is in a conversation is remembered for seconds only."""
    ada = await two.crowd.person("Ada")
    ben = await two.crowd.connect(await two.crowd.account("Ben"), url=two.b)
    cleo = await two.crowd.connect(await two.crowd.account("Cleo"), url=two.b)
    conversation = await group(ada, ben, cleo)
    send = {"conversation_id": conversation["id"], "text": "for members"}
    await cleo.call("chat:send", {**send, "client_id": "before"})
    await two.freeze()
    await ada.call("chat:members", {"conversation_id": conversation["id"], "remove": [ben.account.id]})
    heard = Heard(ben, "chat:message", "chat:head")
    (server_b,) = [server for server in two.servers if server.connections.of_user(ben.account.id)]
    while user_room(ben.account.id) in await server_b.domain.conversations.audience(conversation["id"]):
        await asyncio.sleep(0.1)
    await cleo.call("chat:send", {**send, "client_id": "after"})
    await ben.call("chat:list", {})  # an event of that message would have come before this answer
    assert heard.all == []
