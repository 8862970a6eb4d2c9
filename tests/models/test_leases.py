"""The directory behind presence: one behaviour in memory and in Redis, and what only several processes can show."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from redis.asyncio import Redis

from bench.redis_server import RedisServer
from realtime import leases
from realtime.leases import Directory, MemoryDirectory, RedisDirectory
from realtime.relay.client import prefix_of

PREFIX = prefix_of("t")


@pytest.fixture(scope="module")
def own_redis_url() -> Iterator[str]:
    """A Redis of this file's own, because its tests empty it."""
    redis = RedisServer().start()
    yield redis.url
    redis.stop()


@pytest.fixture
async def redis(own_redis_url: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(own_redis_url)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture(params=["memory", "redis"])
def directory(request: pytest.FixtureRequest, redis: Redis) -> Directory:
    return MemoryDirectory() if request.param == "memory" else RedisDirectory(redis, PREFIX)


# One behaviour


async def test_presence_begins_with_the_first_join_and_ends_with_the_leave(directory: Directory) -> None:
    assert await directory.present(["u_ada"]) == set()
    assert await directory.join("u_ada") is True
    assert await directory.present(["u_ada", "u_ben"]) == {"u_ada"}
    assert await directory.join("u_ada") is False
    assert await directory.leave(["u_ada"]) == ["u_ada"]
    assert await directory.present(["u_ada"]) == set()
    assert await directory.join("u_ada") is True


async def test_leaving_names_only_those_whose_presence_ended(directory: Directory) -> None:
    await directory.join("u_ada")
    await directory.join("u_ben")
    assert sorted(await directory.leave(["u_ada", "u_ben", "u_nobody"])) == ["u_ada", "u_ben"]
    assert await directory.leave(["u_ada"]) == []
    assert await directory.leave([]) == []


async def test_people_are_told_apart(directory: Directory) -> None:
    await directory.join("u_ada")
    await directory.join("u_ben")
    await directory.leave(["u_ada"])
    assert await directory.present(["u_ada", "u_ben"]) == {"u_ben"}


async def test_a_renewal_changes_nothing_for_those_who_are_there(directory: Directory) -> None:
    await directory.join("u_ada")
    assert await directory.renew(["u_ada"]) == []
    assert await directory.present(["u_ada"]) == {"u_ada"}


async def test_a_renewal_without_people_is_fine(directory: Directory) -> None:
    assert await directory.renew([]) == []


# Several processes


async def test_someone_on_two_processes_is_one_person(redis: Redis) -> None:
    one, other = RedisDirectory(redis, PREFIX), RedisDirectory(redis, PREFIX)
    assert await one.join("u_ada") is True
    assert await other.join("u_ada") is False
    assert await one.leave(["u_ada"]) == []
    assert await one.present(["u_ada"]) == {"u_ada"}
    assert await other.leave(["u_ada"]) == ["u_ada"]
    assert await one.present(["u_ada"]) == set()


async def test_of_many_joins_at_once_one_begins_the_presence(redis: Redis) -> None:
    began = await asyncio.gather(*[RedisDirectory(redis, PREFIX).join("u_ada") for _ in range(8)])
    assert began.count(True) == 1


async def dead(redis: Redis, monkeypatch: pytest.MonkeyPatch, *user_ids: str) -> RedisDirectory:
    """A process that joined these people and whose lease has run out."""
    directory = RedisDirectory(redis, PREFIX)
    with monkeypatch.context() as patch:
        patch.setattr(leases, "LEASE_S", -1.0)
        for user_id in user_ids:
            await directory.join(user_id)
    return directory


async def test_the_people_of_a_dead_process_are_taken_away_by_exactly_one(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = [f"u_{number}" for number in range(40)]
    await dead(redis, monkeypatch, *people)
    living = [RedisDirectory(redis, PREFIX) for _ in range(6)]
    gone = await asyncio.gather(*[directory.renew([]) for directory in living])
    assert sorted(user_id for found in gone for user_id in found) == sorted(people)
    assert await living[0].present(people) == set()
    assert [await directory.renew([]) for directory in living] == [[]] * 6
    assert await redis.keys(f"{PREFIX}presence:user:*") == []


async def test_who_is_also_on_a_living_process_stays(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    await dead(redis, monkeypatch, "u_ada", "u_ben")
    living = RedisDirectory(redis, PREFIX)
    assert await living.join("u_ada") is False
    assert await living.renew(["u_ada"]) == ["u_ben"]
    assert await living.present(["u_ada", "u_ben"]) == {"u_ada"}


async def test_a_lease_that_is_renewed_is_not_taken(redis: Redis) -> None:
    one, other = RedisDirectory(redis, PREFIX), RedisDirectory(redis, PREFIX)
    await one.join("u_ada")
    assert await one.renew(["u_ada"]) == []
    assert await other.renew([]) == []
    assert await other.present(["u_ada"]) == {"u_ada"}


async def test_a_process_taken_for_dead_says_again_whom_it_holds(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    hung = await dead(redis, monkeypatch, "u_ada")
    other = RedisDirectory(redis, PREFIX)
    assert await other.renew([]) == ["u_ada"]
    assert await hung.renew(["u_ada"]) == []
    assert await other.present(["u_ada"]) == {"u_ada"}
    assert await other.renew([]) == []
    assert await hung.leave(["u_ada"]) == ["u_ada"]


async def test_after_redis_lost_everything_the_renewal_says_who_is_there(redis: Redis) -> None:
    directory, other = RedisDirectory(redis, PREFIX), RedisDirectory(redis, PREFIX)
    await directory.join("u_ada")
    await directory.join("u_ben")
    await redis.flushall()
    assert await other.present(["u_ada", "u_ben"]) == set()
    assert await directory.renew(["u_ada", "u_ben"]) == []
    assert await other.present(["u_ada", "u_ben"]) == {"u_ada", "u_ben"}
    assert await directory.leave(["u_ada"]) == ["u_ada"]


async def test_after_redis_lost_everything_a_newcomer_does_not_hide_the_others(redis: Redis) -> None:
    """Someone connects between the loss and the next renewal: those who were there before must be found again too."""
    directory, other = RedisDirectory(redis, PREFIX), RedisDirectory(redis, PREFIX)
    await directory.join("u_ada")
    await redis.flushall()
    await directory.join("u_ben")
    await directory.renew(["u_ada", "u_ben"])
    assert await other.present(["u_ada", "u_ben"]) == {"u_ada", "u_ben"}


async def test_a_newcomer_does_not_hide_that_the_process_was_taken_for_dead(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    hung = await dead(redis, monkeypatch, "u_ada")
    other = RedisDirectory(redis, PREFIX)
    assert await other.renew([]) == ["u_ada"]
    await hung.join("u_ben")
    await hung.renew(["u_ada", "u_ben"])
    assert await other.present(["u_ada", "u_ben"]) == {"u_ada", "u_ben"}


async def lose(redis: Redis, writes: int, *commands: tuple[str, ...]) -> None:
    """A replica that had not yet got the last writes of all processes has taken over; `commands` undo what they did."""
    counts = f"{PREFIX}presence:writes"
    processes: Any = await redis.zrange(counts, 0, -1)
    for process in processes:
        await redis.zincrby(counts, -writes, process)
    for command in commands:
        await redis.execute_command(*command)  # type: ignore[no-untyped-call]


async def test_a_join_that_a_failover_lost_is_said_again(redis: Redis) -> None:
    directory, other = RedisDirectory(redis, PREFIX), RedisDirectory(redis, PREFIX)
    await directory.join("u_ada")
    await directory.join("u_ben")
    await lose(redis, 1, ("DEL", f"{PREFIX}presence:user:u_ben"))
    assert await directory.renew(["u_ada", "u_ben"]) == []
    assert await other.present(["u_ada", "u_ben"]) == {"u_ada", "u_ben"}


@pytest.mark.parametrize("then", [(), ("u_cleo",)])
async def test_a_leave_that_a_failover_lost_is_said_again(redis: Redis, then: tuple[str, ...]) -> None:
    """Also if the first to be counted again is a newcomer."""
    directory, other = RedisDirectory(redis, PREFIX), RedisDirectory(redis, PREFIX)
    await directory.join("u_ada")
    await directory.join("u_ben")
    assert await directory.leave(["u_ben"]) == ["u_ben"]
    process = directory._process
    user, mine = f"{PREFIX}presence:user:u_ben", f"{PREFIX}presence:process:{process}"
    await lose(redis, 1, ("SADD", user, process), ("SADD", mine, "u_ben"))
    for user_id in then:
        await directory.join(user_id)
    assert await directory.renew(["u_ada", *then]) == ["u_ben"]
    assert await other.present(["u_ada", "u_ben", *then]) == {"u_ada", *then}


async def test_who_comes_while_all_is_said_again_stays(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    directory, other = RedisDirectory(redis, PREFIX), RedisDirectory(redis, PREFIX)
    await directory.join("u_ada")
    await redis.flushall()
    mine = ["u_ada"]  # as it was when the renewal began
    await directory.join("u_ben")
    assert await directory.renew(mine) == []
    assert await other.present(["u_ada", "u_ben"]) == {"u_ada", "u_ben"}


async def test_a_dead_process_leaves_no_count_behind(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    await dead(redis, monkeypatch, "u_ada")
    living = RedisDirectory(redis, PREFIX)
    assert await living.renew([]) == ["u_ada"]
    assert await redis.zcard(f"{PREFIX}presence:writes") == 1
