"""Searches of one user go one after the other, and a few of all users at once: they read where everybody writes."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from models.context import Context
from models.messages.search import UNDER_WAY_MAX, Search
from tests.rest.client import http
from tests.support import Crowd, until


async def test_one_user_searches_one_at_a_time_and_few_wait(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    ada, ben, conversation = await crowd.pair()
    for person in (ada, ben):
        sent = {"conversation_id": conversation["id"], "client_id": "m", "text": "forty crates"}
        await person.call("chat:send", sent)
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()
    door, original = asyncio.Event(), Search._search

    async def search(self: Search, context: Context, payload: Any) -> Any:
        running[context.user_id] += 1
        most[context.user_id] = max(most[context.user_id], running[context.user_id])
        await door.wait()
        try:
            return await original(self, context, payload)
        finally:
            running[context.user_id] -= 1

    monkeypatch.setattr(Search, "_search", search)
    async with http(crowd.url) as call:

        async def ask(token: str) -> tuple[int, str]:
            answer = await call("GET", "/api/v1/chat/search?query=crates", token=token)
            return answer.status, answer.code

        asked = [asyncio.create_task(ask(ada.account.access_token)) for _ in range(UNDER_WAY_MAX + 5)]
        await until(lambda: sum(task.done() for task in asked) == 5)
        other = asyncio.create_task(ask(ben.account.access_token))
        await until(lambda: running == {ada.account.id: 1, ben.account.id: 1})
        door.set()
        outcomes = Counter(await asyncio.gather(*asked))
        assert await other == (200, "")
    assert outcomes == {(200, ""): UNDER_WAY_MAX, (429, "rate_limited"): 5}
    assert most == {ada.account.id: 1, ben.account.id: 1}
