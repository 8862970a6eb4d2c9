"""What surrounds every request: ids, headers, limits, errors of the framework, cross-origin rules, health, metrics."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp_apispec
import pytest

from rest.middleware import CONTENT_SECURITY_POLICY, SECURITY_HEADERS
from settings import Settings
from tests.rest.client import Http, http
from tests.support import PASSWORD, ROOT, Crowd, serving


@pytest.fixture
async def call(url: str) -> AsyncIterator[Http]:
    async with http(url) as client:
        yield client


@pytest.mark.parametrize("path", ["/", "/api/v1/health/live", "/api/v1/nowhere", "/docs", "/docs/events", "/metrics"])
async def test_every_answer_has_its_headers(call: Http, path: str) -> None:
    answer = await call("GET", path, headers={"X-Request-Id": "mine-1"})
    assert answer.headers["X-Request-Id"] == "mine-1"
    assert float(answer.headers["X-Process-Time"]) >= 0
    for name in SECURITY_HEADERS:
        assert name in answer.headers
    forged = await call("GET", path, headers={"X-Request-Id": "two words"})
    assert forged.headers["X-Request-Id"] != "two words"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/v1/nowhere", 404, "not_found"),
        ("GET", "/nowhere", 404, "not_found"),
        ("DELETE", "/api/v1/auth/login", 405, "method_not_allowed"),
        ("GET", "/api/v1/auth/me", 401, "unauthenticated"),
    ],
)
async def test_errors_of_the_framework_have_the_same_shape(
    call: Http, method: str, path: str, status: int, code: str
) -> None:
    answer = await call(method, path)
    assert answer.status == status
    error = answer.body["error"]
    assert set(error) == {"code", "message", "details", "retryable", "retry_after_ms", "request_id"}
    assert error["code"] == code
    assert error["request_id"] == answer.headers["X-Request-Id"]


async def test_bodies(call: Http) -> None:
    path = "/api/v1/auth/login"
    large = await call("POST", path, {"email": "a" * 400_000, "password": "x"})
    assert (large.status, large.code) == (413, "payload_too_large")
    headers = {"Content-Type": "application/json"}
    broken = await call("POST", path, data=b"{", headers=headers)
    assert (broken.status, broken.code) == (400, "malformed_json")
    form = await call("POST", path, data=b"a=1", headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert (form.status, form.code) == (415, "unsupported_media_type")
    array = await call("POST", path, [1])
    assert (array.status, array.code) == (422, "validation_failed")
    twice = await call("GET", "/api/v1/chat/conversations?limit=1&limit=2")
    assert twice.status == 401, "who is it comes before what is asked"


async def test_large_answers_are_compressed(crowd: Crowd, call: Http) -> None:
    ada, _, conversation = await crowd.pair()
    send = {"conversation_id": conversation["id"], "client_id": "m", "text": "lorem ipsum " * 500}
    await ada.call("chat:send", send)
    path = f"/api/v1/chat/conversations/{conversation['id']}/messages"
    answer = await call("GET", path, token=ada.account.access_token, headers={"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.body["items"][0]["text"] == send["text"]


async def test_rate_limits_tell_when_to_come_back(settings: Settings, mongo_url: str) -> None:
    limited = dataclasses.replace(settings, rate_limit_scale=0.02)
    async with serving(limited, mongo_url) as (_, url), http(url) as call:
        login = {"email": "ada@example.test", "password": PASSWORD}
        first = await call("POST", "/api/v1/auth/login", login)
        assert first.headers["RateLimit"].startswith('"default";r=')
        answers = [await call("POST", "/api/v1/auth/login", login) for _ in range(3)]
        refused = answers[-1]
        assert (refused.status, refused.code) == (429, "rate_limited")
        assert refused.body["error"]["retry_after_ms"] > 0
        assert int(refused.headers["Retry-After"]) >= 1


async def test_behind_a_proxy_the_client_is_whom_it_names(settings: Settings, mongo_url: str) -> None:
    limited = dataclasses.replace(settings, rate_limit_scale=0.01, trusted_proxies=1)
    async with serving(limited, mongo_url) as (_, url), http(url) as call:
        login = {"email": "ada@example.test", "password": PASSWORD}
        for last in range(3):
            headers = {"X-Forwarded-For": f"6.6.6.6, 10.0.0.{last}"}
            answer = await call("POST", "/api/v1/auth/login", login, headers=headers)
            assert answer.code == "invalid_credentials", "each of them has a limit of its own"
        again = await call("POST", "/api/v1/auth/login", login, headers={"X-Forwarded-For": "7.7.7.7, 10.0.0.1"})
        assert again.code == "rate_limited", "what the client wrote itself does not count"


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
@pytest.mark.parametrize("proxies", [0, 1])
async def test_a_proxy_that_nobody_told_of_is_warned_of_once(
    settings: Settings, mongo_url: str, header: str, proxies: int, caplog: pytest.LogCaptureFixture
) -> None:
    one = dataclasses.replace(settings, trusted_proxies=proxies)
    async with serving(one, mongo_url) as (_, url), http(url) as call:
        await call("GET", "/api/v1/health/live")
        assert "TRUSTED_PROXIES" not in caplog.text
        for path in ("/socket.io/?EIO=4&transport=polling", "/api/v1/health/live", "/"):
            await call("GET", path, headers={header: "203.0.113.7"})
    said = [record for record in caplog.records if "TRUSTED_PROXIES" in record.getMessage()]
    assert [(record.levelname, header in record.getMessage()) for record in said] == [("WARNING", True)] * (not proxies)


async def test_other_origins_are_let_in_by_name_only(settings: Settings, mongo_url: str) -> None:
    friendly = dataclasses.replace(settings, cors_origins=("https://app.example",))
    async with serving(friendly, mongo_url) as (_, url), http(url) as call:
        path = "/api/v1/auth/login"
        asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "Content-Type"}
        allowed = await call("OPTIONS", path, headers={"Origin": "https://app.example", **asked})
        assert allowed.status == 200
        assert allowed.headers["Access-Control-Allow-Origin"] == "https://app.example"
        stranger = await call("OPTIONS", path, headers={"Origin": "https://evil.example", **asked})
        assert "Access-Control-Allow-Origin" not in stranger.headers
        plain = await call("GET", "/api/v1/health/live", headers={"Origin": "https://app.example"})
        assert plain.headers["Access-Control-Allow-Origin"] == "https://app.example"
        assert "X-Request-Id" in plain.headers["Access-Control-Expose-Headers"]


async def test_health(call: Http) -> None:
    assert (await call("GET", "/api/v1/health/live")).body == {"status": "ok"}
    ready = await call("GET", "/api/v1/health/ready")
    assert ready.status == 200
    assert ready.body["status"] == "ready"
    assert ready.body["components"]["database"]["status"] == "up"
    for path in ("/api/v1/health/detailed", "/api/v1/system/health"):
        detailed = (await call("GET", path)).body
        assert set(detailed["components"]) == {"database", "redis", "sms", "email", "push"}
        assert detailed["components"]["redis"]["status"] == "not_configured"
        assert detailed["performance"]["connections"] == 0


async def test_metrics_count_commands(crowd: Crowd, call: Http) -> None:
    ada, _, conversation = await crowd.pair()
    await ada.call("chat:send", {"conversation_id": conversation["id"], "client_id": "m", "text": "x"})
    text = (await call("GET", "/metrics")).body
    assert 'parley_commands_total{command="chat:send",result="ok"}' in text
    assert 'parley_namespace_connections{namespace="/chat"} ' in text
    assert "parley_messages_sent_total" in text


async def test_the_documents_are_served(call: Http) -> None:
    page = await call("GET", "/docs")
    assert "<script>" not in page.body, "a script in the page would need an exception from the policy"
    assert page.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
    assert (await call("GET", "/docs/openapi.json")).body["openapi"].startswith("3.0")
    assert (await call("GET", "/docs/openapi.yaml")).body.startswith("openapi: 3.0")
    assert (await call("GET", "/docs/asyncapi.json")).body["asyncapi"].startswith("3.0")
    events = (await call("GET", "/docs/events")).body
    assert "chat:send" in events
    assert "idempotency_mismatch" in events
    assert 'src="http' not in page.body + events


async def test_swagger_ui_is_that_of_the_npm_package(call: Http) -> None:
    """And the one that aiohttp-apispec brings, which is years old, is not to be had."""
    swagger = ROOT / "rest" / "swagger"
    sums = dict(line.split()[::-1] for line in (swagger / "SHA256SUMS").read_text().splitlines())
    assert {"swagger-ui-bundle.js", "swagger-ui.css", "LICENSE", "NOTICE"} <= set(sums)
    for name, digest in sums.items():
        answer = await call("GET", f"/docs/assets/{name}")
        assert hashlib.sha256(answer.body.encode()).hexdigest() == digest
    bundle, readme = (swagger / "swagger-ui-bundle.js").read_text(), (swagger / "README.md").read_text()
    for pattern in (r"swagger-ui-dist\) (\S+)", r"DOMPurify ([0-9.]+\d)"):
        found = re.search(pattern, readme.replace("\n", " "))
        assert found is not None
        assert f'"{found[1]}"' in bundle
    theirs = Path(aiohttp_apispec.__file__).parent / "static"
    for old in {path.name for path in theirs.iterdir()} - {path.name for path in swagger.iterdir()}:
        for place in ("/docs/assets", "/static/swagger", "/docs"):
            assert (await call("GET", f"{place}/{old}")).status == 404
