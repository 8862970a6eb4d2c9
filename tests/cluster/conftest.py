"""One Redis cluster for all tests of this directory, whole at the end of each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.redis_cluster import RedisCluster


@pytest.fixture(scope="session")
def redis_nodes() -> Iterator[RedisCluster]:
    cluster = RedisCluster().start()
    yield cluster
    cluster.stop()


@pytest.fixture
def redis_cluster(redis_nodes: RedisCluster) -> Iterator[RedisCluster]:
    """What a test does to its nodes is mended afterwards."""
    yield redis_nodes
    redis_nodes.mend()
