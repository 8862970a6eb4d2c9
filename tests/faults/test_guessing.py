"""Guessing passwords: tries are counted before they are made, by lane, on a clock that the tests turn."""

from __future__ import annotations

import asyncio
import math
import secrets
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import bcrypt
import pytest

from bench.clients import CommandError
from contract.errors import ParleyError
from models.users.attempts import (
    FREE_IN_LANE,
    FREE_TO_STRANGERS,
    MEMORY,
    Lane,
    LoginAttempts,
    account_key,
    lane,
    wait_after,
)
from models.users.store import UserStore
from server import Server
from settings import Settings
from tests.rest.client import http
from tests.support import PASSWORD, PATIENCE_S, Crowd, serving, until

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
ADA, BEN = account_key("ada"), account_key("ben")


@pytest.fixture
def attempts(server: Server) -> LoginAttempts:
    return LoginAttempts(UserStore(server.database))


def stranger(ip: str | None) -> Lane:
    return lane("address", ip, known=False)


async def wait_ms(attempts: LoginAttempts, account: str, whose: Lane, at: datetime) -> int:
    """Makes a try, unless it has to wait."""
    try:
        await attempts.begin(account, whose, at)
    except ParleyError as error:
        return error.retry_after_ms or -1
    return 0


@pytest.mark.parametrize(
    ("tries", "seconds"),
    [(0, 0), (4, 0), (5, 1), (6, 2), (7, 4), (8, 8), (12, 128), (14, 512), (15, 900), (16, 900), (10_000, 900)],
)
def test_the_schedule(tries: int, seconds: int) -> None:
    assert wait_after(tries, FREE_IN_LANE) == timedelta(seconds=seconds)


async def test_five_tries_are_free_then_each_doubles_the_wait(attempts: LoginAttempts) -> None:
    for _ in range(FREE_IN_LANE):
        assert await wait_ms(attempts, ADA, stranger("10.0.0.1"), START) == 0
    at = START
    for wait_s in (1, 2, 4, 8):
        assert 0 < await wait_ms(attempts, ADA, stranger("10.0.0.1"), at) <= wait_s * 1000 + 1
        assert await wait_ms(attempts, ADA, stranger("10.0.0.1"), at + timedelta(seconds=wait_s - 0.001)) == 2
        at += timedelta(seconds=wait_s)
        assert await wait_ms(attempts, ADA, stranger("10.0.0.1"), at) == 0


async def test_the_wait_is_for_one_account_and_one_address(attempts: LoginAttempts) -> None:
    for _ in range(FREE_IN_LANE):
        await attempts.begin(ADA, stranger("10.0.0.1"), START)
    assert await wait_ms(attempts, ADA, stranger("10.0.0.1"), START) > 0
    assert await wait_ms(attempts, ADA, stranger("10.0.0.2"), START) == 0
    assert await wait_ms(attempts, BEN, stranger("10.0.0.1"), START) == 0
    assert await wait_ms(attempts, ADA, stranger(None), START) == 0


async def test_many_addresses_do_not_help_a_guesser_and_do_not_lock_the_owner_out(attempts: LoginAttempts) -> None:
    for number in range(FREE_TO_STRANGERS):
        assert await wait_ms(attempts, ADA, stranger(f"10.0.1.{number}"), START) == 0
    assert await wait_ms(attempts, ADA, stranger("10.0.2.1"), START) > 0
    assert await wait_ms(attempts, BEN, stranger("10.0.2.1"), START) == 0
    own = lane("device", "phone", known=True)
    for _ in range(FREE_IN_LANE):
        assert await wait_ms(attempts, ADA, own, START) == 0
    assert await wait_ms(attempts, ADA, own, START) > 0  # who stole the phone guesses no faster than others


async def test_a_right_password_forgives_its_own_lane_only(attempts: LoginAttempts) -> None:
    for ip in ("10.0.0.1", "10.0.0.2"):
        for _ in range(FREE_IN_LANE):
            await attempts.begin(ADA, stranger(ip), START)
    await attempts.forgive(ADA, stranger("10.0.0.1"), START, whole_lane=True)
    assert await wait_ms(attempts, ADA, stranger("10.0.0.1"), START) == 0
    assert await wait_ms(attempts, ADA, stranger("10.0.0.2"), START) > 0


