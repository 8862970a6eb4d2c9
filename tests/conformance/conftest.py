"""Fixtures of the conformance tests: the servers of `tests.conformance.server`, on the event loop of production."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
import uvloop

from tests.conformance.client import Place, hosting


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def echoing() -> AsyncIterator[Place]:
    async with hosting("engine") as place:
        yield place


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def socketing() -> AsyncIterator[Place]:
    async with hosting("socket") as place:
        yield place


@pytest.fixture
def engine(echoing: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Engine.IO alone. It has all the time in the world: a close is then never a ping's time-out."""
    return patient(echoing, monkeypatch)


@pytest.fixture
def brisk(echoing: Place) -> Place:
    """The same with the intervals that the protocol's documents ask for."""
    return echoing


@pytest.fixture
def forgiving(echoing: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Pings soon, and gives an answer the time that it may take on a busy machine."""
    monkeypatch.setattr(echoing.eio, "ping_interval", 0.5)
    monkeypatch.setattr(echoing.eio, "ping_timeout", 0.5)
    return echoing


@pytest.fixture
def place(socketing: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Socket.IO, as patient."""
    return patient(socketing, monkeypatch)


def patient(place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(place.eio, "ping_interval", 25.0)
    monkeypatch.setattr(place.eio, "ping_timeout", 20.0)
    return place
