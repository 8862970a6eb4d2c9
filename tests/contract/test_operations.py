"""Every operation that has both doors: one limit, one permission and one error, whichever it is asked through."""

from __future__ import annotations

from dataclasses import replace

import pytest

from contract.catalogue import OPERATIONS
from contract.registry import ENDPOINTS, Endpoint, Operation
from tests.contract.bad_input import EXAMPLES, where
from tests.contract.rest_input import send
from tests.contract.stage import settings_for_tests, staged
from tests.rest.client import http
from tests.support import Raw, serving

BOTH = sorted(name for name, operation in OPERATIONS.items() if operation.namespace and operation.routes)


def endpoint_of(operation: Operation) -> Endpoint:
    route = operation.routes[0]
    return ENDPOINTS[route.method, route.path]


@pytest.mark.parametrize("first", ["socket", "rest"])
async def test_the_limit_is_one(first: str, mongo_url: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Every burst is one: what was asked through one door may not be asked through the other."""
    assert len(BOTH) > 20
    async with (
        staged(settings_for_tests(tmp_path_factory.mktemp("stage")), mongo_url) as stage,
        serving(replace(stage.settings, rate_limit_scale=0.0001), mongo_url) as (_, url),
        Raw(url) as raw, http(url) as call,
    ):  # fmt: skip
        for namespace in sorted({where(OPERATIONS[name]) for name in BOTH}):
            await raw.connect(namespace, stage.token)
        for name in BOTH:
            operation, fields = OPERATIONS[name], EXAMPLES[name](stage)
            for door in (first, "rest" if first == "socket" else "socket"):
                if door == "socket":
                    code = (await raw.ask(where(operation), name, fields)).get("error", {}).get("code")
                else:
                    code = (await send(call, endpoint_of(operation), stage, fields)).code
                assert (code == "rate_limited") is (door != first), (name, door, code)


async def test_the_error_is_one(mongo_url: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """For a payload with a field too many, and for a token that is none."""
    async with (
        staged(settings_for_tests(tmp_path_factory.mktemp("stage")), mongo_url) as stage,
        http(stage.url) as call,
    ):
        for name in BOTH:
            fields = {**EXAMPLES[name](stage), "no_such_field": 1}
            by_socket = (await stage.ada.ask(where(OPERATIONS[name]), name, fields))["error"]
            by_rest = (await send(call, endpoint_of(OPERATIONS[name]), stage, fields)).body["error"]
            assert by_socket["code"] == by_rest["code"] == "validation_failed", name
            assert by_socket["details"] == by_rest["details"], name
