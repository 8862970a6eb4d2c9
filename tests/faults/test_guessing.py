"""Guessing passwords: the progressive delay, by account and address, on a clock that the tests turn."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import bcrypt
import pytest

from bench.clients import CommandError
from contract.errors import ParleyError
from models.users.delay import FREE_PER_ACCOUNT, FREE_PER_ADDRESS, MEMORY, LoginDelay, wait_after
from models.users.store import UserStore
from server import Server
from tests.support import Crowd

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def delay(server: Server) -> LoginDelay:
    return LoginDelay(UserStore(server.database))


async def wait_ms(delay: LoginDelay, email: str, ip: str | None, at: datetime) -> int:
    try:
        await delay.check(email, ip, at)
    except ParleyError as error:
        return error.retry_after_ms or -1
    return 0


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [(0, 0), (4, 0), (5, 1), (6, 2), (7, 4), (8, 8), (12, 128), (14, 512), (15, 900), (16, 900), (10_000, 900)],
)
def test_the_schedule(failures: int, seconds: int) -> None:
    assert wait_after(failures, FREE_PER_ADDRESS) == timedelta(seconds=seconds)


async def test_five_tries_are_free_then_each_failure_doubles_the_wait(delay: LoginDelay) -> None:
    for _ in range(FREE_PER_ADDRESS):
        assert await wait_ms(delay, "ada", "10.0.0.1", START) == 0
        await delay.failed("ada", "10.0.0.1", START)
    at = START
    for wait_s in (1, 2, 4, 8):
        assert 0 < await wait_ms(delay, "ada", "10.0.0.1", at) <= wait_s * 1000 + 1
        assert await wait_ms(delay, "ada", "10.0.0.1", at + timedelta(seconds=wait_s - 0.001)) == 2
        at += timedelta(seconds=wait_s)
        assert await wait_ms(delay, "ada", "10.0.0.1", at) == 0
        await delay.failed("ada", "10.0.0.1", at)


async def test_the_wait_is_for_one_account_and_one_address(delay: LoginDelay) -> None:
    for _ in range(FREE_PER_ADDRESS):
        await delay.failed("ada", "10.0.0.1", START)
    assert await wait_ms(delay, "ada", "10.0.0.1", START) > 0
    assert await wait_ms(delay, "ada", "10.0.0.2", START) == 0
    assert await wait_ms(delay, "ben", "10.0.0.1", START) == 0
    assert await wait_ms(delay, "ada", None, START) == 0


async def test_many_addresses_do_not_help_a_guesser(delay: LoginDelay) -> None:
    for number in range(FREE_PER_ACCOUNT):
        assert await wait_ms(delay, "ada", f"10.0.1.{number}", START) == 0
        await delay.failed("ada", f"10.0.1.{number}", START)
    assert await wait_ms(delay, "ada", "10.0.2.1", START) > 0
    assert await wait_ms(delay, "ben", "10.0.2.1", START) == 0


async def test_success_forgives_its_own_address_only(delay: LoginDelay) -> None:
    for ip in ("10.0.0.1", "10.0.0.2"):
        for _ in range(FREE_PER_ADDRESS):
            await delay.failed("ada", ip, START)
    await delay.succeeded("ada", "10.0.0.1")
    assert await wait_ms(delay, "ada", "10.0.0.1", START) == 0
    assert await wait_ms(delay, "ada", "10.0.0.2", START) > 0


async def test_failures_fade(delay: LoginDelay) -> None:
    for _ in range(FREE_PER_ADDRESS + 9):
        await delay.failed("ada", "10.0.0.1", START)
    assert await wait_ms(delay, "ada", "10.0.0.1", START) > 500_000
    later = START + MEMORY + timedelta(seconds=1)
    assert await wait_ms(delay, "ada", "10.0.0.1", later) == 0
    await delay.failed("ada", "10.0.0.1", later)
    assert await wait_ms(delay, "ada", "10.0.0.1", later) == 0  # it counts from one again


async def test_a_locked_account_says_so_to_the_right_password_too(crowd: Crowd) -> None:
    account = await crowd.account()
    refusals = []
    for password in [*["wrong password"] * FREE_PER_ADDRESS, "correct horse battery staple"]:
        with pytest.raises(CommandError) as caught:
            await crowd.rest.login(account.user["email"], password)
        refusals.append(caught.value)
    assert [refusal.code for refusal in refusals] == ["invalid_credentials"] * FREE_PER_ADDRESS + ["account_locked"]
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
        for _ in range(FREE_PER_ADDRESS + 1):
            with pytest.raises(CommandError) as caught:
                await crowd.rest.login(email, "wrong password")
            refusals.append((caught.value.code, caught.value.message, caught.value.details))
    half = len(refusals) // 2
    assert refusals[:half] == refusals[half:]
    assert costs == [b"$2b$04$"] * (2 * FREE_PER_ADDRESS)
