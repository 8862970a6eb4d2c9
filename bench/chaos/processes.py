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
import time
from pathlib import Path

from bench import redis_server
from bench.chaos.proxy import HOST
from bench.processes import NOT_INHERITED, ROOT
from storage.embedded import URL_OPTIONS, EmbeddedMongo, die_with_parent

START_TIMEOUT_S = 60.0
END_TIMEOUT_S = 30.0
RESTART_PAUSE_S = 0.5
SECRET = "a secret of the chaos harness, at least 32 bytes"


class ChaosError(Exception):
    """The harness itself cannot go on; the text says why."""


async def answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    return True


class Part:
    """A child process that listens on a port."""

    def __init__(self, name: str, command: list[str], env: dict[str, str], port: int, log: Path) -> None:
        self.name = name
        self.port = port
        self.serving = False  # what a load balancer believes: it hears of deaths, not of freezes
        self.starts = 0
        self.ends: list[str] = []  # those that nobody wanted, or not in this way
        self._command = command
        self._env = env
        self._log = log
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._popen is not None
        return self._popen.pid

    async def start(self) -> None:
        """Until it listens. One that gives up is started again, as whatever runs servers does."""
        deadline = time.monotonic() + START_TIMEOUT_S
        self._launch()
        while not await answers(self.port):
            assert self._popen is not None
            if time.monotonic() > deadline:
                raise ChaosError(f"{self.name} did not start within {START_TIMEOUT_S:.0f} s; see {self._log}")
            if self._popen.poll() is not None:
                await asyncio.sleep(RESTART_PAUSE_S)
                self._launch()
            await asyncio.sleep(0.05)
        self.serving = True

    def _launch(self) -> None:
        self.starts += 1
        with self._log.open("ab") as log:
            self._popen = subprocess.Popen(
                self._command, cwd=ROOT, env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=die_with_parent,
            )  # fmt: skip

    def look(self) -> bool:
        """Whether it serves, as far as can be seen from outside. One that ended by itself is noted."""
        if self.serving and self._popen is not None and (code := self._popen.poll()) is not None:
            self.serving = False
            self.ends.append(f"{self.name} ended by itself with code {code}")
        return self.serving

    def kill(self) -> None:
        self.look()
        self.serving = False
        if self._popen is not None and self._popen.poll() is None:
            self._popen.kill()
            self._popen.wait()

    async def terminate(self) -> None:
        """SIGTERM; it has to end with code 0 in its time."""
        if not self.look():
            return
        self.serving = False
        assert self._popen is not None
        self._popen.terminate()
        deadline = time.monotonic() + END_TIMEOUT_S
        while (code := self._popen.poll()) is None:
            if time.monotonic() > deadline:
                self.kill()
                self.ends.append(f"{self.name} did not end within {END_TIMEOUT_S:.0f} s of SIGTERM")
                return
            await asyncio.sleep(0.05)
        if code != 0:
            self.ends.append(f"{self.name} ended with code {code} after SIGTERM")

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)


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
    """Everything that serves. `command` runs a web process."""

    def __init__(self, directory: Path, processes: int, command: list[str]) -> None:
        self._ports = redis_server.free_ports()
        self.mongo = Mongo(directory / "database", next(self._ports))
        port = next(self._ports)
        self.redis = Part("redis", redis_server.command(port), dict(os.environ), port, directory / "redis.log")
        self.redis_url = f"redis://{HOST}:{port}/0"
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
            "REDIS_URL": self.redis_url, "JWT_SECRET": SECRET, "RATE_LIMIT_SCALE": "0", "BCRYPT_ROUNDS": "4",
            "ACCESS_TOKEN_TTL_S": "7200", "PYTHONUNBUFFERED": "1", **more,
        }  # fmt: skip

    @property
    def parts(self) -> tuple[Part, ...]:
        """All but the database."""
        return (*self.webs, self.worker, self.redis)

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
