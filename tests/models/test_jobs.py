"""Jobs: each is done, whatever fails; what fails too often is kept for an operator."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from models.context import now
from models.jobs import actions
from models.jobs.actions import Jobs
from models.jobs.document import INDEXES
from models.jobs.store import JobStore
from models.sessions import actions as sessions_actions
from models.sessions.actions import Sessions
from models.sessions.store import SessionStore
from realtime.bus import MemoryBus
from storage.mongo import Database
from tests.clock import Clock
from tests.support import PATIENCE_S, until
from workers.runner import Runner


class Yard:
    """Jobs of a database of its own, and what was done of them."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.jobs = Jobs(JobStore(database), MemoryBus())
        self.count = Counter[str]()
        self.fail: set[str] = set()
        self.slow_s = 0.0

    async def task(self, payload: dict[str, Any]) -> None:
        self.count[payload["name"]] += 1
        if payload["name"] in self.fail:
            raise ValueError("it cannot be done")
        await asyncio.sleep(self.slow_s)

    async def scheduled(self, payload: dict[str, Any]) -> None:
        await self.task({"name": "scheduled"})

    def runner(self) -> Runner:
        return Runner(self.jobs, {"test": self.task})

    async def add(self, *names: str, in_s: float = 0.0, kind: str = "test") -> None:
        run_at = now() + timedelta(seconds=in_s)

        async def work(session: Any) -> None:
            for name in names:
                await self.jobs.add(kind, {"name": name}, session, run_at)

        await self.database.transact(work)
        await self.jobs.announce()

    async def ends_at(self) -> datetime:
        """Until when the only job is its runner's."""
        (job,) = await self.database.collection("jobs").find({}).to_list(None)
        end: datetime = job["run_at"]
        return end

    async def left(self) -> int:
        count: int = await self.database.collection("jobs").count_documents({"state": "waiting"})
        return count


@pytest.fixture
async def yard(mongo_url: str) -> AsyncIterator[Yard]:
    database = Database(mongo_url, f"t_{secrets.token_hex(6)}", single=True)
    await database.connect()
    await database.create_indexes(INDEXES)
    yield Yard(database)
    database.close()


async def test_each_job_is_done_once_by_one_of_several(yard: Yard) -> None:
    runners = [yard.runner() for _ in range(3)]
    names = [str(number) for number in range(60)]
    await yard.add(*names)
    for runner in runners:
        await runner.start()
    await until(lambda: sum(yard.count.values()) >= 60)
    for runner in runners:
        await runner.stop()
    assert yard.count == Counter(names)
    assert await yard.left() == 0


