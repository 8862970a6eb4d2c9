"""Worker processes: every job is done although workers, web processes and Redis are killed in the middle."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp

from bench.processes import ROOT
from bench.redis_server import RedisServer
from models.context import now
from storage.embedded import free_port
from storage.mongo import Database
from tests.cluster.test_across import Scene, two_processes
from tests.faults.test_kill import close_all
from tests.support import PATIENCE_S, SECRET

Json = dict[str, Any]
# More by JOBS=2000.
JOBS = int(os.environ.get("JOBS", "120"))
TAKEN_OVER_S = 180.0


class WorkerProcess:
    """`python -m workers` as an operator runs it."""

    def __init__(self, root: Path, **env: str) -> None:
        self._env = {**os.environ, "DATA_DIR": str(root), "JWT_SECRET": SECRET, **env}
        self._popen: subprocess.Popen[bytes] | None = None
        self._log = root / "worker.log"
        root.mkdir(parents=True, exist_ok=True)

    def start(self) -> WorkerProcess:
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "workers"]
            self._popen = subprocess.Popen(command, cwd=ROOT, env=self._env, stdout=log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 30
        while "worker is working" not in self._log.read_text():
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.05)
        return self

    def end(self, number: int) -> int:
        assert self._popen is not None
        if self._popen.poll() is None:
            self._popen.send_signal(number)
        return self._popen.wait(30)


def offer(conversation: Json, number: int) -> Json:
    price = {"amount": 100, "currency": "USD"}
    return {
        "conversation_id": conversation["id"], "client_id": f"offer-{number}", "side": "sell", "settlement": "none",
        "items": [{"title": "Water", "quantity": 1, "unit_price": price}], "expires_in_s": 2,
    }  # fmt: skip


async def test_every_job_is_done_whoever_is_killed(tmp_path: Path, mongo_url: str) -> None:
    redis = RedisServer().start()
    try:
        with two_processes(tmp_path, mongo_url, redis.url) as (a, b):
            env = {"MONGO_URL": mongo_url, "MONGO_DB": a._env["MONGO_DB"], "REDIS_URL": redis.url}
            workers = [WorkerProcess(tmp_path / f"w{number}", **env).start() for number in range(2)]
            scene = Scene(a.url, b.url)
            ada, ben, conversation = await scene.pair()
            try:
                made = [await ada.call("offer:create", offer(conversation, n), "/offers") for n in range(JOBS)]
                await some_expired(mongo_url, env["MONGO_DB"])
                workers[0].end(signal.SIGKILL)  # with jobs in its hands
                a.kill()
                redis.stop()
                await asyncio.sleep(2)
                redis.start()
                ids = [answer["offer"]["id"] for answer in made]
                await all_expired(mongo_url, env["MONGO_DB"], ids)
                heard = await ben.call("chat:sync", {"cursors": {}}, "/chat")
                assert heard["conversations"]
            finally:
                assert workers[1].end(signal.SIGTERM) == 0
                workers[0].end(signal.SIGKILL)
                await close_all(scene.crowd)
    finally:
        redis.stop()


async def some_expired(mongo_url: str, name: str) -> None:
    database = Database(mongo_url, name, single=True)
    try:
        async with asyncio.timeout(PATIENCE_S):
            while await database.collection("offers").find_one({"status": "expired"}) is None:
                await asyncio.sleep(0.01)
    finally:
        database.close()


async def all_expired(mongo_url: str, name: str, ids: list[str]) -> None:
    """Each of the offers, and each told of once in its conversation."""
    database = Database(mongo_url, name, single=True)
    try:
        async with asyncio.timeout(TAKEN_OVER_S + JOBS / 50):
            while await database.collection("jobs").find_one({"state": "waiting", "kind": "offer.expire"}) is not None:
                await asyncio.sleep(0.5)
        offers = await database.collection("offers").find({"_id": {"$in": ids}}).to_list(None)
        assert Counter(one["status"] for one in offers) == {"expired": len(ids)}
        assert {one["version"] for one in offers} == {2}
        messages = await database.collection("messages").find({"kind": "offer"}).to_list(None)
        told = Counter(one["offer"]["offer_id"] for one in messages if one["offer"]["action"] == "expire")
        assert told == Counter(ids)
        assert sorted(one["seq"] for one in messages) == list(range(1, 2 * len(ids) + 1))
    finally:
        database.close()


async def test_a_poisoned_job_is_kept_and_replayed(tmp_path: Path, mongo_url: str) -> None:
    name = f"t_{secrets.token_hex(6)}"
    env = {**os.environ, "MONGO_URL": mongo_url, "MONGO_DB": name, "JWT_SECRET": SECRET, "DATA_DIR": str(tmp_path)}
    database = Database(mongo_url, name, single=True)
    job = {
        "_id": "j_1",
        "kind": "offer.expire",
        "payload": {},
        "state": "dead",
        "attempts": 8,
        "taken": 8,
        "error": "KeyError",
    }
    moments = dict.fromkeys(("run_at", "created_at"), now())
    await database.collection("jobs").insert_one({**job, **moments, "worker": None})

    def dead(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "workers", "dead", *arguments]
        return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)

    listed = dead()
    assert (listed.returncode, '"id":"j_1"' in listed.stdout, "1 dead jobs" in listed.stderr) == (0, True, True)
    assert dead("--replay", "j_2").returncode == 1
    assert dead("--replay", "j_1").returncode == 0
    found = await database.collection("jobs").find_one({"_id": "j_1"})
    assert found is not None
    assert (found["state"], found["attempts"]) == ("waiting", 0)
    assert dead("--replay-all").returncode == 0
    database.close()


async def test_a_worker_with_a_port_tells_how_it_is(tmp_path: Path, mongo_url: str, redis_url: str) -> None:
    env = {
        "MONGO_URL": mongo_url, "MONGO_DB": f"t_{secrets.token_hex(6)}", "REDIS_URL": redis_url,
        "WORKER_PORT": str(free_port()),
    }  # fmt: skip
    database = Database(mongo_url, env["MONGO_DB"], single=True)
    at = now()
    job = {"kind": "of.tomorrow", "payload": {}, "run_at": at, "created_at": at, "attempts": 8, "taken": 8}
    states = ("dead", "dead", "dead", "waiting", "waiting")  # those that wait are of a kind that it does not know
    await database.collection("jobs").insert_many(
        [{"_id": f"j_{n}", "state": state, "worker": None, "error": None, **job} for n, state in enumerate(states)]
    )
    database.close()
    worker = WorkerProcess(tmp_path / "w", **env).start()
    url = f"http://127.0.0.1:{env['WORKER_PORT']}"
    try:
        async with aiohttp.ClientSession() as session, asyncio.timeout(PATIENCE_S):
            async with session.get(f"{url}/api/v1/health/live") as response:
                assert await response.json() == {"status": "ok"}
            async with session.get(f"{url}/api/v1/health/ready") as response:
                assert (response.status, (await response.json())["status"]) == (200, "ready")
            shown = ""
            while not {"parley_jobs_dead 3.0", "parley_jobs_due 2.0"} <= set(shown.splitlines()):
                await asyncio.sleep(0.1)
                async with session.get(f"{url}/metrics") as response:
                    shown = await response.text()
        second = subprocess.run(
            [sys.executable, "-m", "workers"], cwd=ROOT, env={**worker._env, "DATA_DIR": str(tmp_path / "w2")},
            capture_output=True, text=True, check=False, timeout=30,
        )  # fmt: skip
        assert (second.returncode, "choose another WORKER_PORT" in second.stderr) == (1, True), second.stderr
    finally:
        assert worker.end(signal.SIGTERM) == 0


def test_without_redis_a_worker_says_why_it_does_not_start(tmp_path: Path) -> None:
    env = {key: value for key, value in os.environ.items() if key != "REDIS_URL"} | {"DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "workers"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "without Redis the web process does the jobs" in done.stderr
