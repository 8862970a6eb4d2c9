"""An account that an operator closes: its connections, log-ins and tokens end, and open again only with it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from bench.clients import CommandError
from server import Server
from tests.rest.client import http
from tests.rest.test_admin import official
from tests.support import PASSWORD, ROOT, Crowd, Process, Raw

Json = dict[str, Any]


async def end_of(raw: Raw) -> tuple[str, bool]:
    """(why, whether the server closed then)."""
    frame = await raw.receive()
    while frame is not None and "auth:revoked" not in frame:
        frame = await raw.receive()
    assert frame is not None, "closed without a word"
    reason = str(json.loads(frame.partition(",")[2])[1]["reason"])
    while frame is not None:
        frame = await raw.receive()
    return reason, True


async def test_everything_of_it_ends_at_once(server: Server, crowd: Crowd, url: str) -> None:
    admin = (await official(server, crowd, "admin")).access_token
    ada = await crowd.account()
    elsewhere = await crowd.rest.login(ada.user["email"], PASSWORD)
    path = f"/api/v1/admin/users/{ada.id}/disabled"
    async with Raw(url) as one, Raw(url) as other, http(url) as call:
        await one.connect("/chat", ada.access_token)
        await other.connect("/offers", elsewhere.access_token)
        answer = await call("PUT", path, {"disabled": True, "reason": "fraud"}, admin)
        assert answer.body == {"user_id": ada.id, "disabled": True}
        assert await end_of(one) == ("disabled", True)
        assert await end_of(other) == ("disabled", True)
        assert (await call("GET", "/api/v1/auth/me", token=ada.access_token)).code == "session_revoked"
        refreshed = await call("POST", "/api/v1/auth/refresh", {"refresh_token": ada.tokens["refresh_token"]})
        assert refreshed.code == "session_revoked"
        with pytest.raises(CommandError) as caught:
            await crowd.rest.login(ada.user["email"], PASSWORD)
        assert caught.value.code == "forbidden"
        assert (await call("PUT", path, {"disabled": False, "reason": "mistake"}, admin)).body["disabled"] is False
    again = await crowd.rest.login(ada.user["email"], PASSWORD)
    await (await crowd.connect(again)).call("chat:list", {})


async def test_who_may_close_whose(server: Server, crowd: Crowd, url: str) -> None:
    boss, admin = await official(server, crowd, "super_admin"), await official(server, crowd, "admin")
    ada = await crowd.account()
    body = {"disabled": True, "reason": "test"}
    async with http(url) as call:
        for whose, token, status in (
            (admin.id, ada.access_token, 403), (ada.id, ada.access_token, 403), (boss.id, admin.access_token, 403),
            (admin.id, admin.access_token, 403), ("u_nobody", admin.access_token, 404), (ada.id, "", 401),
            (admin.id, boss.access_token, 200),
        ):  # fmt: skip
            answer = await call("PUT", f"/api/v1/admin/users/{whose}/disabled", body, token)
            assert answer.status == status, (whose, answer.body)


def test_a_command_beside_a_running_server_closes_it(process: Process) -> None:
    """The server is not told; it looks by itself."""
    import asyncio

    async def scene() -> None:
        crowd = Crowd(process.url)
        ada = await crowd.account()

        def command(*words: str) -> str:
            arguments = [sys.executable, "-m", "models.users", *words]
            done = subprocess.run(arguments, cwd=ROOT, env=process._env, text=True, capture_output=True, check=False)
            assert done.returncode == 0, done.stderr
            return done.stdout

        async with Raw(process.url) as raw:
            await raw.connect("/chat", ada.access_token)
            told = await asyncio.to_thread(command, "disable", ada.user["email"], "--reason", "fraud")
            assert told == f"disabled {ada.user['email']} ({ada.id})\n"
            assert (await end_of(raw))[1]
        with pytest.raises(CommandError):
            await crowd.rest.login(ada.user["email"], PASSWORD)
        await asyncio.to_thread(command, "enable", ada.user["email"])
        await crowd.rest.login(ada.user["email"], PASSWORD)
        await crowd.close()

    asyncio.run(scene())
