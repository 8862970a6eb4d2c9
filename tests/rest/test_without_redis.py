"""HTTP while Redis is away: limits go on in memory, health says so, and nothing hangs on it."""

from __future__ import annotations

import dataclasses

from bench.redis_server import RedisServer
from settings import Settings
from tests.rest.client import http
from tests.support import PASSWORD, serving

LOGIN = {"email": "ada@example.test", "password": PASSWORD}


async def test_limits_are_shared_by_redis_and_go_on_without_it(settings: Settings, mongo_url: str) -> None:
    redis = RedisServer().start()
    limited = dataclasses.replace(settings, rate_limit_scale=0.035, redis_url=redis.url)
    try:
        async with serving(limited, mongo_url) as (_, one), serving(limited, mongo_url) as (_, other):
            async with http(one) as first, http(other) as second:
                codes = [(await call("POST", "/api/v1/auth/login", LOGIN)).code for call in (first, second, first)]
                assert codes == ["invalid_credentials", "invalid_credentials", "rate_limited"]
                redis.stop()
                codes = [(await first("POST", "/api/v1/auth/login", LOGIN)).code for _ in range(3)]
                assert codes == ["invalid_credentials", "invalid_credentials", "rate_limited"], "counted in memory"
                ready = await first("GET", "/api/v1/health/ready")
                assert (ready.status, ready.body["status"]) == (200, "degraded")
                assert ready.body["components"]["redis"]["status"] == "down"
    finally:
        redis.stop()
