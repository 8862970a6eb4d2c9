"""A small HTTP client for REST tests: sends JSON, keeps no cookies, and returns status, body and headers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp


@dataclass
class Answer:
    status: int
    body: Any
    headers: Any
    cookies: Any

    @property
    def code(self) -> str:
        """The error code, or an empty string."""
        return str(self.body["error"]["code"]) if isinstance(self.body, dict) and "error" in self.body else ""


class Http:
    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._session = session

    async def __call__(self, method: str, path: str, body: Any = None, token: str = "", **options: Any) -> Answer:
        headers = dict(options.pop("headers", {}))
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if body is not None:
            options["json"] = body
        async with self._session.request(method, self._url + path, headers=headers, **options) as response:
            is_json = response.content_type == "application/json"
            return Answer(
                response.status,
                await response.json() if is_json else await response.text(),
                response.headers,
                response.cookies,
            )


@asynccontextmanager
async def http(url: str) -> AsyncIterator[Http]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield Http(url, session)
