"""No log line tells the id of a session: who knows one of Engine.IO can poll for its client, and a refresh token begins
with the id of its log-in."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ops import logs
from server import Server
from settings import Settings
from tests.rest.client import http
from tests.socket.protocol import Place, Polling, place_on
from tests.support import Crowd, Raw, group


@pytest.fixture
def log_file(tmp_path: Path) -> Iterator[Path]:
    """Logs as a server writes them, with everything that there is to log."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    noisy = {name: logging.getLogger(name).level for name in ("pymongo", "aiohttp.access", "aiohttp.server", "asyncio")}
    for handler in handlers:
        root.removeHandler(handler)
    logs.configure("DEBUG", tmp_path / "logs")
    yield tmp_path / "logs" / "parley.log"
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        handler.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)
    for name, before in noisy.items():
        logging.getLogger(name).setLevel(before)


@pytest.fixture
async def place(log_file: Path, settings: Settings, mongo_url: str) -> AsyncIterator[Place]:
    async with place_on(settings, mongo_url) as made:
        yield made


def ids_of(server: Server) -> set[str]:
    """Of Engine.IO, Socket.IO, its recovery, and the log-ins."""
    found = set(server.sio.eio.sockets)
    for session in server.sio.eio.sockets.values():
        for member in session.members.values():
            found |= {member.sid, server.sio.recovery.pid_of(member) or member.sid}
        if session.owner is not None:
            found.add(session.owner.identity.session_id)
    return found


async def talk(crowd: Crowd, server: Server) -> tuple[set[str], list[Any]]:
    """Over every transport; ids and tokens that must not be logged."""
    transports = (("websocket",), ("polling",), ("polling", "websocket"))
    people = [await crowd.connect(await crowd.account(), transports=kind) for kind in transports]
    conversation = await group(*people)
    for number, person in enumerate(people):
        send = {"conversation_id": conversation["id"], "client_id": f"m{number}", "text": "hello"}
        await person.call("chat:send", send)
    return ids_of(server), [person.account.tokens for person in people]


async def misbehave(place: Place) -> set[str]:
    """What makes the server complain, of sessions that live, have ended, or never were."""
    token, found = place.ada.access_token, {"nobodys-session-id-00"}
    async with Polling(place.url) as polling, Raw(place.url) as raw, Raw(place.url) as ended:
        for one in (polling, raw, ended):
            await one.connect("/chat", token)
        found |= ids_of(place.server)
        sids = [polling.handshake["sid"], raw.handshake["sid"], ended.handshake["sid"], "nobodys-session-id-00"]
        await ended.send("4nonsense")
        while await ended.receive() is not None:
            pass
        async with aiohttp.ClientSession() as client:
            for sid in sids[1:]:
                for query in ("transport=polling", "transport=websocket", "transport=smoke"):
                    for method in ("GET", "POST", "PUT"):
                        url = f"{place.url}/socket.io/?EIO=4&{query}&sid={sid}"
                        async with client.request(method, url, data=b"x" if method == "POST" else None) as answer:
                            assert answer.status in (200, 400)
        await polling.post_body(b"\xff\xfe")
    return found


async def test_no_log_line_tells_one(place: Place, log_file: Path) -> None:
    crowd = Crowd(place.url)
    ids, tokens = await talk(crowd, place.server)
    async with http(place.url) as call:
        mine = tokens[0]["access_token"]
        for session in (await call("GET", "/api/v1/auth/sessions", token=mine)).body["items"]:
            ids.add(session["id"])
            gone = await call("DELETE", f"/api/v1/auth/sessions/{session['id']}", token=mine)
            assert gone.status == 204
    ids |= await misbehave(place)
    await crowd.close()
    written = log_file.read_text()
    assert len(ids) > 12
    for identifier in ids:
        assert identifier not in written
    for each in tokens:
        for token in (each["access_token"], each["refresh_token"]):
            assert token not in written
            assert token.rpartition(".")[2] not in written
    messages = [json.loads(line)["message"] for line in written.splitlines()]
    assert any(message.startswith("DELETE /api/v1/auth/sessions/s_") for message in messages), "only its id is masked"
    assert any(message.startswith("closing connection ") for message in messages), "but one may still look for it"


async def test_the_libraries_do_not_write_past_our_logs(server: Server) -> None:
    """Given no logger, they make one with a handler of its own, which masks nothing."""
    for logger in (server.sio.logger, server.sio.eio.logger):
        assert (logger.name, logger.handlers) == ("parley.socketio", [])


def test_a_refresh_token_is_masked_and_what_looks_like_one_is_not() -> None:
    login, other = "s_" + "0123456789ab" * 2, "clas" + "s_" + "0123456789ac" * 2
    masked = logs.masked(f"GET /sessions/{login} and {login}.some-Random_part0, s_short, {other}")
    assert login not in masked
    assert "some-Random_part0" not in masked
    assert masked.endswith(f"s_short, {other}")
    assert logs.masked(login) == logs.masked(login) != logs.masked("s_" + "f" * 24)
