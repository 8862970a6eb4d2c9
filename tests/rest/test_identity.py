"""Accounts, tokens, cookies and sessions over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from security import csrf
from settings import Settings
from tests.rest.client import Http, http
from tests.support import PASSWORD, serving

AUTH = "/api/v1/auth"


@pytest.fixture
async def call(url: str) -> AsyncIterator[Http]:
    async with http(url) as client:
        yield client


async def register(call: Http, email: str = "ada@example.test", **fields: Any) -> Any:
    answer = await call("POST", f"{AUTH}/register", {"email": email, "password": PASSWORD, "name": "Ada", **fields})
    assert answer.status == 201, answer.body
    return answer.body


async def test_register_and_me(call: Http) -> None:
    made = await register(call, role="vendor", phone="+41791234567", business="Ada & Co")
    assert made["tokens"]["token_type"] == "Bearer"
    assert made["tokens"]["expires_in"] == 900
    me = await call("GET", f"{AUTH}/me", token=made["tokens"]["access_token"])
    assert me.body == made["user"]
    assert set(me.body) == {"id", "email", "name", "role", "phone", "business", "email_verified", "created_at"}
    assert me.body["role"] == "vendor"


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"email": "ADA@example.test"}, 409, "email_taken"),
        ({"email": "no at sign"}, 422, "validation_failed"),
        ({"email": "b@example.test", "password": "short"}, 422, "validation_failed"),
        ({"email": "b@example.test", "password": "password1"}, 422, "validation_failed"),
        ({"email": "b@example.test", "password": "aaaaaaaaaaaa"}, 422, "validation_failed"),
        ({"email": "b@example.test", "role": "admin"}, 422, "validation_failed"),
        ({"email": "b@example.test", "name": "   "}, 422, "validation_failed"),
        ({"email": "b@example.test", "phone": "0791234567"}, 422, "validation_failed"),
        ({"email": "b@example.test", "surprise": 1}, 422, "validation_failed"),
    ],
)
async def test_register_refuses(call: Http, fields: dict[str, Any], status: int, code: str) -> None:
    await register(call)
    answer = await call("POST", f"{AUTH}/register", {"password": PASSWORD, "name": "Ada", **fields})
    assert (answer.status, answer.code) == (status, code)


async def test_two_at_once_with_one_address_make_one_account(call: Http) -> None:
    body = {"email": "ada@example.test", "password": PASSWORD, "name": "Ada"}
    answers = await asyncio.gather(*[call("POST", f"{AUTH}/register", body) for _ in range(5)])
    assert sorted(answer.status for answer in answers) == [201, 409, 409, 409, 409]


async def test_log_in(call: Http) -> None:
    made = await register(call)
    device = {"id": "phone-1", "name": "Ada's phone", "platform": "ios"}
    answer = await call("POST", f"{AUTH}/login", {"email": " Ada@Example.test", "password": PASSWORD, "device": device})
    assert answer.status == 200
    assert answer.body["user"] == made["user"]
    sessions = (await call("GET", f"{AUTH}/sessions", token=answer.body["tokens"]["access_token"])).body["items"]
    assert [session["device"]["id"] for session in sessions] == ["phone-1", None]
    assert [session["current"] for session in sessions] == [True, False]


async def test_wrong_password_and_unknown_account_look_alike(call: Http) -> None:
    await register(call)
    wrong = await call("POST", f"{AUTH}/login", {"email": "ada@example.test", "password": "not it at all"})
    unknown = await call("POST", f"{AUTH}/login", {"email": "eve@example.test", "password": "not it at all"})
    assert (wrong.status, wrong.code) == (unknown.status, unknown.code) == (401, "invalid_credentials")
    assert wrong.body["error"]["message"] == unknown.body["error"]["message"]


async def test_failed_log_ins_are_slowed_and_a_success_forgives(call: Http) -> None:
    await register(call)
    bad = {"email": "ada@example.test", "password": "not it at all"}
    for _ in range(5):
        assert (await call("POST", f"{AUTH}/login", bad)).code == "invalid_credentials"
    locked = await call("POST", f"{AUTH}/login", {**bad, "password": PASSWORD})
    assert (locked.status, locked.code) == (423, "account_locked")
    wait_ms = locked.body["error"]["retry_after_ms"]
    assert 0 < wait_ms <= 1001
    assert locked.headers["Retry-After"] == "1"
    await asyncio.sleep(wait_ms / 1000)
    assert (await call("POST", f"{AUTH}/login", {**bad, "password": PASSWORD})).status == 200
    assert (await call("POST", f"{AUTH}/login", bad)).code == "invalid_credentials"


async def test_refresh_rotates(call: Http) -> None:
    first = (await register(call))["tokens"]
    second = (await call("POST", f"{AUTH}/refresh", {"refresh_token": first["refresh_token"]})).body["tokens"]
    assert second["refresh_token"] != first["refresh_token"]
    assert (await call("GET", f"{AUTH}/me", token=second["access_token"])).status == 200


async def test_a_made_up_refresh_token_ends_nothing(call: Http) -> None:
    tokens = (await register(call))["tokens"]
    session_id = tokens["refresh_token"].partition(".")[0]
    forged = await call("POST", f"{AUTH}/refresh", {"refresh_token": f"{session_id}.made-up"})
    assert (forged.status, forged.code) == (401, "token_invalid")
    assert (await call("GET", f"{AUTH}/me", token=tokens["access_token"])).status == 200


async def test_log_out_ends_this_session_only(call: Http) -> None:
    first = (await register(call))["tokens"]
    login = {"email": "ada@example.test", "password": PASSWORD}
    second = (await call("POST", f"{AUTH}/login", login)).body["tokens"]
    assert (await call("POST", f"{AUTH}/logout", token=first["access_token"])).status == 204
    assert (await call("GET", f"{AUTH}/me", token=first["access_token"])).code == "session_revoked"
    assert (await call("GET", f"{AUTH}/me", token=second["access_token"])).status == 200


async def test_sessions_of_others_are_not_found(call: Http) -> None:
    ada = (await register(call))["tokens"]["access_token"]
    ben = (await register(call, "ben@example.test"))["tokens"]["access_token"]
    session = (await call("GET", f"{AUTH}/sessions", token=ben)).body["items"][0]["id"]
    assert (await call("DELETE", f"{AUTH}/sessions/{session}", token=ada)).status == 404
    assert (await call("DELETE", f"{AUTH}/sessions/{session}", token=ben)).status == 204
    assert (await call("GET", f"{AUTH}/me", token=ben)).code == "session_revoked"


async def test_profile_changes_reach_conversations(call: Http) -> None:
    ada, ben = await register(call), await register(call, "ben@example.test")
    token = ada["tokens"]["access_token"]
    payload = {"type": "direct", "participant_ids": [ben["user"]["id"]], "client_id": "c1"}
    made = (await call("POST", "/api/v1/chat/conversations", payload, token)).body
    changed = await call("PATCH", f"{AUTH}/me", {"name": "Ada L.", "phone": None}, token)
    assert changed.body["name"] == "Ada L."
    seen = (await call("GET", f"/api/v1/chat/conversations/{made['id']}", token=ben["tokens"]["access_token"])).body
    assert {person["name"] for person in seen["participants"]} == {"Ada L.", "Ada"}


async def test_changing_the_password(call: Http) -> None:
    tokens = (await register(call))["tokens"]
    login = {"email": "ada@example.test", "password": PASSWORD}
    other = (await call("POST", f"{AUTH}/login", login)).body["tokens"]
    body = {"current_password": "not it at all", "new_password": "another fine password"}
    path = f"{AUTH}/password/change"
    assert (await call("POST", path, body, tokens["access_token"])).code == "invalid_credentials"
    body["current_password"] = PASSWORD
    assert (await call("POST", path, body, tokens["access_token"])).status == 204
    assert (await call("GET", f"{AUTH}/me", token=other["access_token"])).code == "session_revoked"
    assert (await call("GET", f"{AUTH}/me", token=tokens["access_token"])).status == 200
    assert (await call("POST", f"{AUTH}/login", login)).code == "invalid_credentials"


@pytest.mark.parametrize(
    ("changes", "auth", "csrf_cookie"),
    [
        ({}, "auth_token", "csrf_token"),
        ({"auth_cookie": "access_token"}, "access_token", "csrf_token"),
        ({"env": "production"}, "__Host-auth_token", "__Host-csrf_token"),
        ({"env": "production", "auth_cookie": "access_token"}, "__Host-access_token", "__Host-csrf_token"),
    ],
)
async def test_a_cookie_authenticates_and_changes_need_the_csrf_token(
    settings: Settings, mongo_url: str, changes: dict[str, Any], auth: str, csrf_cookie: str
) -> None:
    async with serving(replace(settings, **changes), mongo_url) as (_, url), http(url) as call:
        made = await call("POST", f"{AUTH}/register", {"email": "a@example.test", "password": PASSWORD, "name": "Ada"})
        assert set(made.cookies) == {auth, csrf_cookie}
        for name, cookie in made.cookies.items():
            assert (cookie["path"], cookie["samesite"], cookie["domain"]) == ("/", "Lax", "")
            assert bool(cookie["secure"]) is ("env" in changes)
            assert bool(cookie["httponly"]) is (name == auth)
        token = made.cookies[auth].value
        headers = {"Cookie": f"{auth}={token}"}
        assert (await call("GET", f"{AUTH}/me", headers=headers)).status == 200
        bare = await call("PATCH", f"{AUTH}/me", {"name": "Eve"}, headers=headers)
        assert (bare.status, bare.code) == (403, "csrf_failed")
        wrong = await call("PATCH", f"{AUTH}/me", {"name": "Eve"}, headers={**headers, csrf.HEADER: "guess"})
        assert wrong.code == "csrf_failed"
        headers[csrf.HEADER] = made.cookies[csrf_cookie].value
        assert (await call("PATCH", f"{AUTH}/me", {"name": "Ada L."}, headers=headers)).status == 200
        for other in {"auth_token", "access_token", "__Host-auth_token", "__Host-access_token"} - {auth}:
            assert (await call("GET", f"{AUTH}/me", headers={"Cookie": f"{other}={token}"})).code == "unauthenticated"
        scheme = (await call("GET", "/docs/openapi.json")).body["components"]["securitySchemes"]["cookie"]
        assert scheme["name"] == auth
        gone = await call("POST", f"{AUTH}/logout", headers=headers)
        assert gone.status == 204
        for name in (auth, csrf_cookie):
            assert (gone.cookies[name].value, gone.cookies[name]["max-age"]) == ("", "0")
            assert (gone.cookies[name]["path"], bool(gone.cookies[name]["secure"])) == ("/", "env" in changes)


async def test_sessions_have_a_limit_and_the_oldest_goes(call: Http, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.sessions.actions.SESSIONS_PER_USER_MAX", 2)
    oldest = (await register(call))["tokens"]["access_token"]
    login = {"email": "ada@example.test", "password": PASSWORD}
    for _ in range(2):
        newest = (await call("POST", f"{AUTH}/login", login)).body["tokens"]["access_token"]
    assert (await call("GET", f"{AUTH}/me", token=oldest)).code == "session_revoked"
    assert len((await call("GET", f"{AUTH}/sessions", token=newest)).body["items"]) == 2
