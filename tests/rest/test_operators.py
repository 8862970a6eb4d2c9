"""What costs or tells much is for operators: from the machine itself, or with their token."""

from __future__ import annotations

from dataclasses import replace

import pytest

from settings import Settings, SettingsError, load
from tests.rest.client import http
from tests.support import serving

TOKEN = "0123456789abcdef-of-operators"
PATHS = ("/metrics", "/api/v1/health/detailed", "/api/v1/system/health")


@pytest.mark.parametrize("path", PATHS)
async def test_without_a_token_only_from_this_machine(url: str, path: str) -> None:
    async with http(url) as call:
        assert (await call("GET", path)).status == 200
        for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP"):  # a proxy on this machine passes others on
            answer = await call("GET", path, headers={header: "127.0.0.1"})
            assert (answer.status, answer.code) == (403, "forbidden")


@pytest.mark.parametrize("path", PATHS)
async def test_with_a_token_from_everywhere_and_never_without(settings: Settings, mongo_url: str, path: str) -> None:
    async with serving(replace(settings, operators_token=TOKEN), mongo_url) as (_, url), http(url) as call:
        assert (await call("GET", path, token=TOKEN, headers={"X-Forwarded-For": "10.0.0.1"})).status == 200
        for token in ("", "wrong", TOKEN[:-1], TOKEN + "x", "ü"):
            answer = await call("GET", path, token=token)
            assert (answer.status, answer.code) == (401, "unauthenticated")


@pytest.mark.parametrize("path", PATHS)
async def test_in_production_never_without_a_token(settings: Settings, mongo_url: str, path: str) -> None:
    """A proxy on this machine may say nothing of those behind it."""
    async with serving(replace(settings, env="production"), mongo_url) as (_, url), http(url) as call:
        answer = await call("GET", path)
        assert (answer.status, answer.code) == (403, "forbidden")


async def test_what_load_balancers_ask_is_for_everyone(settings: Settings, mongo_url: str) -> None:
    async with serving(replace(settings, operators_token=TOKEN), mongo_url) as (_, url), http(url) as call:
        for path in ("/api/v1/health/live", "/api/v1/health/ready"):
            assert (await call("GET", path, headers={"X-Forwarded-For": "10.0.0.1"})).status == 200


@pytest.mark.parametrize("token", ["short", "with a blank in the middle", "x" * 257])
def test_a_token_that_is_none(token: str) -> None:
    with pytest.raises(SettingsError, match="OPERATORS_TOKEN"):
        load({"OPERATORS_TOKEN": token})
