"""REST requests that may not be made: no login, wrong method or path, over the limit, other people's things."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from contract.catalogue import ENDPOINTS
from contract.identity import LOGOUT
from contract.registry import ADMINISTRATOR, USER
from security.secret import make_key
from security.tokens import Tokens
from tests.contract.bad_input import check_error
from tests.contract.rest_input import ALL, check, check_headers, example, send, those, token_for
from tests.contract.stage import Stage, settings_for_tests, staged
from tests.rest.client import Http, http
from tests.support import PASSWORD, SECRET, Crowd, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")
with_login = those(lambda endpoint: endpoint.operation.needs_login)
for_administrators = those(lambda endpoint: endpoint.operation.permission == ADMINISTRATOR)
with_path = those(lambda endpoint: bool(endpoint.route.path_names))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(mongo_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with staged(settings_for_tests(tmp_path_factory.mktemp("stage")), mongo_url) as set_up:
        yield set_up


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def call(stage: Stage) -> AsyncIterator[Http]:
    async with http(stage.url) as client:
        yield client


@with_login
async def test_without_a_good_token(stage: Stage, call: Http, key: tuple[str, str]) -> None:
    endpoint = ENDPOINTS[key]
    fields = example(endpoint, stage)
    long_ago = Tokens([make_key(SECRET)], 60).issue(stage.ada_id, stage.session_id, "user", now=1_700_000_000)
    nowhere = Tokens([make_key(SECRET)], 60).issue(stage.ada_id, "s_none", "user")
    forged = Tokens([make_key("another secret that is 32 bytes long")], 60).issue(stage.ada_id, "s_1", "user")
    for header, code in (
        (None, "unauthenticated"), ("", "unauthenticated"), ("Basic YTpi", "unauthenticated"),
        ("Bearer", "unauthenticated"), ("Bearer garbage", "token_invalid"), ("Bearer a.b.c", "token_invalid"),
        (f"Bearer {stage.token}x", "token_invalid"), (f"Bearer {forged}", "token_invalid"),
        (f"Bearer {long_ago}", "token_expired"), (f"Bearer {nowhere}", "session_revoked"),
    ):  # fmt: skip
        headers = {} if header is None else {"Authorization": header}
        answer = await send(call, endpoint, stage, fields, token="", headers=headers)
        check(answer, endpoint, code)
        assert answer.headers["WWW-Authenticate"] == "Bearer"


@with_login
async def test_a_cookie_without_the_csrf_token(stage: Stage, call: Http, key: tuple[str, str]) -> None:
    endpoint = ENDPOINTS[key]
    if endpoint.method != "GET":
        for headers in ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": "0" * 64}, {"X-CSRF-Token": "é"}):
            headers = {"Cookie": f"auth_token={stage.token}", **headers}
            answer = await send(call, endpoint, stage, example(endpoint, stage), token="", headers=headers)
            check(answer, endpoint, "csrf_failed")


@pytest.mark.parametrize("path", sorted({path for _, path in ALL}))
async def test_a_wrong_method(stage: Stage, call: Http, path: str) -> None:
    taken = {method for method, other in ALL if other == path}
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - taken:
        answer = await call(method, path.replace("{", "").replace("}", ""), token=stage.token)
        check_error(answer.body["error"], ("method_not_allowed",), "method_not_allowed")
        assert answer.status == 405
        assert taken <= set(answer.headers["Allow"].split(","))
        check_headers(answer)


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/api/v1", "/api", "/nothing", "/api/v1/chat/conversations/a/b/c",
                                  "/api/v1/auth/login/", "/%00", "/api/v1/chat/../../../etc/passwd"])  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_an_unknown_path(stage: Stage, call: Http, method: str, path: str) -> None:
    answer = await call(method, path, token=stage.token)
    check_error(answer.body["error"], ("not_found",), "not_found")
    assert answer.status == 404
    check_headers(answer)


async def test_over_the_limit_of_each_operation(stage: Stage, mongo_url: str) -> None:
    """By newcomers, who have done nothing before. One of them logs out, and is still over it with another log-in."""
    crowd = Crowd(stage.url)
    zoe, yan = await crowd.account("Zoe"), await crowd.account("Yan")
    yan_again = await crowd.rest.login(yan.user["email"], PASSWORD)
    await crowd.close()
    async with serving(replace(stage.settings, rate_limit_scale=0.0001), mongo_url) as (_, url), http(url) as call:
        counted = set()
        for endpoint in ENDPOINTS.values():
            operation = endpoint.operation
            first = second = zoe.access_token if operation.permission == USER else token_for(endpoint, stage)
            if operation is LOGOUT:
                first, second = yan.access_token, yan_again.access_token
            count = operation.limit.tier or operation.name, operation.needs_login
            if count not in counted:
                await send(call, endpoint, stage, example(endpoint, stage), token=first)
            counted.add(count)
            answer = await send(call, endpoint, stage, example(endpoint, stage), token=second)
            check(answer, endpoint, "rate_limited")
            assert answer.body["error"]["retry_after_ms"] > 0
            assert int(answer.headers["Retry-After"]) * 1000 >= answer.body["error"]["retry_after_ms"]
            assert "RateLimit" in answer.headers


@for_administrators
async def test_who_is_no_administrator_does_not_hear_what_there_is(
    stage: Stage, call: Http, key: tuple[str, str]
) -> None:
    endpoint = ENDPOINTS[key]
    for fields in (example(endpoint, stage), {**example(endpoint, stage), "no_such_field": 1}):
        check(await send(call, endpoint, stage, fields, token=stage.token), endpoint, "forbidden")


REFUSED = [
    ("GET", "/api/v1/chat/conversations/{conversation_id}", "foreign", "not_a_participant"),
    ("GET", "/api/v1/chat/conversations/{conversation_id}/messages", "foreign", "not_a_participant"),
    ("POST", "/api/v1/chat/conversations/{conversation_id}/messages", "foreign", "not_a_participant"),
    ("POST", "/api/v1/chat/conversations/{conversation_id}/members", "foreign", "not_a_participant"),
    ("PATCH", "/api/v1/chat/conversations/{conversation_id}", "foreign", "not_a_participant"),
    ("PATCH", "/api/v1/chat/messages/{message_id}", "bens", "forbidden"),
    ("DELETE", "/api/v1/chat/messages/{message_id}", "bens", "forbidden"),
    ("PATCH", "/api/v1/chat/messages/{message_id}", "foreign_message", "not_a_participant"),
    ("DELETE", "/api/v1/chat/messages/{message_id}", "foreign_message", "not_a_participant"),
    ("POST", "/api/v1/chat/messages/{message_id}/reactions", "foreign_message", "not_a_participant"),
    ("POST", "/api/v1/chat/messages/{message_id}/reactions", "deleted", "message_deleted"),
]


@pytest.mark.parametrize(("method", "path", "target", "code"), REFUSED)
async def test_what_may_not_be_done(stage: Stage, call: Http, method: str, path: str, target: str, code: str) -> None:
    endpoint = ENDPOINTS[method, path]
    fields = {**example(endpoint, stage), endpoint.route.path_names[0]: getattr(stage, target)}
    check(await send(call, endpoint, stage, fields), endpoint, code)


@with_path
async def test_what_does_not_exist(stage: Stage, call: Http, key: tuple[str, str]) -> None:
    endpoint = ENDPOINTS[key]
    for unknown in ("c_000000000000000000000000", "c_000000000000000000000000.1", "..x"):
        fields = {**example(endpoint, stage), endpoint.route.path_names[0]: unknown}
        check(await send(call, endpoint, stage, fields), endpoint, "not_found")
