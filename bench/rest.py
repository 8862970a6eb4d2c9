"""Accounts over REST, and the patience that a good client has with a server.

Nothing here imports the server. `bench.clients` adds the live connection.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import aiohttp

Json = dict[str, Any]

PATIENCE_S = 600.0  # registering a crowd under the default limits takes minutes, and that is the limits working


class CommandError(Exception):
    """The error object of a refused command, request or connection."""

    def __init__(self, error: Json) -> None:
        self.code = str(error.get("code", "unknown"))
        self.message = str(error.get("message", ""))
        self.details: Any = error.get("details")
        self.retry_after_ms: int | None = error.get("retry_after_ms")
        super().__init__(f"{self.code}: {self.message} {self.details or ''}".rstrip())


class Patience:
    """Waits as long as the server asks when it is too busy, up to a total; any other error is raised at once."""

    def __init__(self) -> None:
        self._ends_at = time.monotonic() + PATIENCE_S

    def lasts(self, pause_s: float = 0) -> bool:
        return time.monotonic() + pause_s < self._ends_at

    async def wait(self, error: CommandError) -> None:
        pause_s = (error.retry_after_ms or 1000) / 1000
        if error.code not in ("rate_limited", "over_capacity") or not self.lasts(pause_s):
            raise error
        await asyncio.sleep(pause_s)


@dataclass(slots=True)
class Account:
    """A user, and the tokens of one session."""

    user: Json
    tokens: Json

    @property
    def id(self) -> str:
        return str(self.user["id"])

    @property
    def access_token(self) -> str:
        return str(self.tokens["access_token"])


class Rest:
    """The HTTP side for all accounts. It keeps no cookies, so no account's cookie rides on another's request."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        timeout = aiohttp.ClientTimeout(total=120)
        self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout)

    async def __aenter__(self) -> Rest:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def request(self, method: str, path: str, body: Json | None = None, token: str | None = None) -> Any:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        patience = Patience()
        while True:
            async with self._session.request(method, self.url + path, json=body, headers=headers) as response:
                answer = await response.json() if response.content_type == "application/json" else None
                if response.status < 400:
                    return answer
                unreadable = {"code": f"http_{response.status}", "message": response.reason or ""}
                error = CommandError((answer or {}).get("error", unreadable))
            await patience.wait(error)

    async def register(self, email: str, password: str, name: str, **fields: Any) -> Account:
        fields |= {"email": email, "password": password, "name": name}
        return Account(**await self.request("POST", "/api/v1/auth/register", fields))

    async def login(self, email: str, password: str) -> Account:
        return Account(**await self.request("POST", "/api/v1/auth/login", {"email": email, "password": password}))

    async def register_or_login(self, email: str, password: str, name: str, **fields: Any) -> Account:
        try:  # in this order, because a failed log-in counts towards a lockout and a taken address does not
            return await self.register(email, password, name, **fields)
        except CommandError as error:
            if error.code != "email_taken":
                raise
            return await self.login(email, password)

    async def refresh(self, account: Account) -> None:
        body = {"refresh_token": account.tokens["refresh_token"]}
        account.tokens = (await self.request("POST", "/api/v1/auth/refresh", body))["tokens"]
