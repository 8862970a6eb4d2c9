"""What HTTP clients, browsers and caches expect of every answer: HEAD, Vary, no-store, and CORS on errors too."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from contract.catalogue import ENDPOINTS
from settings import Settings
from tests.rest.client import Http, http
from tests.support import Crowd, serving

ORIGIN = "https://shop.example"
EXPOSED = "X-Request-Id"


@pytest.fixture
async def shop(settings: Settings, mongo_url: str) -> AsyncIterator[Http]:
    """A server that a browser may call from ORIGIN."""
    async with serving(replace(settings, cors_origins=(ORIGIN,)), mongo_url) as (_, url), http(url) as call:
        yield call


@pytest.mark.parametrize("path", sorted({path for method, path in ENDPOINTS if method == "GET"}))
async def test_head_on_every_get_route(crowd: Crowd, url: str, path: str) -> None:
    token = (await crowd.account()).access_token
    async with http(url) as call:
        where = path.replace("{conversation_id}", "c_1").replace("{offer_id}", "o_1").replace("{user_id}", "u_1")
        got, head = await call("GET", where, token=token), await call("HEAD", where, token=token)
        assert head.status == got.status
        assert head.status not in (405, 500)
        assert head.headers["Content-Type"] == got.headers["Content-Type"]
        assert head.body == "" or head.body is None


@pytest.mark.parametrize("path", ["/", "/docs", "/docs/openapi.json", "/docs/events", "/metrics", "/app/main.js"])
async def test_head_on_pages(url: str, path: str) -> None:
    async with http(url) as call:
        assert (await call("HEAD", path)).status == 200


async def test_a_head_is_no_way_around_a_login(url: str) -> None:
    async with http(url) as call:
        assert (await call("HEAD", "/api/v1/auth/me")).status == 401


ERRORS = [
    ("GET", "/api/v1/nowhere", None, 404),
    ("DELETE", "/api/v1/auth/login", None, 405),
    ("POST", "/api/v1/auth/login", b"{" + b" " * 400_000 + b"}", 413),
    ("POST", "/api/v1/auth/login", b"{", 400),
    ("GET", "/api/v1/auth/me", None, 401),
    ("GET", "/api/v1/health/live", None, 200),
]


@pytest.mark.parametrize(("method", "path", "body", "status"), ERRORS)
async def test_an_allowed_origin_may_read_every_answer(
    shop: Http, method: str, path: str, body: bytes | None, status: int
) -> None:
    headers = {"Origin": ORIGIN} | ({"Content-Type": "application/json"} if body else {})
    answer = await shop(method, path, headers=headers, data=body)
    assert answer.status == status
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert EXPOSED in answer.headers["Access-Control-Expose-Headers"]
    assert "Origin" in answer.headers["Vary"]
    assert len(answer.headers.getall("Access-Control-Allow-Origin")) == 1


@pytest.mark.parametrize(("method", "path", "body", "status"), ERRORS)
@pytest.mark.parametrize("origin", ["https://evil.example", "null", None])
async def test_no_other_origin_may(
    shop: Http, method: str, path: str, body: bytes | None, status: int, origin: str | None
) -> None:
    """Vary is there all the same: what a cache keeps for one origin must not be given to another."""
    headers = ({"Origin": origin} if origin else {}) | ({"Content-Type": "application/json"} if body else {})
    answer = await shop(method, path, headers=headers, data=body)
    assert answer.status == status
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert "Origin" in answer.headers["Vary"]


@pytest.mark.parametrize(
    ("path", "method"), [("/api/v1/nowhere", "POST"), ("/api/v1/auth/login", "DELETE"), ("/api/v1/auth/login", "POST")]
)
async def test_a_preflight_is_allowed_so_that_the_error_can_be_read(shop: Http, path: str, method: str) -> None:
    """A browser that gets a refusal of its preflight tells its user nothing of the 404 or 405 behind it."""
    asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": "content-type,authorization"}
    allowed = await shop("OPTIONS", path, headers={"Origin": ORIGIN, **asked})
    assert allowed.status == 200
    assert allowed.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert method in allowed.headers["Access-Control-Allow-Methods"]
    assert "authorization" in allowed.headers["Access-Control-Allow-Headers"].lower()
    refused = await shop("OPTIONS", path, headers={"Origin": "https://evil.example", **asked})
    assert refused.status >= 400
    assert "Access-Control-Allow-Origin" not in refused.headers


async def test_polling_is_never_cached_and_varies(shop: Http) -> None:
    opened = await shop("GET", "/socket.io/?EIO=4&transport=polling", headers={"Origin": ORIGIN})
    assert opened.status == 200
    sid = opened.body[1:].partition('"sid":"')[2].partition('"')[0]
    posted = await shop("POST", f"/socket.io/?EIO=4&transport=polling&sid={sid}", data=b"3", headers={"Origin": ORIGIN})
    unknown = await shop("GET", "/socket.io/?EIO=4&transport=polling&sid=none", headers={"Origin": ORIGIN})
    assert (posted.status, unknown.status) == (200, 400)
    for answer in (opened, posted, unknown):
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Origin" in answer.headers["Vary"]
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    elsewhere = await shop("GET", "/socket.io/?EIO=4&transport=polling", headers={"Origin": "https://evil.example"})
    assert elsewhere.status == 400
    assert "Access-Control-Allow-Origin" not in elsewhere.headers
    assert "Origin" in elsewhere.headers["Vary"]
