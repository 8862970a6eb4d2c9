"""Rate limits (GCRA): so many per period on average, a burst at once, and how long to wait when over.

Command limits count per user in each process, which costs microseconds and needs no round trip, and so do those of how
many people a user tells; HTTP limits count in Redis when there is one, since those guard against guessing. See
docs/decisions/0006 and 0031.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from throttled.asyncio import MemoryStore, RedisStore
from throttled.asyncio import Throttled as AsyncThrottled
from throttled.exceptions import StoreUnavailableError
from throttled.rate_limiter import Quota, Rate
from throttled.store import MemoryStore as SyncMemoryStore
from throttled.throttled import Throttled

from contract import registry
from contract.errors import ParleyError

KEYS_MAX = 200_000
# After a failure Redis is not asked for so long: a frozen one would otherwise slow every request by its time-out.
REDIS_PAUSE_S = 2.0
REDIS_TIMEOUT_S = 1.0
CONNECTIONS_MAX = 1_000  # to a node of a cluster; requests are counted at the same time
log = logging.getLogger("parley.limits")


@dataclass(frozen=True, slots=True)
class Verdict:
    """`retry_after_ms` is 0 when allowed; `limit`, `remaining` and `reset_s` are for the RateLimit headers."""

    allowed: bool
    limit: int
    remaining: int
    reset_s: float
    retry_after_ms: int


def _quota(rate: registry.Rate, scale: float) -> Quota:
    count = max(1, round(rate.count * scale))
    return Quota(Rate(period=timedelta(seconds=rate.per_s), limit=count), burst=max(1, round(rate.burst * scale)))


def _verdict(result: Any) -> Verdict:
    state = result.state
    wait_ms = max(1, int(state.retry_after * 1000) + 1) if result.limited else 0
    return Verdict(not result.limited, state.limit, int(state.remaining), float(state.reset_after), wait_ms)


class CommandLimits:
    """One limiter per command, and one of connecting, keyed by user. `scale` 0 turns limits off.

    A scale below 1 leaves connecting alone: it is for trying limits out, and who is not let in comes to none of them.
    """

    def __init__(self, rates: dict[str, registry.Rate], scale: float) -> None:
        self._store = SyncMemoryStore(options={"MAX_SIZE": KEYS_MAX})
        self._limiters: dict[str, Throttled] = {}
        for name, rate in rates.items() if scale else ():
            quota = _quota(rate, max(1.0, scale) if name == registry.CONNECT else scale)
            self._limiters[name] = Throttled(using="gcra", quota=quota, store=self._store)

    def retry_after_ms(self, command: str, user_id: str) -> int:
        """0: go ahead. Otherwise how long to wait; a refused try does not count."""
        limiter = self._limiters.get(command)
        if limiter is None:
            return 0
        result = limiter.limit(f"{command}:{user_id}")
        return max(1, int(result.state.retry_after * 1000) + 1) if result.limited else 0


class FanOutLimits:
    """How many people a user tells: a limiter per tier, by which a command costs as much as it does to all others.

    `scale` 0 turns it off.
    """

    def __init__(self, tiers: dict[str, registry.Rate], scale: float) -> None:
        store = SyncMemoryStore(options={"MAX_SIZE": KEYS_MAX})
        self._quotas = {name: _quota(rate, scale) for name, rate in tiers.items() if scale}
        self._limiters = {
            name: Throttled(using="gcra", quota=quota, store=store) for name, quota in self._quotas.items()
        }

    def charge(self, tier: str, user_id: str, people: int) -> None:
        """Raises rate_limited; a refused try does not count."""
        limiter = self._limiters.get(tier)
        if limiter is None:
            return
        quota = self._quotas[tier]
        # What costs more than there can ever be is worth all there can be: or it could never be done.
        result = limiter.limit(f"{tier}:{user_id}", min(people, quota.burst))
        if not result.limited:
            return
        raise ParleyError(
            "rate_limited", "This tells too many people at once; wait and try again.",
            details={
                "limit": f"fan_out_{tier}", "people": people, "count": quota.get_limit(), "per_s": quota.period_sec,
                "burst": quota.burst,
            },
            retry_after_ms=max(1, int(result.state.retry_after * 1000) + 1),
        )  # fmt: skip


def _redis_store(url: str) -> RedisStore:
    options: dict[str, Any] = {"SOCKET_TIMEOUT": REDIS_TIMEOUT_S, "SOCKET_CONNECT_TIMEOUT": REDIS_TIMEOUT_S}
    parts = urlsplit(url)
    if parts.scheme == "redis+cluster":
        # Each key is its own slot's node's. redis-py would try three times more, each as long, with all others waiting.
        options["REDIS_CLIENT_KWARGS"] = {
            "username": unquote(parts.username or "") or None, "password": unquote(parts.password or "") or None,
            "retry": Retry(NoBackoff(), 0), "max_connections": CONNECTIONS_MAX,
        }  # fmt: skip
        url = f"redis+cluster://{parts.netloc.rpartition('@')[2]}"
    return RedisStore(server=url, options=options)


class HttpLimits:
    """One limiter per tier, keyed by user or address; in Redis when given, and in memory while Redis is away.

    Probes count in memory always: whether a process is healthy must not hang on Redis.
    """

    def __init__(self, tiers: dict[str, registry.Rate], scale: float, redis_url: str | None) -> None:
        memory = MemoryStore(options={"MAX_SIZE": KEYS_MAX})
        self._memory = self._build(tiers, scale, memory)
        self._shared = self._build(tiers, scale, _redis_store(redis_url)) if redis_url else self._memory
        self._trust_redis_at = 0.0

    @staticmethod
    def _build(tiers: dict[str, registry.Rate], scale: float, store: Any) -> dict[str, AsyncThrottled]:
        if not scale:
            return {}
        return {
            name: AsyncThrottled(using="gcra", quota=_quota(rate, scale), store=store) for name, rate in tiers.items()
        }

    async def check(self, tier: str, key: str) -> Verdict | None:
        """None when limits are off."""
        if tier not in self._memory:
            return None
        if tier != "probe" and time.monotonic() >= self._trust_redis_at:
            try:
                return _verdict(await self._shared[tier].limit(f"{tier}:{key}"))
            except Exception as error:  # whatever it is: a limit that cannot be counted must not fail the request
                if not isinstance(error, (StoreUnavailableError, RedisError, OSError)):
                    log.exception("counting a rate limit in Redis failed")
                log.warning("rate limits count in memory for %.0f s: %s", REDIS_PAUSE_S, error)
                self._trust_redis_at = time.monotonic() + REDIS_PAUSE_S
        return _verdict(await self._memory[tier].limit(f"{tier}:{key}"))
