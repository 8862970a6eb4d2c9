"""A place that the tests of a module share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.socket.protocol import Place, Polling, place_on, settings_for_tests


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(mongo_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    async with place_on(settings_for_tests(tmp_path_factory.mktemp("place")), mongo_url) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def polling(place: Place) -> AsyncIterator[Polling]:
    """Ada's session, connected to /chat."""
    async with Polling(place.url) as session:
        assert (await session.connect("/chat", place.ada.access_token)).startswith("40/chat,")
        yield session
