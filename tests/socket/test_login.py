"""A connection's login: who is let in, how it is renewed, and how it ends everywhere at once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from bench.clients import Account, CommandError
from contract.registry import NAMESPACES
from security.secret import make_key
from security.tokens import Tokens
from server import Server
from settings import Settings
from tests.clock import Clock
from tests.socket.protocol import refusal
from tests.support import PASSWORD, PATIENCE_S, SECRET, Crowd, Raw, serving, until

every_namespace = pytest.mark.parametrize("namespace", NAMESPACES)
OLD_KEY = make_key("another secret that is 32 bytes long")


@contextlib.asynccontextmanager
async def crowd_on(settings: Settings, mongo_url: str) -> AsyncIterator[Crowd]:
    async with serving(settings, mongo_url) as (_, url):
        crowd = Crowd(url)
        try:
            yield crowd
        finally:
            await crowd.close()


async def enter(raw: Raw, account: Account, *namespaces: str) -> None:
    for namespace in namespaces or NAMESPACES:
        assert (await raw.connect(namespace, account.access_token)).startswith(f"40{namespace},")


async def told(raw: Raw, event: str, *namespaces: str) -> list[dict[str, Any]]:
    """The payloads of the next event of this name on each of the namespaces."""
    payloads: dict[str, dict[str, Any]] = {}
    async with asyncio.timeout(PATIENCE_S):
        while len(payloads) < len(namespaces):
            frame = await raw.receive(PATIENCE_S)
            assert frame is not None, f"closed without {event}"
            namespace, _, body = frame.removeprefix("42").partition(",")
            if frame.startswith("42") and json.loads(body)[0] == event:
                assert namespace not in payloads, f"{event} twice on {namespace}"
                payloads[namespace] = json.loads(body)[1]
    assert set(payloads) == set(namespaces)
    return list(payloads.values())


async def revoked(raw: Raw, reason: str, *namespaces: str) -> None:
    """It hears why, on each of its namespaces, and is closed next."""
    for payload in await told(raw, "auth:revoked", *namespaces):
        assert payload == {"reason": reason}
    async with asyncio.timeout(PATIENCE_S):
        while (frame := await raw.receive()) is not None:
            assert frame.startswith("41"), f"after auth:revoked came {frame}"


async def code_of(crowd: Crowd, method: str, path: str, body: dict[str, Any] | None = None, token: str = "") -> str:
    """The error code of a REST request, or an empty string."""
    try:
        await crowd.rest.request(method, f"/api/v1/auth{path}", body, token or None)
    except CommandError as error:
        return error.code
    return ""


def tokens(account: Account) -> dict[str, tuple[Any, str]]:
    key = make_key(SECRET)
    own = (account.id, "s_none", "user")
    return {
        "nothing": (None, "unauthenticated"), "no token": ({}, "unauthenticated"),
        "another field": ({"Token": account.access_token}, "unauthenticated"),
        "a number": ({"token": 5}, "unauthenticated"), "null": ({"token": None}, "unauthenticated"),
        "empty": ({"token": ""}, "unauthenticated"), "a list": ({"token": [account.access_token]}, "unauthenticated"),
        "garbage": ({"token": "garbage"}, "token_invalid"), "dots": ({"token": "a.b.c"}, "token_invalid"),
        "long": ({"token": "x" * 100_000}, "token_invalid"), "odd": ({"token": "é\x00"}, "token_invalid"),
        "cut": ({"token": account.access_token[:-1]}, "token_invalid"),
        "unsigned": ({"token": account.access_token.rpartition(".")[0] + "."}, "token_invalid"),
        "of another secret": ({"token": Tokens([OLD_KEY], 60).issue(*own)}, "token_invalid"),
        "of another role": ({"token": Tokens([key], 60).issue(account.id, "s_none", "root")}, "token_invalid"),
        "a refresh token": ({"token": account.tokens["refresh_token"]}, "token_invalid"),
        "expired": ({"token": Tokens([key], 60).issue(*own, now=time.time() - 61)}, "token_expired"),
        "of no session": ({"token": Tokens([key], 60).issue(*own)}, "session_revoked"),
    }  # fmt: skip


@every_namespace
async def test_a_refused_connect_gets_the_error_object(crowd: Crowd, url: str, namespace: str) -> None:
    account = await crowd.account()
    async with Raw(url) as raw:
        for what, (auth, code) in tokens(account).items():
            await raw.send(f"40{namespace}," + ("" if auth is None else json.dumps(auth)))
            error = refusal(await raw.receive(), namespace)
            assert error["code"] == code, what
            assert error["request_id"]
            assert error["retryable"] is (code == "token_expired")
        await enter(raw, account, namespace)  # none of it stands in the way of a good one


async def test_bearer_and_device_id_are_understood(crowd: Crowd, url: str) -> None:
    account = await crowd.account()
    async with Raw(url) as raw:
        await raw.send("40/chat," + json.dumps({"token": f"Bearer {account.access_token}", "device_id": "phone"}))
        assert (await raw.receive() or "").startswith("40/chat,")


async def test_one_connection_speaks_for_one_user(crowd: Crowd, url: str) -> None:
    ada, ben = await crowd.account("Ada"), await crowd.account("Ben")
    async with Raw(url) as raw:
        await enter(raw, ada, "/chat")
        error = refusal(await raw.connect("/typing", ben.access_token), "/typing")
        assert error["code"] == "forbidden"
        await enter(raw, ada, "/typing")


async def test_expiring_is_told_a_minute_ahead(crowd: Crowd, url: str, clock: Clock) -> None:
    async with Raw(url) as raw:
        account = await crowd.account()
        await enter(raw, account)
        clock.move(account.tokens["expires_in"] - 60)
        for payload in await told(raw, "auth:expiring", *NAMESPACES):
            assert 30_000 < payload["expires_in_ms"] <= 60_000


async def test_expiring_is_told_at_once_when_less_is_left(settings: Settings, mongo_url: str) -> None:
    async with crowd_on(replace(settings, access_token_ttl_s=30), mongo_url) as crowd, Raw(crowd.url) as raw:
        await enter(raw, await crowd.account(), "/chat")
        (payload,) = await told(raw, "auth:expiring", "/chat")
        assert 0 < payload["expires_in_ms"] <= 30_000


@every_namespace
async def test_refresh_in_place_outlives_the_first_token(
    server: Server, crowd: Crowd, clock: Clock, namespace: str
) -> None:
    """Renewed on any one namespace, the whole connection goes on, and is not told again of the token it had."""
    async with Raw(crowd.url) as raw:
        account = await crowd.account()
        await enter(raw, account)
        longer = Tokens([make_key(SECRET)], 3_600)
        first = longer.verify(account.access_token)
        fresh = longer.issue(account.id, first.session_id, "user")
        answer = await raw.ask(namespace, "auth:refresh", {"token": fresh})
        assert answer["ok"], answer
        assert 3_500_000 < answer["data"]["expires_in_ms"] <= 3_600_000
        clock.move(first.expires_at - clock.time() + 1)
        await until(lambda: server.connections._swept_to >= first.expires_at)
        for other in NAMESPACES:
            answer = await raw.ask(other, "auth:refresh", {"token": fresh})
            assert answer["ok"], answer
        assert (await raw.ask("/chat", "chat:list", {}))["ok"]


@every_namespace
async def test_refresh_with_a_token_that_does_not_serve(crowd: Crowd, url: str, namespace: str) -> None:
    ada, ben = await crowd.account("Ada"), await crowd.account("Ben")
    async with Raw(url) as raw:
        await enter(raw, ada)
        for token, code in (
            (ben.access_token, "forbidden"), ("garbage", "token_invalid"), ("a.b.c", "token_invalid"),
            (tokens(ada)["expired"][0]["token"], "token_expired"),
            (tokens(ada)["of no session"][0]["token"], "session_revoked"),
        ):  # fmt: skip
            answer = await raw.ask(namespace, "auth:refresh", {"token": token})
            assert answer["error"]["code"] == code
        assert (await raw.ask("/chat", "chat:list", {}))["ok"], "the old login is still good"
        mine = await raw.ask("/presence", "presence:set", {"status": "online"})
        assert mine["data"]["presence"]["user_id"] == ada.id


@every_namespace
async def test_a_refresh_never_shortens(crowd: Crowd, url: str, namespace: str) -> None:
    """A tab that was asleep brings an older token; one of another session does not serve either, if it ends sooner."""
    account = await crowd.account()
    other = await crowd.rest.login(account.user["email"], PASSWORD)
    mine = Tokens([make_key(SECRET)], 900).verify(account.access_token)
    theirs = Tokens([make_key(SECRET)], 900).verify(other.access_token)
    async with Raw(url) as raw:
        await enter(raw, account)
        for session_id in (mine.session_id, theirs.session_id):
            older = Tokens([make_key(SECRET)], 100).issue(account.id, session_id, "user")
            answer = await raw.ask(namespace, "auth:refresh", {"token": older})
            assert 800_000 < answer["data"]["expires_in_ms"] <= 900_000
        await enter(raw, account, namespace)  # nor does connecting again
        longer = Tokens([make_key(SECRET)], 2_000).issue(account.id, mine.session_id, "user")
        answer = await raw.ask(namespace, "auth:refresh", {"token": longer})
        assert 1_900_000 < answer["data"]["expires_in_ms"] <= 2_000_000
        answer = await raw.ask(namespace, "auth:refresh", {"token": account.access_token})
        assert 1_900_000 < answer["data"]["expires_in_ms"] <= 2_000_000


async def test_a_connection_that_moved_to_another_session_follows_that_one(crowd: Crowd, url: str) -> None:
    """auth:refresh may bring a token of the user's other session; it is then that session's end that closes it."""
    account = await crowd.account()
    other = await crowd.rest.login(account.user["email"], PASSWORD)
    async with Raw(url) as raw:
        await enter(raw, account, "/chat")
        assert (await raw.ask("/chat", "auth:refresh", {"token": other.access_token}))["ok"]
        assert await code_of(crowd, "POST", "/logout", token=account.access_token) == ""
        assert (await raw.ask("/chat", "chat:list", {}))["ok"]
        assert await code_of(crowd, "POST", "/logout", token=other.access_token) == ""
        await revoked(raw, "logged_out", "/chat")


# Being put out


async def test_expiry_without_a_refresh(crowd: Crowd, url: str, clock: Clock) -> None:
    async with Raw(url) as raw:
        account = await crowd.account()
        await enter(raw, account)
        clock.move(account.tokens["expires_in"] - 30)
        await told(raw, "auth:expiring", *NAMESPACES)
        clock.move(31)
        await revoked(raw, "expired", *NAMESPACES)
        async with Raw(crowd.url) as again:
            assert refusal(await again.connect("/chat", account.access_token), "/chat")["code"] == "token_expired"
            await crowd.rest.refresh(account)
            await enter(again, account, "/chat")


async def test_a_session_revoked_from_another_device(crowd: Crowd, url: str) -> None:
    first = await crowd.account()
    second = await crowd.rest.login(first.user["email"], PASSWORD)
    async with Raw(url) as one, Raw(url) as also_one, Raw(url) as two:
        await enter(one, first)
        await enter(also_one, first, "/chat")
        await enter(two, second)
        sessions = await crowd.rest.request("GET", "/api/v1/auth/sessions", None, second.access_token)
        (target,) = [session["id"] for session in sessions["items"] if not session["current"]]
        await crowd.rest.request("DELETE", f"/api/v1/auth/sessions/{target}", None, second.access_token)
        await revoked(one, "revoked", *NAMESPACES)
        await revoked(also_one, "revoked", "/chat")
        assert (await two.ask("/chat", "chat:list", {}))["ok"]
        async with Raw(url) as again:
            error = refusal(await again.connect("/chat", first.access_token), "/chat")
            assert (error["code"], error["retryable"]) == ("session_revoked", False)
        assert await code_of(crowd, "GET", "/me", token=first.access_token) == "session_revoked"
        body = {"refresh_token": first.tokens["refresh_token"]}
        assert await code_of(crowd, "POST", "/refresh", body) == "session_revoked"
        assert await code_of(crowd, "GET", "/me", token=second.access_token) == ""


async def test_logging_out(crowd: Crowd, url: str) -> None:
    account, stranger = await crowd.account("Ada"), await crowd.account("Ben")
    other = await crowd.rest.login(account.user["email"], PASSWORD)
    async with Raw(url) as leaving, Raw(url) as staying, Raw(url) as aside:
        await enter(leaving, account)
        await enter(staying, other)
        await enter(aside, stranger)
        assert await code_of(crowd, "POST", "/logout", token=account.access_token) == ""
        await revoked(leaving, "logged_out", *NAMESPACES)
        for raw in (staying, aside):
            assert (await raw.ask("/chat", "chat:list", {}))["ok"]
        assert await code_of(crowd, "POST", "/logout", token=account.access_token) == "session_revoked"


async def test_nothing_sent_after_the_end_is_done(crowd: Crowd, url: str) -> None:
    """Commands that cross auth:revoked on the wire find the connection closed."""
    ada, ben = await crowd.account("Ada"), await crowd.account("Ben")
    body = {"type": "direct", "participant_ids": [ben.id], "client_id": "direct"}
    talk = await crowd.rest.request("POST", "/api/v1/chat/conversations", body, ada.access_token)
    async with Raw(url) as raw:
        await enter(raw, ada, "/chat")
        assert await code_of(crowd, "POST", "/logout", token=ada.access_token) == ""
        payload = {"conversation_id": talk["id"], "client_id": "late", "text": "too late"}
        with contextlib.suppress(ConnectionError):  # it may be closed already
            await raw.send("42/chat,1" + json.dumps(["chat:send", payload]))
        await revoked(raw, "logged_out", "/chat")
    path = f"/api/v1/chat/conversations/{talk['id']}/messages"
    assert (await crowd.rest.request("GET", path, None, ben.access_token))["items"] == []


async def test_a_changed_password_ends_the_other_sessions(crowd: Crowd, url: str) -> None:
    here = await crowd.account()
    email, fresh = here.user["email"], "a new and better passphrase"
    there = await crowd.rest.login(email, PASSWORD)
    async with Raw(url) as kept, Raw(url) as ended:
        await enter(kept, here)
        await enter(ended, there)
        body = {"current_password": "not the password", "new_password": fresh}
        assert await code_of(crowd, "POST", "/password/change", body, here.access_token) == "invalid_credentials"
        assert (await ended.ask("/chat", "chat:list", {}))["ok"], "a failed change ends nothing"
        body["current_password"] = PASSWORD
        assert await code_of(crowd, "POST", "/password/change", body, here.access_token) == ""
        await revoked(ended, "password_changed", *NAMESPACES)
        assert (await kept.ask("/chat", "chat:list", {}))["ok"]
        assert await code_of(crowd, "POST", "/login", {"email": email, "password": PASSWORD}) == "invalid_credentials"
        async with Raw(url) as again:
            await enter(again, await crowd.rest.login(email, fresh), "/chat")