async def test_a_try_that_was_not_made_is_given_back(attempts: LoginAttempts) -> None:
    for _ in range(FREE_IN_LANE):
        await attempts.begin(ADA, stranger("10.0.0.1"), START)
    await attempts.forgive(ADA, stranger("10.0.0.1"), START, whole_lane=False)
    assert await wait_ms(attempts, ADA, stranger("10.0.0.1"), START) == 0
    assert await wait_ms(attempts, ADA, stranger("10.0.0.1"), START) > 0


async def test_tries_fade(attempts: LoginAttempts) -> None:
    at = START
    for tries in range(FREE_IN_LANE + 9):
        at += wait_after(tries, FREE_IN_LANE)
        await attempts.begin(ADA, stranger("10.0.0.1"), at)
    assert await wait_ms(attempts, ADA, stranger("10.0.0.1"), at) > 500_000
    later = at + MEMORY
    assert await wait_ms(attempts, ADA, stranger("10.0.0.1"), later) == 0
    assert await wait_ms(attempts, ADA, stranger("10.0.0.1"), later) == 0  # it counts from one again


@pytest.mark.parametrize("addresses", [1, 7, 60])
async def test_many_at_once_are_no_more_than_one_after_the_other(server: Server, addresses: int) -> None:
    """On two processes, which share nothing but the database."""
    processes = [LoginAttempts(UserStore(server.database)) for _ in range(2)]
    tries = [
        wait_ms(processes[number % 2], ADA, stranger(f"10.0.3.{number % addresses}"), START) for number in range(180)
    ]
    waits = await asyncio.gather(*tries)
    assert waits.count(0) == min(addresses * FREE_IN_LANE, FREE_TO_STRANGERS)


async def test_a_locked_account_says_so_to_the_right_password_too(crowd: Crowd) -> None:
    account = await crowd.account()
    refusals = []
    for password in [*["wrong password"] * FREE_IN_LANE, PASSWORD]:
        with pytest.raises(CommandError) as caught:
            await crowd.rest.login(account.user["email"], password)
        refusals.append(caught.value)
    assert [refusal.code for refusal in refusals] == ["invalid_credentials"] * FREE_IN_LANE + ["account_locked"]
    assert 0 < (refusals[-1].retry_after_ms or 0) <= 1001


