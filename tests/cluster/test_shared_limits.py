"""What is counted across processes: one count for all of them, whatever the door."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from contract.finance import PAY
from realtime.pace import MEMBER, STRANGER, Pace, Paces
from server import Server
from settings import Settings
from tests.rest.client import http
from tests.support import Crowd, Raw, serving


@pytest.fixture
async def two(settings: Settings, mongo_url: str, redis_url: str) -> AsyncIterator[list[tuple[Server, str]]]:
    shared = replace(settings, redis_url=redis_url, rate_limit_scale=1)
    async with serving(shared, mongo_url) as a, serving(shared, mongo_url) as b:
        yield [a, b]


async def test_money_by_socket_here_and_by_rest_there_is_one_count(two: list[tuple[Server, str]]) -> None:
    (_, url), (_, other_url) = two
    crowd = Crowd(url)
    account = await crowd.account("Ada")
    payload = {"client_id": "p1", "amount": {"amount": 1, "currency": "USD"}, "method": "console"}
    async with Raw(url) as raw, http(other_url) as call:
        await raw.connect("/finance", account.access_token)
        codes = []
        for _ in range(PAY.limit.burst):
            answer = await raw.ask("/finance", "finance:pay", payload)
            codes.append(answer.get("error", {}).get("code"))
        assert "rate_limited" not in codes
        refused = await call("POST", "/api/v1/finance/payments", payload, account.access_token)
        assert refused.code == "rate_limited"
        assert (await raw.ask("/finance", "finance:pay", payload))["error"]["code"] == "rate_limited"
    await crowd.close()


async def test_refusals_of_it_close_a_connection_as_others_do(two: list[tuple[Server, str]]) -> None:
    server, url = two[0]
    crowd = Crowd(url)
    account = await crowd.account("Eve")
    async with Raw(url) as raw:
        await raw.connect("/chat", account.access_token)
        assert server.executor.limits.is_shared("chat:search")
        server.sio.eio._paces = (STRANGER, Paces(MEMBER.packets, Pace(0.1, 50)))
        for _ in range(51):
            await raw.send('42/chat,7["chat:search",{"query":3}]')
        frames = 0
        while (frame := await raw.receive()) is not None:
            assert frame.startswith("43/chat,7")
            frames += 1
        assert frames == 50
    await crowd.close()
