"""Bad bodies, queries and paths over REST: each is refused with a declared code, in the contract's shape."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from contract.catalogue import ENDPOINTS
from contract.registry import Endpoint
from contract.types import Empty
from rest.endpoint import STRANGER_BODY_MAX
from server import BODY_BYTES_MAX
from tests.contract.bad_input import Bad, bad_values, brief
from tests.contract.rest_input import REST_EXAMPLES, check, example, send, split, those, token_for
from tests.contract.stage import Stage, settings_for_tests, staged
from tests.rest.client import Http, http

pytestmark = pytest.mark.asyncio(loop_scope="module")
JSON = {"Content-Type": "application/json"}
every_endpoint = those(lambda endpoint: True)
with_body = those(lambda endpoint: endpoint.route.takes_body)
with_query = those(lambda endpoint: not endpoint.route.takes_body)
with_path = those(lambda endpoint: bool(endpoint.route.path_names))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(mongo_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with staged(settings_for_tests(tmp_path_factory.mktemp("stage")), mongo_url) as set_up:
        yield set_up


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def call(stage: Stage) -> AsyncIterator[Http]:
    async with http(stage.url) as client:
        yield client


async def test_every_endpoint_has_a_valid_example(stage: Stage) -> None:
    for key, endpoint in ENDPOINTS.items():
        assert endpoint.operation.namespace is not None or key in REST_EXAMPLES or endpoint.payload is Empty, key
        msgspec.convert(example(endpoint, stage), endpoint.payload)
    assert set(REST_EXAMPLES) <= set(ENDPOINTS)


@with_body
@pytest.mark.parametrize(
    "body",
    [b"{", b"nonsense", b'{"a":1}}', b"{'a': 1}", b'{"a": NaN}', b"\xff\xfe", b'{"text": "\xff"}',
     b"[" * 10_000, b'{"text":' * 2_000,
     b"[" * 100_000, b'{"text":' * 20_000],
    ids=brief,
)  # fmt: skip
async def test_invalid_json(stage: Stage, call: Http, key: tuple[str, str], body: bytes) -> None:
    endpoint = ENDPOINTS[key]
    path, _ = split(endpoint, example(endpoint, stage))
    token = token_for(endpoint, stage)
    too_long = not endpoint.operation.needs_login and len(body) > STRANGER_BODY_MAX
    code = "payload_too_large" if too_long else "malformed_json"
    check(await call(endpoint.method, path, token=token, data=body, headers=JSON), endpoint, code)


@with_body
@pytest.mark.parametrize("body", [[], [{}], "text", 7, True], ids=brief)
async def test_a_body_that_is_no_object(stage: Stage, call: Http, key: tuple[str, str], body: Any) -> None:
    endpoint = ENDPOINTS[key]
    path, _ = split(endpoint, example(endpoint, stage))
    token = token_for(endpoint, stage)
    answer = await call(endpoint.method, path, token=token, data=json.dumps(body).encode(), headers=JSON)
    check(answer, endpoint, "validation_failed")


@with_body
@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "image/png", "application/octet-stream",
     "application/json; charset=utf-16", "application/json; charset=latin-1", "application/jsonp", None],
)  # fmt: skip
async def test_another_content_type(stage: Stage, call: Http, key: tuple[str, str], kind: str | None) -> None:
    endpoint = ENDPOINTS[key]
    path, rest = split(endpoint, example(endpoint, stage))
    token = token_for(endpoint, stage)
    body = json.dumps(rest).encode()
    options: Any = {"skip_auto_headers": ["Content-Type"]} if kind is None else {"headers": {"Content-Type": kind}}
    answer = await call(endpoint.method, path, token=token, data=body, **options)
    check(answer, endpoint, "unsupported_media_type")


@pytest.mark.parametrize(
    "kind", ["application/json", 'Application/JSON; charset="UTF-8"', "application/json;charset=utf8"]
)
async def test_json_in_utf_8(stage: Stage, call: Http, kind: str) -> None:
    body = '{"name": "Zoë"}'.encode()
    answer = await call("PATCH", "/api/v1/auth/me", token=stage.token, data=body, headers={"Content-Type": kind})
    assert (answer.status, answer.body["name"]) == (200, "Zoë")


async def test_an_empty_body_needs_no_content_type(stage: Stage, call: Http) -> None:
    answer = await call("PATCH", "/api/v1/auth/me", token=stage.token, skip_auto_headers=["Content-Type"])
    assert answer.status == 200


@with_body
@pytest.mark.parametrize("packed", [False, True])
async def test_an_oversize_body(stage: Stage, call: Http, key: tuple[str, str], packed: bool) -> None:
    endpoint = ENDPOINTS[key]
    path, _ = split(endpoint, example(endpoint, stage))
    body = b'{"text": "' + b"x" * BODY_BYTES_MAX + b'"}'
    headers = JSON | ({"Content-Encoding": "gzip"} if packed else {})
    token = token_for(endpoint, stage)
    data = gzip.compress(body) if packed else body
    code = "unsupported_media_type" if packed else "payload_too_large"
    check(await call(endpoint.method, path, token=token, data=data, headers=headers), endpoint, code)


@with_body
async def test_a_body_that_is_not_packed_as_it_says(stage: Stage, call: Http, key: tuple[str, str]) -> None:
    endpoint = ENDPOINTS[key]
    path, _ = split(endpoint, example(endpoint, stage))
    token = token_for(endpoint, stage)
    headers = JSON | {"Content-Encoding": "gzip"}
    answer = await call(endpoint.method, path, token=token, data=b"not gzip at all", headers=headers)
    check(answer, endpoint, "unsupported_media_type")


@every_endpoint
async def test_an_unknown_field(stage: Stage, call: Http, key: tuple[str, str]) -> None:
    endpoint = ENDPOINTS[key]
    answer = await send(call, endpoint, stage, {**example(endpoint, stage), "colour": "red"})
    check(answer, endpoint, "validation_failed")
    assert answer.body["error"]["details"][0]["field"] == "colour"


@with_query
async def test_a_field_given_twice(stage: Stage, call: Http, key: tuple[str, str]) -> None:
    endpoint = ENDPOINTS[key]
    for field in endpoint.payload.__struct_fields__:
        if field not in endpoint.route.path_names:
            answer = await send(call, endpoint, stage, {**example(endpoint, stage), field: ["1", "1"]})
            check(answer, endpoint, "validation_failed")
            assert answer.body["error"]["details"][0]["field"] == field


@every_endpoint
async def test_wrong_types_and_limits_of_each_field(stage: Stage, call: Http, key: tuple[str, str]) -> None:
    """In a body every spoilt value is refused; a query is text, so there it is those that no text stands for."""
    endpoint = ENDPOINTS[key]
    bad = [
        bad
        for bad in bad_values(endpoint.payload, example(endpoint, stage))
        if bad.field not in endpoint.route.path_names
        and bad.kind != "newline"
        and (endpoint.route.takes_body or (bad.kind != "type" and isinstance(bad.value, str | int)))
    ]
    faults = await not_refused(call, endpoint, stage, bad)
    assert not faults, "\n".join(faults)


async def not_refused(call: Http, endpoint: Endpoint, stage: Stage, values: list[Bad]) -> list[str]:
    """Those of the values that got another answer than validation_failed."""
    faults = []
    for bad in values:
        answer = await send(call, endpoint, stage, {**example(endpoint, stage), bad.field: bad.value})
        if answer.code != "validation_failed":
            faults.append(f"{bad.field} = {brief(bad.value)}: {answer.status} {answer.code}")
    return faults


async def test_a_newline_after_a_value_that_has_a_pattern(stage: Stage, call: Http) -> None:
    """Python's `$` matches before one, the `$` of JSON Schema does not."""
    faults = []
    for endpoint in ENDPOINTS.values():
        if endpoint.operation.namespace is None:  # the others are tested over the socket
            values = [b for b in bad_values(endpoint.payload, example(endpoint, stage)) if b.kind == "newline"]
            found = await not_refused(call, endpoint, stage, values)
            faults += [f"{endpoint.method} {endpoint.path}: {fault}" for fault in found]
    assert not faults, "\n".join(faults)


