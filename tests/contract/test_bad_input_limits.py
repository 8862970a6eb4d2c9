"""Over the limit, and with a token that has run out: each command says so, and the connection lives on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

import realtime.connections
from contract.catalogue import COMMANDS
from contract.registry import NAMESPACES
from security.secret import make_key
from security.tokens import Tokens
from tests.clock import moved_by
from tests.contract.bad_input import COMMAND_NAMES, EXAMPLES, check_error, where
from tests.contract.stage import Stage, settings_for_tests, staged
from tests.support import SECRET, Raw, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")
every_command = pytest.mark.parametrize("name", COMMAND_NAMES)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def strict(mongo_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A connection to a second server of the same database, whose every burst is one."""
    async with staged(settings_for_tests(tmp_path_factory.mktemp("stage")), mongo_url) as stage:
        async with serving(replace(stage.settings, rate_limit_scale=0.001), mongo_url) as (_, url), Raw(url) as raw:
            for namespace in NAMESPACES:
                assert (await raw.connect(namespace, stage.token)).startswith("40")
            yield replace(stage, ada=raw, url=url)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def expired(mongo_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A connection whose token has run out, on a server that never sweeps such connections away."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(realtime.connections, "SWEEP_S", 3600.0)
        clock = moved_by(patch)
        async with staged(settings_for_tests(tmp_path_factory.mktemp("stage")), mongo_url) as stage:
            clock.move(stage.server.tokens.verify(stage.token).expires_at - clock.time() + 1)
            yield stage


@every_command
async def test_over_the_limit(strict: Stage, name: str) -> None:
    command = COMMANDS[name]
    example = EXAMPLES[name](strict)
    first = await strict.ada.ask(where(command), name, example)
    assert first["ok"], first
    second = await strict.ada.ask(where(command), name, example)
    assert second["ok"] is False
    check_error(second["error"], command.all_errors, "rate_limited")
    assert second["error"]["retryable"] is True
    assert 0 < second["error"]["retry_after_ms"] <= 60_000


async def test_another_user_has_limits_of_their_own(strict: Stage) -> None:
    async with Raw(strict.url) as ben:
        await ben.connect("/system", strict.ben_token)
        payload = EXAMPLES["notification:list"](strict)
        assert (await ben.ask("/system", "notification:list", payload))["ok"]
        assert (await ben.ask("/system", "notification:list", payload))["error"]["code"] == "rate_limited"


async def test_a_second_connection_of_the_user_shares_them(strict: Stage) -> None:
    async with Raw(strict.url) as other, Raw(strict.url) as third:
        await other.connect("/presence", strict.ben_token)
        await third.connect("/presence", strict.ben_token)
        payload = {"status": "online"}
        assert (await other.ask("/presence", "presence:set", payload))["ok"]
        assert (await third.ask("/presence", "presence:set", payload))["error"]["code"] == "rate_limited"


async def test_waiting_as_told_is_enough(mongo_url: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    async with staged(settings_for_tests(tmp_path_factory.mktemp("stage")), mongo_url) as stage:
        # Of chat:leave's 1200 a minute and 200 at once, a tenth: one every half second, 20 at once.
        settings = replace(stage.settings, rate_limit_scale=0.1)
        async with serving(settings, mongo_url) as (_, url), Raw(url) as raw:
            await raw.connect("/chat", stage.token)
            answer = {"ok": True}
            while answer["ok"]:
                answer = await raw.ask("/chat", "chat:leave", {"conversation_id": stage.group})
            wait_ms: int = answer["error"]["retry_after_ms"]  # type: ignore[index]
            await asyncio.sleep(wait_ms / 1000)
            assert (await raw.ask("/chat", "chat:leave", {"conversation_id": stage.group}))["ok"]


@every_command
async def test_the_token_has_run_out(expired: Stage, name: str) -> None:
    command = COMMANDS[name]
    answer = await expired.ada.ask(where(command), name, EXAMPLES[name](expired))
    assert answer["ok"] is False
    check_error(answer["error"], command.all_errors, "token_expired")


async def test_a_fresh_token_revives_the_connection(expired: Stage) -> None:
    """The last test of the expired stage: afterwards its connection is a good one again."""
    fresh = Tokens([make_key(SECRET)], 60).issue(expired.ada_id, expired.session_id, "user")
    assert (await expired.ada.ask("/typing", "auth:refresh", {"token": fresh}))["ok"]
    assert (await expired.ada.ask("/chat", "chat:get", {"conversation_id": expired.group}))["ok"]
