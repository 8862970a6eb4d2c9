"""A place that the tests of a module share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.socket.protocol import Place, place_on, settings_for_tests


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(mongo_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    async with place_on(settings_for_tests(tmp_path_factory.mktemp("place")), mongo_url) as made:
        yield made
