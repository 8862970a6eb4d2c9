"""What is measured: a Parley of its own or a Node peer, started for one measurement and stopped after it.

Whatever is measured has core 0 to itself; this process, the load and the embedded database are on core 1. A fresh
process each time, because a second run in a warm heap would seem to need no memory.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PEERS = Path(__file__).parent / "peers"
SERVER_CORE, LOAD_CORE = 0, 1
FILES_WANTED = 40_000
START_TIMEOUT_S = 90
STOP_TIMEOUT_S = 60
OUTPUT = "output.log"
PARLEY_LISTENS = re.compile(r"parley listening on http://127\.0\.0\.1:(\d+)\n")
PEER_LISTENS = re.compile(r"listening on (\d+)\n")
SETTINGS = {
    "HOST": "127.0.0.1",
    "PORT": "0",
    "RATE_LIMIT_SCALE": "1000000",  # counted, as in production, and never met
    "BCRYPT_ROUNDS": "4",
    "MAX_CONNECTIONS_PER_USER": "100000",
    "ACCESS_TOKEN_TTL_S": "7200",  # longer than any measurement
    "LOG_LEVEL": "WARNING",
}
NOT_INHERITED = ("MONGO_URL", "REDIS_URL", "JWT_SECRET", "PARLEY_ENV")


class BenchError(Exception):
    """A measurement is impossible or broke a promise; the text says which."""


@dataclass(frozen=True, slots=True)
class Target:
    """A running server. `database_pid` is 0 and `database_url` empty when it has no database of its own."""

    pid: int
    port: int
    directory: Path
    database_pid: int = 0
    database_url: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def can_pin() -> bool:
    return hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1


def pin(pid: int, core: int) -> None:
    """All threads of a process on one core, where the system can and has two."""
    if can_pin():
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):  # a thread may end meanwhile
                os.sched_setaffinity(int(thread.name), {core})


def prepare_this_process() -> None:
    """Core 1 and many files for this process, and so for all it starts."""
    pin(os.getpid(), LOAD_CORE)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < FILES_WANTED:
        try:  # only the superuser may raise the hard limit, and not everywhere
            resource.setrlimit(resource.RLIMIT_NOFILE, (FILES_WANTED, max(FILES_WANTED, hard)))
        except (OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def files_allowed() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _on_server_core() -> None:
    if can_pin():
        os.sched_setaffinity(0, {SERVER_CORE})


@contextmanager
def running(
    command: list[str], cwd: Path, env: dict[str, str], directory: Path, says: re.Pattern[str]
) -> Iterator[Target]:
    # Into a file: a pipe nobody reads would fill up with warnings and then hold the server.
    output = directory / OUTPUT
    with output.open("w") as stream, subprocess.Popen(
        command, cwd=cwd, env=env, stdout=stream, stderr=subprocess.STDOUT, preexec_fn=_on_server_core
    ) as process:  # fmt: skip
        try:
            yield Target(process.pid, _wait_for_port(process, output, says), directory)
        finally:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_for_port(process: subprocess.Popen[bytes], output: Path, says: re.Pattern[str]) -> int:
    deadline = time.monotonic() + START_TIMEOUT_S
    while (found := says.search(output.read_text())) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            raise BenchError(f"{process.args!r} did not start: {output.read_text()[-2000:]}")
        time.sleep(0.05)
    return int(found[1])


@contextmanager
def parley(**settings: str) -> Iterator[Target]:
    """The web process on core 0 with an empty data directory, its embedded database on core 1."""
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as name:
        directory = Path(name)
        env = {key: value for key, value in os.environ.items() if key not in NOT_INHERITED}
        env |= {**SETTINGS, "DATA_DIR": str(directory / "data"), **settings}
        command = [sys.executable, "server.py"]
        with running(command, ROOT, env, directory, PARLEY_LISTENS) as server:
            database = json.loads((directory / "data/db.json").read_text())
            pin(database["pid"], LOAD_CORE)
            yield Target(server.pid, server.port, directory, database["pid"], database["url"])


@contextmanager
def peer(name: str, *arguments: str) -> Iterator[Target]:
    """One of the programs in `bench/peers` on core 0."""
    install_peers()
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as directory:
        command = ["node", f"{name}.js", *arguments]
        with running(command, PEERS, dict(os.environ), Path(directory), PEER_LISTENS) as target:
            yield target


def install_peers() -> None:
    """The locked packages, when they are not there yet or the lock is newer."""
    done, lock = PEERS / "node_modules/.installed", PEERS / "package-lock.json"
    if not done.exists() or done.stat().st_mtime < lock.stat().st_mtime:
        command = ["npm", "ci", "--silent", "--no-audit", "--no-fund"]
        if subprocess.run(command, cwd=PEERS, check=False).returncode != 0:
            raise BenchError("the Node peers need npm and Node 20 or newer")
        done.touch()
