"""JSON that is valid and cannot be used is refused by the name of its field, over REST as over Socket.IO."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlsplit

import pytest

from tests.rest.client import http
from tests.support import PATIENCE_S, Crowd

HALF = "\\ud83d"
DEEP = '{"a":' + "[" * 100_000 + "]" * 100_000 + "}"
CASES = {
    "half an emoji": (f'{{"client_id":"x","text":"I agree {HALF}"}}', "text"),
    "the other half": ('{"client_id":"x","text":"\\udc4d"}', "text"),
    "half in an id": (f'{{"client_id":"{HALF}","text":"t"}}', "client_id"),
    "half in a list": (f'{{"client_id":"x","text":"t","mentions":["{HALF}"]}}', "mentions[0]"),
    "half in a field's name": (f'{{"{HALF}":1}}', "payload"),
    "a number beyond all": ('{"client_id":"x","text":1e999}', "text"),
}


@pytest.mark.parametrize("case", CASES)
async def test_the_field_is_named(crowd: Crowd, url: str, case: str) -> None:
    body, field = CASES[case]
    ada, _, conversation = await crowd.pair()
    async with http(url) as call:
        path = f"/api/v1/chat/conversations/{conversation['id']}/messages"
        headers = {"Content-Type": "application/json"}
        answer = await call("POST", path, token=ada.account.access_token, data=body.encode(), headers=headers)
        assert (answer.status, answer.code) == (422, "validation_failed"), answer.body
        assert [detail["field"] for detail in answer.body["error"]["details"]] == [field]


NOT_JSON = ['{"text":"', '{"text":"\x01"}', "{", '{"a":\\ud83d}', "[" * 100 + "1", '{"a":NaN}', DEEP]


@pytest.mark.parametrize("body", NOT_JSON)
async def test_what_is_no_json_is_called_so(crowd: Crowd, url: str, body: str) -> None:
    ada = await crowd.account()
    async with http(url) as call:
        headers = {"Content-Type": "application/json"}
        answer = await call("PATCH", "/api/v1/auth/me", token=ada.access_token, data=body.encode(), headers=headers)
        assert (answer.status, answer.code) == (400, "malformed_json"), answer.body


@pytest.mark.parametrize("query", ["%ED%A0%BD", "%FF%FE", "%00", "%C3%28"])
async def test_a_query_that_is_no_text_is_not_an_error_of_ours(crowd: Crowd, url: str, query: str) -> None:
    ada = await crowd.account()
    async with http(url) as call:
        for path in (f"/api/v1/chat/search?query={query}", f"/api/v1/chat/conversations/{query}?{query}={query}"):
            answer = await call("GET", path, token=ada.access_token)
            assert answer.status in (200, 404, 422), answer.body


@pytest.mark.parametrize("key", [b"\xff\xfe", b"caf\xe9", b"\xed\xa0\xbd"])
async def test_a_key_that_is_no_text_is_refused(crowd: Crowd, url: str, key: bytes) -> None:
    ada, _, conversation = await crowd.pair()
    target = urlsplit(url)
    reader, writer = await asyncio.open_connection(target.hostname, target.port)
    path = f"/api/v1/chat/conversations/{conversation['id']}/messages"
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
    head += f"Authorization: Bearer {ada.account.access_token}\r\nContent-Length: 12\r\nIdempotency-Key: "
    writer.write(head.encode() + key + b'\r\n\r\n{"text":"t"}')
    answer = await asyncio.wait_for(reader.read(), PATIENCE_S)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 400"), answer
    assert b'"field":"Idempotency-Key"' in answer


HEADERS = ["Authorization", "Cookie", "X-CSRF-Token", "User-Agent", "X-Request-Id", "X-Forwarded-For", "Origin"]
HEADERS += ["Accept", "Accept-Encoding", "Content-Type", "If-None-Match", "Access-Control-Request-Headers", "Host"]


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("value", [b"\xff", b"Bearer caf\xe9", b"parley_access=\xff", b"\xed\xa0\xbd"])
async def test_a_header_that_is_no_text_is_not_an_error_of_ours(
    crowd: Crowd, url: str, header: str, value: bytes
) -> None:
    """A person may register and log in with it, or is refused; the second time is as the first."""
    email = f"{header.lower()}.{value.hex()}@example.test"
    account = {"email": email, "password": "correct horse battery", "name": "Ada"}
    known = await crowd.account()
    requests = [("GET", "/api/v1/auth/me", {}), ("POST", "/api/v1/auth/register", account)]
    requests += [("POST", "/api/v1/auth/login", account), ("POST", "/api/v1/auth/refresh", {"refresh_token": "x"})]
    for method, path, body in requests:
        content = json.dumps({name: body[name] for name in body if path.endswith("register") or name != "name"})
        lines = {b"Host": b"x", b"Connection": b"close", b"Content-Type": b"application/json"}
        lines |= {b"Content-Length": str(len(content)).encode()}
        lines |= {b"Authorization": f"Bearer {known.access_token}".encode()} if method == "GET" else {}
        lines |= {header.encode(): value}
        head = b"".join(b"%b: %b\r\n" % line for line in lines.items())
        target = urlsplit(url)
        reader, writer = await asyncio.open_connection(target.hostname, target.port)
        writer.write(f"{method} {path} HTTP/1.1\r\n".encode() + head + b"\r\n" + content.encode())
        answer = await asyncio.wait_for(reader.read(), PATIENCE_S)
        writer.close()
        assert answer.startswith((b"HTTP/1.1 2", b"HTTP/1.1 4")), answer