@with_path
@pytest.mark.parametrize("value", ["x" * 65, " ", "x y", "\x00", "é", "%", "a/b", "$ne"], ids=brief)
async def test_a_bad_path_parameter(stage: Stage, call: Http, key: tuple[str, str], value: str) -> None:
    endpoint = ENDPOINTS[key]
    answer = await send(call, endpoint, stage, {**example(endpoint, stage), endpoint.route.path_names[0]: value})
    check(answer, endpoint, "validation_failed")


@with_body
async def test_a_path_parameter_in_the_body_too(stage: Stage, call: Http, key: tuple[str, str]) -> None:
    endpoint = ENDPOINTS[key]
    path, rest = split(endpoint, example(endpoint, stage))
    for name in endpoint.route.path_names:
        answer = await call(endpoint.method, path, {**rest, name: "other"}, token_for(endpoint, stage))
        check(answer, endpoint, "validation_failed")


@with_body
async def test_an_idempotency_key_that_differs(stage: Stage, call: Http, key: tuple[str, str]) -> None:
    endpoint = ENDPOINTS[key]
    if "client_id" in endpoint.payload.__struct_fields__:
        answer = await send(call, endpoint, stage, example(endpoint, stage), headers={"Idempotency-Key": "other"})
        check(answer, endpoint, "validation_failed")
