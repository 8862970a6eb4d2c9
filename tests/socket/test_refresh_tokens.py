"""Refresh tokens: each is traded once, and a client that asks twice at once is not taken for a thief."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from models.context import now
from models.sessions.actions import REPEATED_WITHIN
from server import Server
from settings import Settings
from tests.rest.client import Answer, Http, http
from tests.socket.test_login import enter, revoked
from tests.support import NAMESPACES, PASSWORD, SECRET, Crowd, Raw, serving

PREVIOUS = "the secret before, at least 32 bytes long too"


async def trade(call: Http, refresh_token: str) -> Answer:
    return await call("POST", "/api/v1/auth/refresh", {"refresh_token": refresh_token})


async def works(call: Http, access_token: str) -> bool:
    return (await call("GET", "/api/v1/auth/me", token=access_token)).status == 200


async def age(server: Server, refresh_token: str, by: timedelta) -> None:
    """Moves the clock of the session, rather than waiting."""
    session_id = refresh_token.partition(".")[0]
    await server.database.collection("sessions").update_one(
        {"_id": session_id}, {"$set": {"last_used_at": now() - by}}
    )  # fmt: skip


@pytest.mark.parametrize("count", [2, 8])
async def test_tabs_that_refresh_at_once_get_the_same_token(crowd: Crowd, url: str, count: int) -> None:
    async with http(url) as call:
        account = await crowd.account()
        old = account.tokens["refresh_token"]
        answers = await asyncio.gather(*(trade(call, old) for _ in range(count)))
        assert [answer.status for answer in answers] == [200] * count
        tokens = [answer.body["tokens"] for answer in answers]
        assert len({one["refresh_token"] for one in tokens}) == 1
        assert tokens[0]["refresh_token"] != old
        for one in tokens:
            assert await works(call, one["access_token"])
        assert (await trade(call, tokens[0]["refresh_token"])).status == 200


async def test_a_lost_answer_is_given_again(crowd: Crowd, url: str, server: Server) -> None:
    async with http(url) as call:
        account = await crowd.account()
        old = account.tokens["refresh_token"]
        first = (await trade(call, old)).body["tokens"]
        await age(server, old, REPEATED_WITHIN - timedelta(seconds=5))
        again = (await trade(call, old)).body["tokens"]
        assert again["refresh_token"] == first["refresh_token"]


async def test_after_a_while_it_ends_the_session(crowd: Crowd, url: str, server: Server) -> None:
    account = await crowd.account()
    other = await crowd.rest.login(account.user["email"], PASSWORD)
    old = account.tokens["refresh_token"]
    async with Raw(url) as raw, Raw(url) as apart, http(url) as call:
        await enter(raw, account)
        await enter(apart, other, "/chat")
        fresh = (await trade(call, old)).body["tokens"]
        await age(server, old, REPEATED_WITHIN + timedelta(seconds=1))
        reused = await trade(call, old)
        assert (reused.status, reused.code) == (401, "refresh_reused")
        await revoked(raw, "refresh_reused", *NAMESPACES)
        assert (await trade(call, fresh["refresh_token"])).code == "session_revoked"
        assert not await works(call, fresh["access_token"])
        assert (await trade(call, old)).status == 401
        assert (await apart.ask("/chat", "chat:list", {}))["ok"]


async def test_once_its_successor_was_used_it_ends_the_session(crowd: Crowd, url: str) -> None:
    async with http(url) as call:
        account = await crowd.account()
        first = account.tokens["refresh_token"]
        second = (await trade(call, first)).body["tokens"]["refresh_token"]
        third = (await trade(call, second)).body["tokens"]
        assert (await trade(call, second)).body["tokens"]["refresh_token"] == third["refresh_token"]
        assert (await trade(call, first)).code == "refresh_reused"
        assert not await works(call, third["access_token"])
        for spent in (first, second, third["refresh_token"]):
            assert (await trade(call, spent)).status == 401


async def test_a_revoked_session_gives_nothing_again(crowd: Crowd, url: str) -> None:
    async with http(url) as call:
        account = await crowd.account()
        old = account.tokens["refresh_token"]
        fresh = (await trade(call, old)).body["tokens"]
        assert (await call("POST", "/api/v1/auth/logout", token=fresh["access_token"])).status == 204
        assert (await trade(call, old)).status == 401
        assert (await trade(call, fresh["refresh_token"])).code == "session_revoked"


async def test_while_a_secret_is_replaced(settings: Settings, mongo_url: str) -> None:
    """Two processes, of which each issues by another secret, and knows the other's."""
    swapped: dict[str, Any] = {"jwt_secret": PREVIOUS, "jwt_secret_previous": SECRET}
    one = replace(settings, jwt_secret_previous=PREVIOUS)
    async with serving(one, mongo_url) as (_, url), serving(replace(settings, **swapped), mongo_url) as (_, other_url):
        crowd = Crowd(url)
        async with http(url) as call, http(other_url) as other:
            for _ in range(5):
                old = (await crowd.account()).tokens["refresh_token"]
                answers = await asyncio.gather(*(trade(via, old) for via in (call, other, call, other)))
                assert [answer.status for answer in answers] == [200] * 4, answers
                assert len({answer.body["tokens"]["refresh_token"] for answer in answers}) == 1
        await crowd.close()
