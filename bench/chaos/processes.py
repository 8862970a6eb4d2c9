"""The parts of the cluster: web processes, Redis, the database. Each can be killed, frozen and started again.

A part keeps its port and directory over all its lives. What it prints goes to a file. None outlives the harness.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from bench import redis_server
from bench.chaos.part import ChaosError, Part
from bench.chaos.proxy import HOST
from bench.chaos.redis_parts import REDIS
from bench.processes import NOT_INHERITED, ROOT
from storage.embedded import URL_OPTIONS, EmbeddedMongo

DATABASE = "chaos"
SECRET = "a secret of the chaos harness, at least 32 bytes"


class Mongo:
    """The embedded database, by itself."""

    def __init__(self, directory: Path, port: int) -> None:
        self._directory = directory
        self._embedded = EmbeddedMongo(directory)
        self.port = port

    async def start(self) -> None:
        # In a thread, because it blocks. The daemon lives as long as the thread that forks it; the loop's threads stay.
        await asyncio.to_thread(self._embedded.start, self.port)

    async def stop(self) -> None:
        await asyncio.to_thread(self._embedded.stop)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    async def restart(self) -> None:
        """After a kill."""
        await self.stop()
        await self.start()

    def _signal(self, number: int) -> None:
        os.kill(int(json.loads((self._directory / "db.json").read_text())["pid"]), number)


class Cluster:
    """Everything that serves. `command` runs a web process; `redis` is one of `REDIS`."""

    def __init__(
        self, directory: Path, processes: int, command: list[str], redis: str = "single", limits: str = "0"
    ) -> None:
        self._limits = limits  # RATE_LIMIT_SCALE
        self._ports = redis_server.free_ports()
        self.mongo = Mongo(directory / "database", next(self._ports))
        self.redis = REDIS[redis](directory, self._ports, DATABASE)
        self._directory = directory
        self.webs = [self._part(f"web-{number}", command, "PORT") for number in range(processes)]
        self.worker = self._part("worker", ["-m", "workers"], "WORKER_PORT")

    def _part(self, name: str, command: list[str], port_name: str) -> Part:
        port = next(self._ports)
        env = self._environment(name, **{port_name: str(port)})
        return Part(name.replace("-", " "), [sys.executable, *command], env, port, self._directory / f"{name}.log")

    def _environment(self, name: str, **more: str) -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if name not in NOT_INHERITED} | {
            "HOST": HOST, "DATA_DIR": str(self._directory / name),
            "MONGO_URL": f"mongodb://{HOST}:{self.mongo.port}/{URL_OPTIONS}",
            "MONGO_DB": DATABASE, "REDIS_URL": self.redis.url, "JWT_SECRET": SECRET,
            "RATE_LIMIT_SCALE": self._limits, "BCRYPT_ROUNDS": "4", "ACCESS_TOKEN_TTL_S": "7200",
            "PYTHONUNBUFFERED": "1", **more,
        }  # fmt: skip

    @property
    def parts(self) -> tuple[Part, ...]:
        """All but the database."""
        return (*self.webs, self.worker, *self.redis.parts)

    async def command(self, *arguments: str, given: str = "") -> tuple[int, str]:
        """Runs one of the commands beside the server; (its exit code, what it printed)."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, cwd=ROOT, env=self._environment("commands"),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        printed, _ = await process.communicate(given.encode())
        return process.returncode or 0, printed.decode()

    async def start(self) -> None:
        await asyncio.gather(self.mongo.start(), self.redis.start())
        await asyncio.gather(*(web.start() for web in self.webs), self.worker.start())

    async def stop(self) -> None:
        for part in self.parts:
            part.kill()
        with contextlib.suppress(OSError):
            self.mongo.thaw()
        await self.mongo.stop()

    def url(self) -> str:
        """Of some web process that is up, without a proxy."""
        port = self.dial(self.webs[0].port)
        if port is None:
            raise ChaosError("no web process is up")
        return f"http://{HOST}:{port}"

    def dial(self, home: int) -> int | None:
        """This port if its process is up, or else that of the next one: the connections of one session meet."""
        ports = [web.port for web in self.webs]
        first = ports.index(home)
        up = [web.port for web in self.webs[first:] + self.webs[:first] if web.look()]
        return up[0] if up else None
