"""Rate limits, by a clock that is set."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import throttled.utils

from contract.registry import CONNECT, Rate
from security.limits import OperationLimits

# Limits: the trace of a GCRA with 5 per second and a burst of 5, as (second, allowed, remaining, reset_s, wait_s)

TRACE = [
    (0.0, True, 4, 0.2, 0.0),
    (0.0, True, 3, 0.4, 0.0),
    (0.0, True, 2, 0.6, 0.0),
    (0.0, True, 1, 0.8, 0.0),
    (0.0, True, 0, 1.0, 0.0),
    (0.0, False, None, None, 0.2),
    (0.1, False, None, None, 0.1),
    (0.2, True, 0, 1.0, 0.0),
    (0.2, False, None, None, 0.2),
    (1.5, True, 4, 0.2, 0.0),
    (1.5, True, 3, 0.4, 0.0),
]
FIVE_PER_SECOND = Rate(5, 1, 5)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the limiters' clock. Each setting is a microsecond later than the last: real moments are never equal."""
    at, settings = [1000.0], [0]
    monkeypatch.setattr(throttled.utils, "now_mono_f", lambda: at[0])

    def turn(second: float) -> None:
        settings[0] += 1
        at[0] = 1000.0 + second + settings[0] * 1e-6

    return turn


def test_verdicts_follow_the_trace(clock: Callable[[float], None]) -> None:
    limits = OperationLimits({"tier": FIVE_PER_SECOND}, 1.0, None)
    for second, allowed, remaining, reset_s, wait_s in TRACE:
        clock(second)
        verdict = limits.check("tier", "key")
        assert verdict is not None
        assert (verdict.allowed, verdict.limit) == (allowed, 5), second
        assert verdict.retry_after_ms == pytest.approx(wait_s * 1000, abs=1.01), second
        if allowed:
            assert verdict.remaining == remaining, second
            assert verdict.reset_s == pytest.approx(reset_s, abs=1e-3), second


def test_waits_follow_the_trace(clock: Callable[[float], None]) -> None:
    limits = OperationLimits({"chat:send": FIVE_PER_SECOND}, 1.0, None)
    for second, allowed, _, _, wait_s in TRACE:
        clock(second)
        wait_ms = limits.retry_after_ms("chat:send", "u_ada")
        assert (wait_ms == 0) is allowed, second
        assert wait_ms == pytest.approx(wait_s * 1000, abs=1.01), second
    assert limits.retry_after_ms("chat:send", "u_ben") == 0


def test_waiting_as_long_as_told_is_enough(clock: Callable[[float], None]) -> None:
    limits, second = OperationLimits({"chat:send": Rate(7, 60, 3)}, 1.0, None), 0.0
    for _ in range(20):
        wait_ms = limits.retry_after_ms("chat:send", "u_ada")
        if wait_ms:
            second += wait_ms / 1000
            clock(second)
            assert limits.retry_after_ms("chat:send", "u_ada") == 0
    assert second > 120


def test_scale_zero_turns_limits_off_and_a_larger_one_raises_them(clock: Callable[[float], None]) -> None:
    rates = {"chat:send": FIVE_PER_SECOND}
    off, double = OperationLimits(rates, 0, None), OperationLimits(rates, 2.0, None)
    assert [off.retry_after_ms("chat:send", "u") for _ in range(50)] == [0] * 50
    waits = []
    for _ in range(12):
        clock(0)
        waits.append(double.retry_after_ms("chat:send", "u"))
    assert waits.count(0) == 10


def test_a_small_scale_lets_people_connect(clock: Callable[[float], None]) -> None:
    limits = OperationLimits({CONNECT: FIVE_PER_SECOND, "chat:send": FIVE_PER_SECOND}, 0.001, None)

    def allowed(what: str) -> int:
        waits = []
        for _ in range(8):
            clock(0)
            waits.append(limits.retry_after_ms(what, "u"))
        return waits.count(0)

    assert (allowed(CONNECT), allowed("chat:send")) == (5, 1)


async def test_shared_limits_hold_in_memory_while_redis_is_away() -> None:
    limits = OperationLimits({"auth:login": Rate(2, 60, 2, shared=True)}, 1.0, "redis://127.0.0.1:1/0")
    assert limits.is_shared("auth:login")
    verdicts = [await limits.check_shared("auth:login", "key") for _ in range(3)]
    assert [verdict is not None and verdict.allowed for verdict in verdicts] == [True, True, False]


def test_those_of_one_tier_have_one_count() -> None:
    rate = Rate(2, 60, 2, tier="auth")
    limits = OperationLimits({"auth:login": rate, "auth:register": rate, "auth:me": Rate(2, 60, 2)}, 1.0, None)
    assert not limits.retry_after_ms("auth:login", "key")
    assert not limits.retry_after_ms("auth:register", "key")
    assert limits.retry_after_ms("auth:login", "key")
    assert limits.retry_after_ms("auth:register", "key")
    assert not limits.retry_after_ms("auth:me", "key")
