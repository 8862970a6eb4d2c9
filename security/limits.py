"""Rate limits (GCRA): so many per period on average, a burst at once, and how long to wait when over.

An operation has one count for all doors. Most are counted in each process, which costs microseconds and needs no round
trip, and so are the people a user tells; what is declared `shared` is counted in Redis when there is one. See
docs/decisions/0006, 0031 and 0033.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from throttled.asyncio import RedisStore
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
REDIS_TIMEOUT_S = 0.3  # one that is slower is away: commands behind wait meanwhile
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


class OperationLimits:
    """A limiter for each rate, keyed by user or address; those of one tier have one count. `scale` 0 turns limits off.

    A scale below 1 leaves connecting alone: it is for trying limits out, and who is not let in comes to none of them.
    Shared ones count in memory while Redis is away.
    """

    def __init__(self, rates: Mapping[str, registry.Rate], scale: float, redis_url: str | None) -> None:
        memory = SyncMemoryStore(options={"MAX_SIZE": KEYS_MAX})
        shared = _redis_store(redis_url) if redis_url and scale else None
        self._counts: dict[str, tuple[str, Throttled]] = {}
        self._shared: dict[str, AsyncThrottled] = {}
        self._trust_redis_at = 0.0
        for name, rate in rates.items() if scale else ():
            quota = _quota(rate, max(1.0, scale) if name == registry.CONNECT else scale)
            self._counts[name] = rate.tier or name, Throttled(using="gcra", quota=quota, store=memory)
            if rate.shared and shared is not None:
                self._shared[name] = AsyncThrottled(using="gcra", quota=quota, store=shared)

    def is_shared(self, name: str) -> bool:
        return name in self._shared

    def retry_after_ms(self, name: str, key: str) -> int:
        """0: go ahead. Otherwise how long to wait; a refused try does not count."""
        found = self._counts.get(name)
        if found is None:
            return 0
        result = found[1].limit(f"{found[0]}:{key}")
        return max(1, int(result.state.retry_after * 1000) + 1) if result.limited else 0

    def check(self, name: str, key: str) -> Verdict | None:
        """The same with what is left. None where there is no limit."""
        found = self._counts.get(name)
        return _verdict(found[1].limit(f"{found[0]}:{key}")) if found is not None else None

    async def check_shared(self, name: str, key: str) -> Verdict | None:
        """Across processes, for those of which `is_shared` is true."""
        if time.monotonic() >= self._trust_redis_at:
            try:
                return _verdict(await self._shared[name].limit(f"{self._counts[name][0]}:{key}"))
            except Exception as error:  # whatever it is: a limit that cannot be counted must not fail the request
                if not isinstance(error, (StoreUnavailableError, RedisError, OSError)):
                    log.exception("counting a rate limit in Redis failed")
                log.warning("rate limits count in memory for %.0f s: %s", REDIS_PAUSE_S, error)
                self._trust_redis_at = time.monotonic() + REDIS_PAUSE_S
        return self.check(name, key)
