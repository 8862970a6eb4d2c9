"""Requests that would cost more than they carry are refused before they do."""

from __future__ import annotations

import asyncio
import gzip
from urllib.parse import urlsplit

import pytest

from ops.metrics import ERRORS
from server import Server
from tests.rest.client import http
from tests.support import Crowd, until

BOMB = gzip.compress(b'{"email": "' + b"a" * 50_000_000 + b'"}')


@pytest.mark.parametrize("path", ["/api/v1/auth/login", "/nowhere", "/socket.io/?EIO=4&transport=polling&sid=x"])
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "x-gzip", "GZIP", "identity, gzip"])
async def test_what_is_compressed_is_refused_and_not_inflated(
    url: str, path: str, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inflated: list[int] = []
    monkeypatch.setattr("aiohttp.http_parser.ZLibDecompressor", lambda *args, **kwargs: inflated.append(1))
    async with http(url) as call:
        answer = await call("POST", path, data=BOMB, headers={"Content-Encoding": encoding})
    assert answer.status == 415
    assert answer.body["error"]["code"] == "unsupported_media_type"
    assert answer.headers["Connection"] == "close"
    assert inflated == []


async def test_what_says_that_it_is_not_compressed_is_taken(url: str) -> None:
    async with http(url) as call:
        headers = {"Content-Encoding": "Identity", "Content-Type": "application/json"}
        answer = await call("POST", "/api/v1/auth/login", data=b"{", headers=headers)
    assert answer.body["error"]["code"] == "malformed_json"


@pytest.mark.parametrize("body", [b"Content-Length: 100\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n5\r\n{"])
@pytest.mark.parametrize("path", ["/api/v1/auth/login", "/socket.io/?EIO=4&transport=polling&sid="])
async def test_an_upload_that_is_given_up_is_no_error_of_ours(
    server: Server, url: str, path: str, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    where, before = urlsplit(url), ERRORS._value.get()
    async with http(url) as call:
        opened = (await call("GET", "/socket.io/?EIO=4&transport=polling")).body
    if path.endswith("="):
        path += opened.partition('"sid":"')[2].partition('"')[0]
    _, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n".encode() + body)
    connections = server.strangers._all
    await until(lambda: any(getattr(one, "_request_in_progress", False) for one in connections))
    (uploading,) = [one for one in connections if getattr(one, "_request_in_progress", False)]
    writer.transport.abort()
    await until(lambda: not uploading._request_in_progress)  # type: ignore[attr-defined]
    assert ERRORS._value.get() == before
    assert "unexpected" not in caplog.text


@pytest.mark.parametrize("line", [b"X-Forwarded-For: 10.0.0.1\xff", b"Cookie: a=\xed\xa0\xbd", b"X-Any: caf\xe9"])
@pytest.mark.parametrize("path", ["/api/v1/auth/login", "/nowhere", "/socket.io/?EIO=4&transport=polling", "/docs"])
async def test_a_header_that_is_no_text_is_refused_at_the_door(url: str, path: str, line: bytes) -> None:
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n".encode() + line + b"\r\n\r\n")
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 400"), answer
    assert b"is not UTF-8 text" in answer


async def test_text_beyond_ascii_is_taken(url: str) -> None:
    async with http(url) as call:
        answer = await call("GET", "/api/v1/health/live", headers={"X-Name": "Zoë 你好", "Cookie": "name=Zoë"})
    assert answer.status == 200


async def test_a_body_that_does_not_come_has_an_end(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rest.endpoint.BODY_S", 0.2)
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    head = "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n"
    writer.write(head.encode() + b'{"email":')
    answer = await reader.read()  # until the server closes
    writer.close()
    assert answer.startswith(b"HTTP/1.1 408"), answer
    assert b"did not arrive within" in answer


async def test_who_has_not_logged_in_sends_little(crowd: Crowd, url: str) -> None:
    ada, _, conversation = await crowd.pair()
    long = {"client_id": "m", "text": "é" * 4_000, "mentions": []}
    async with http(url) as call:
        for body in ({"email": "a@example.test", "password": "x" * 20_000}, {"email": "x" * 20_000}):
            for path in ("/api/v1/auth/login", "/api/v1/auth/register", "/api/v1/auth/refresh"):
                assert (await call("POST", path, body)).status == 413
        path = f"/api/v1/chat/conversations/{conversation['id']}/messages"
        answer = await call("POST", path, {**long, "unknown": "x" * 20_000}, ada.account.access_token)
        assert answer.code == "validation_failed"  # it was read