async def test_a_job_waits_for_its_time_and_news_wake_the_runner(
    yard: Yard, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.runner.LOOK_EVERY_S", 3_600.0)  # nothing but news makes it look
    runner = yard.runner()
    await runner.start()
    await yard.add("later", in_s=3_600)
    for name in ("one", "two"):
        await yard.add(name)
        await until(lambda name=name: yard.count[name] == 1)  # type: ignore[misc]
    assert not yard.count["later"]
    clock.move(3_601)
    await yard.jobs.announce()
    await until(lambda: yard.count["later"] == 1)
    await runner.stop()


async def test_what_is_asked_for_while_it_is_done_is_done_once_more(yard: Yard, clock: Clock) -> None:
    yard.slow_s = 3_600.0
    payload, later = {"name": "one"}, now() + timedelta(seconds=3_600)
    await yard.jobs.ensure("one", "test", payload, now())
    runner = yard.runner()
    await runner.start()
    await until(lambda: yard.count["one"] == 1)
    (job,) = await yard.database.collection("jobs").find({}).to_list(None)
    for run_at in (later, now()):  # not before the later one
        await yard.jobs.ensure("one", "test", payload, run_at)
    await yard.jobs.done(job)
    assert await yard.ends_at() == later
    await runner.stop()
    taken = await yard.jobs.take("one", await yard.ends_at(), "another")
    assert taken is not None
    await yard.jobs.done(taken)
    assert await yard.left() == 0


async def test_what_is_rolled_back_is_no_job(yard: Yard) -> None:
    async def work(session: Any) -> None:
        await yard.jobs.add("test", {"name": "never"}, session)
        raise KeyError("the change fails")

    with pytest.raises(KeyError):
        await yard.database.transact(work)
    assert await yard.left() == 0


async def test_what_fails_is_tried_again_and_kept_in_the_end(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "BACKOFF_FIRST_S", 0.01)
    monkeypatch.setattr(actions, "ATTEMPTS_MAX", 3)
    yard.fail.add("poison")
    runner = yard.runner()
    await runner.start()
    await yard.add("poison", "good")
    await yard.add("strange", kind="unknown")
    async with asyncio.timeout(PATIENCE_S):
        while not await yard.jobs.dead():
            await asyncio.sleep(0.05)
    dead = {job["payload"]["name"]: job for job in await yard.jobs.dead()}
    assert yard.count == {"poison": 3, "good": 1}
    assert (dead["poison"]["attempts"], dead["poison"]["error"]) == (3, "ValueError: it cannot be done")
    yard.fail.clear()
    assert await yard.jobs.revive(dead["poison"]["_id"])
    assert not await yard.jobs.revive(dead["poison"]["_id"])
    await until(lambda: yard.count["poison"] == 4)
    await runner.stop()
    assert await yard.jobs.dead() == []
    assert await yard.left() == 1, "what this version does not know waits for one that does"


async def test_the_jobs_of_a_runner_that_died_are_taken_over(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "LEASE_S", 1.0)
    yard.slow_s = 30.0
    dying, other = yard.runner(), yard.runner()
    await dying.start()
    await yard.add("orphan")
    await until(lambda: yard.count["orphan"] == 1)
    assert dying._looking is not None
    for task in (dying._looking, *dying._running, *asyncio.all_tasks()):
        if task.get_name() in ("jobs", "job lease", "job test"):
            task.cancel()
    yard.slow_s = 0.0
    await other.start()
    await until(lambda: yard.count["orphan"] == 2)
    await other.stop()
    assert await yard.left() == 0


async def test_a_slow_job_keeps_its_lease_and_a_stop_gives_it_back(
    yard: Yard, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.runner.LEASE_S", 0.3)  # it is renewed often, and lasts as long as ever
    yard.slow_s = 3_600.0
    runner, other = yard.runner(), yard.runner()
    await runner.start()
    await yard.add("slow")
    await until(lambda: yard.count["slow"] == 1)
    await other.start()
    async with asyncio.timeout(PATIENCE_S):
        for _ in range(4):  # two thirds of a lease each
            end = await yard.ends_at()
            clock.move(actions.LEASE_S * 2 / 3)
            while await yard.ends_at() <= end:
                await asyncio.sleep(0.01)
    assert yard.count["slow"] == 1, "it was taken from a runner that was at it"
    await other.stop()
    await runner.stop(within_s=0.1)
    (job,) = await yard.database.collection("jobs").find({}).to_list(None)
    assert (job["attempts"], job["worker"]) == (0, None)
    yard.slow_s = 0.0
    again = yard.runner()
    await again.start()
    await until(lambda: yard.count["slow"] == 2)
    await again.stop()
    assert await yard.left() == 0


async def test_what_is_scheduled_comes_again_once_for_all_runners(yard: Yard) -> None:
    schedule = {"test": 0.3}
    runners = [Runner(yard.jobs, {"test": yard.scheduled}, schedule) for _ in range(3)]
    for runner in runners:
        await runner.start()
    await until(lambda: yard.count["scheduled"] >= 3)
    for runner in runners:
        await runner.stop()
    assert 3 <= yard.count["scheduled"] <= 4
    (job,) = await yard.database.collection("jobs").find({}).to_list(None)
    assert (job["_id"], job["state"], job["attempts"]) == ("schedule:test", "waiting", 0)


async def test_what_is_scheduled_never_dies(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "BACKOFF_FIRST_S", 0.01)
    monkeypatch.setattr(actions, "BACKOFF_MAX_S", 0.05)
    monkeypatch.setattr(actions, "ATTEMPTS_MAX", 2)
    yard.fail.add("scheduled")
    runner = Runner(yard.jobs, {"test": yard.scheduled}, {"test": 0.1})
    await runner.start()
    await until(lambda: yard.count["scheduled"] >= 4)
    yard.fail.clear()
    await until(lambda: yard.count["scheduled"] >= 6)
    await runner.stop()
    assert await yard.jobs.dead() == []


async def test_log_ins_that_ended_long_ago_are_forgotten_in_bounded_steps(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions_actions, "FORGET_AT_ONCE", 3)
    sessions = yard.database.collection("sessions")
    ages = [timedelta(days=days) for days in (-1, 1, 6, 8, 9, 10, 11, 12, 13, 14)]
    await sessions.insert_many([{"_id": str(age.days), "expires_at": now() - age} for age in ages])
    some = Sessions(SessionStore(yard.database), None, MemoryBus(), 1)  # type: ignore[arg-type]
    await some.forget_old({})
    assert {one["_id"] for one in await sessions.find({}).to_list(None)} == {"-1", "1", "6"}


async def test_a_job_that_kills_its_workers_is_kept_away_from_them(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "LEASE_S", 0.0)
    await yard.add("deadly")
    for taken in range(1, actions.DEATHS_MAX + 1):
        ((job_id, run_at),) = await yard.jobs.due(["test"])
        job = await yard.jobs.take(job_id, run_at, "one that dies at it")
        assert job is not None
        assert job["taken"] == taken
        await asyncio.sleep(0.002)
    ((job_id, run_at),) = await yard.jobs.due(["test"])
    assert await yard.jobs.take(job_id, run_at, "one more") is None
    (dead,) = await yard.jobs.dead()
    assert dead["error"] == "the workers that had it died"
