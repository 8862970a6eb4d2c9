"""Fixtures: one embedded database for all tests, a database name of its own for each."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bench.redis_server import RedisServer
from server import Server
from settings import Settings
from storage.embedded import EmbeddedMongo
from tests.clock import Clock, moved_by
from tests.support import SECRET, Crowd, Process, serving


@pytest.fixture(scope="session")
def mongo_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    embedded = EmbeddedMongo(tmp_path_factory.mktemp("mongo"))
    yield embedded.start()
    embedded.stop()


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    redis = RedisServer().start()
    yield redis.url
    redis.stop()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Limits off, cheap hashes; a test that is about limits makes its own."""
    return Settings(
        data_dir=tmp_path, mongo_db=f"t_{secrets.token_hex(6)}", jwt_secret=SECRET, rate_limit_scale=0, bcrypt_rounds=4
    )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time of day, for servers in this process."""
    return moved_by(monkeypatch)


@pytest.fixture
async def running(settings: Settings, mongo_url: str) -> AsyncIterator[tuple[Server, str]]:
    async with serving(settings, mongo_url) as (server, url):
        yield server, url


@pytest.fixture
async def server(running: tuple[Server, str]) -> Server:
    return running[0]


@pytest.fixture
async def url(running: tuple[Server, str]) -> str:
    return running[1]


@pytest.fixture
async def crowd(url: str) -> AsyncIterator[Crowd]:
    people = Crowd(url)
    yield people
    await people.close()


@pytest.fixture(scope="session")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """One server process as an operator runs it, for clients that are other programs."""
    running = Process(tmp_path_factory.mktemp("data"), JWT_SECRET=SECRET, CONNECT_TIMEOUT_S="2").start()
    yield running
    assert running.terminate() == 0