async def test_an_unknown_account_looks_and_costs_the_same(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    account = await crowd.account()
    costs: list[bytes] = []
    original = bcrypt.checkpw

    def checkpw(password: bytes, hashed: bytes) -> bool:
        costs.append(hashed[:7])
        return original(password, hashed)

    monkeypatch.setattr(bcrypt, "checkpw", checkpw)
    refusals = []
    for email in (account.user["email"], "nobody@example.test"):
        for _ in range(FREE_IN_LANE + 1):
            with pytest.raises(CommandError) as caught:
                await crowd.rest.login(email, "wrong password")
            refusals.append((caught.value.code, caught.value.message, caught.value.details))
    half = len(refusals) // 2
    assert refusals[:half] == refusals[half:]
    assert costs == [b"$2b$04$"] * (2 * FREE_IN_LANE)


# Over HTTP, on two servers behind a proxy


@pytest.fixture
async def two(settings: Settings, mongo_url: str) -> AsyncIterator[list[str]]:
    behind = replace(settings, trusted_proxies=1)
    async with serving(behind, mongo_url) as (_, one), serving(behind, mongo_url) as (_, other):
        yield [one, other]


async def test_a_thousand_guesses_at_once_and_the_owner_logs_in_meanwhile(
    two: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: Counter[bytes] = Counter()
    original = bcrypt.checkpw

    def checkpw(password: bytes, hashed: bytes) -> bool:
        looked_at[hashed] += 1
        return original(password, hashed)

    monkeypatch.setattr(bcrypt, "checkpw", checkpw)
    email = f"ada.{secrets.token_hex(6)}@example.test"
    home, phone = {"X-Forwarded-For": "10.1.1.1"}, {"id": "phone-of-ada", "name": "Phone"}
    async with http(two[0]) as here, http(two[1]) as there:
        about = {"email": email, "password": PASSWORD, "name": "Ada", "device": phone}
        assert (await here("POST", "/api/v1/auth/register", about, headers=home)).status == 201
        started = time.monotonic()

        async def guess(number: int) -> tuple[int, str]:
            body = {"email": email, "password": f"guess {number}"}
            call = here if number % 2 else there
            answer = await call(
                "POST", "/api/v1/auth/login", body, headers={"X-Forwarded-For": f"10.2.0.{number % 50}"}
            )
            return answer.status, answer.code

        guesses = [asyncio.create_task(guess(number)) for number in range(1_000)]
        await until(lambda: sum(one.done() for one in guesses) > 100)
        away = {"X-Forwarded-For": "10.3.3.3"}  # another network, the same phone
        login = {"email": email, "password": PASSWORD, "device": phone}
        for call in (here, there):
            assert (await call("POST", "/api/v1/auth/login", login, headers=away)).status == 200
        assert (await here("POST", "/api/v1/auth/login", login | {"device": None}, headers=home)).status == 200
        outcomes = Counter(await asyncio.gather(*guesses))
    # Of those that had to wait, one after a second, the next after two more, and so on.
    allowed = FREE_TO_STRANGERS + math.ceil(math.log2(time.monotonic() - started + 2))
    own = 3
    assert max(looked_at.values()) <= allowed + own
    assert sum(looked_at.values()) <= allowed + own
    assert set(outcomes) <= {(401, "invalid_credentials"), (423, "account_locked"), (503, "over_capacity")}
    assert outcomes[401, "invalid_credentials"] <= allowed
    assert outcomes[423, "account_locked"] > 500


async def test_who_is_logged_in_changes_the_password_while_others_guess(two: list[str]) -> None:
    email = f"ada.{secrets.token_hex(6)}@example.test"
    async with http(two[0]) as call:
        about = {"email": email, "password": PASSWORD, "name": "Ada"}
        mine = await call("POST", "/api/v1/auth/register", about, headers={"X-Forwarded-For": "10.1.1.1"})
        token = mine.body["tokens"]["access_token"]
        for number in range(FREE_TO_STRANGERS):
            body = {"email": email, "password": "wrong password"}
            await call("POST", "/api/v1/auth/login", body, headers={"X-Forwarded-For": f"10.2.0.{number}"})
        change = {"current_password": "wrong password", "new_password": "another horse battery"}
        for _ in range(FREE_IN_LANE - 1):
            refused = await call("POST", "/api/v1/auth/password/change", change, token)
            assert refused.code == "invalid_credentials"
        change["current_password"] = PASSWORD
        assert (await call("POST", "/api/v1/auth/password/change", change, token)).status == 204
        login = {"email": email, "password": "another horse battery"}
        locked = await call("POST", "/api/v1/auth/login", login, headers={"X-Forwarded-For": "10.2.9.9"})
        assert locked.code == "account_locked"


async def test_a_password_change_ends_a_log_in_that_is_under_way(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its old password was looked at before the change, and its session would be opened after it."""
    account = await crowd.account()
    original, entered, go_on = bcrypt.checkpw, threading.Event(), threading.Event()

    def checkpw(password: bytes, hashed: bytes) -> bool:
        right = original(password, hashed)
        if not entered.is_set():
            entered.set()
            go_on.wait(PATIENCE_S)
        return right

    monkeypatch.setattr(bcrypt, "checkpw", checkpw)
    login = asyncio.create_task(crowd.rest.login(account.user["email"], PASSWORD))
    await until(entered.is_set)
    async with http(crowd.url) as call:
        change = {"current_password": PASSWORD, "new_password": "another horse battery"}
        assert (await call("POST", "/api/v1/auth/password/change", change, account.access_token)).status == 204
        go_on.set()
        with pytest.raises(CommandError) as caught:
            await login
        assert caught.value.code == "invalid_credentials"
        sessions = await call("GET", "/api/v1/auth/sessions", token=account.access_token)
        assert [session["current"] for session in sessions.body["items"]] == [True]
        refreshed = await call("POST", "/api/v1/auth/refresh", {"refresh_token": account.tokens["refresh_token"]})
        assert refreshed.status == 200
