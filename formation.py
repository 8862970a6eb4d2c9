"""Several web processes on one port and a worker by one command: `python formation.py --web 4`, or `make run WEB=4`.

It owns what they share: the port (SO_REUSEPORT), the embedded database where there is no MONGO_URL, and the secret. A
process that ends is started again, after a pause that grows while it does not last. SIGTERM and SIGINT drain all of
them; SIGHUP replaces them one after the other, each only when the one before is ready again. Why this is not a
library: docs/decisions/0015.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import settings as configuration
from security import secret
from storage import embedded

ROOT = Path(__file__).parent
PROCESSES_MAX = 64
PAUSE_FIRST_S = 0.5
PAUSE_MAX_S = 30.0
STEADY_S = 60.0  # whoever lasted so long did not fail at its start
STOP_GRACE_S = 5.0  # beyond the drain time, before a process is killed
LINE_BYTES_MAX = 1_048_576
WEB = ("server.py",), b"parley listening on "  # what is run, and how it says that it is ready
WORKER = ("-m", "workers"), b"parley worker is working"
_PR_SET_PDEATHSIG = 1


class FormationError(RuntimeError):
    """The formation cannot start; the text is for the operator."""


def put(line: bytes) -> None:
    """To standard output. Whoever read it may have gone, which is no reason to stop serving."""
    with contextlib.suppress(OSError):
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()


def say(text: str) -> None:
    put(f"formation: {text}\n".encode())


def _drain_with_parent() -> None:
    """In the child, on Linux: when the formation is killed, its processes drain instead of running on unowned."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    os.setpgrp()  # Ctrl-C in the terminal is for the formation


def _how(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


class Slot:
    """One place in the formation: a process, and whichever takes its place when it ends."""

    def __init__(
        self, name: str, kind: tuple[tuple[str, ...], bytes], env: dict[str, str], stop_within_s: float
    ) -> None:  # fmt: skip
        self.name = name
        self._command, self._ready_line = kind
        self.ready = asyncio.Event()
        self.failed = asyncio.Event()  # it never was ready
        self._env = env
        self._stop_within_s = stop_within_s
        self._process: asyncio.subprocess.Process | None = None
        self._replacing = False
        self._stopping = asyncio.Event()
        self._drained = True
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep())

    async def replace(self) -> None:
        """Drains the process; returns when its successor is ready."""
        self.ready.clear()
        if (process := self._process) is not None:
            self._replacing = True
            await self._drain(process)
        await self.ready.wait()

    async def stop(self) -> bool:
        """Drains it for good; False if it had to be killed, or failed."""
        self._stopping.set()
        if self._process is not None:
            await self._drain(self._process)
        if self._task is not None:
            await self._task
        return self._drained

    async def _drain(self, process: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), self._stop_within_s)
        except TimeoutError:
            say(f"{self.name} did not drain within {self._stop_within_s:g} s and is killed")
            with contextlib.suppress(ProcessLookupError):
                process.kill()

    async def _keep(self) -> None:
        """Starts it, and starts it again whenever it ends."""
        failures, ever_ready = 0, False
        while not self._stopping.is_set():
            started = time.monotonic()
            code = await self._run()
            ever_ready = ever_ready or self.ready.is_set() or self._replacing
            if self._stopping.is_set():
                # One that was told to go before it was ready had nothing to drain.
                self._drained = code == 0 or not self.ready.is_set()
            elif not ever_ready:
                say(f"{self.name} {_how(code)} before it was ready")
                self.failed.set()
                return
            elif self._replacing:
                self._replacing = False
                if code != 0:
                    say(f"{self.name} {_how(code)}")
            else:
                failures = 0 if time.monotonic() - started > STEADY_S else failures + 1
                pause_s = min(PAUSE_MAX_S, PAUSE_FIRST_S * 2 ** max(0, failures - 1))
                say(f"{self.name} {_how(code)}; it is started again in {pause_s:g} s")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), pause_s)
            self.ready.clear()

    async def _run(self) -> int:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *self._command, cwd=ROOT, env=self._env, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, limit=LINE_BYTES_MAX,
            preexec_fn=_drain_with_parent,
        )  # fmt: skip
        self._process = process
        if self._stopping.is_set():
            process.terminate()
        say(f"{self.name} is process {process.pid}")
        assert process.stdout is not None
        await self._relay(process.stdout)
        code = await process.wait()
        self._process = None
        return code

    async def _relay(self, lines: asyncio.StreamReader) -> None:
        """Passes on what it prints, line by line, but for the line that says it is ready."""
        while True:
            try:
                line = await lines.readline()
            except ValueError:
                continue  # a line without end, which was thrown away
            if not line:
                return
            if line.startswith(self._ready_line):
                self.ready.set()
            else:
                put(line)


class Formation:
    """Runs `count` web processes and a worker until told to stop. `prepare` makes the environment they share."""

    def __init__(self, count: int, stop_within_s: float, url: str, prepare: Callable[[], dict[str, str]]) -> None:
        self._count = count
        self._stop_within_s = stop_within_s
        self._url = url
        self._prepare = prepare
        self._slots: list[Slot] = []
        self._stopping = asyncio.Event()
        self._rolling: asyncio.Task[None] | None = None
        self._in_terminal = sys.stdin.isatty()

    async def run(self) -> int:
        """0: every process drained."""
        loop = asyncio.get_running_loop()
        for told in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(told, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._hung_up)
        # Blocks while nothing else runs yet: the database lives as long as the thread that forks it, so it is this one.
        shared = self._prepare()
        kinds = [(f"w{number}", WEB) for number in range(1, self._count + 1)] + [("worker", WORKER)]
        for name, kind in kinds:
            slot = Slot(name, kind, {**shared, "ROUTE": name}, self._stop_within_s)
            self._slots.append(slot)
            slot.start()
        try:
            await self._all_ready()
            if not self._stopping.is_set():
                put(f"parley listening on {self._url}\n".encode())
            await self._stopping.wait()
        finally:
            if self._rolling is not None:
                self._rolling.cancel()
            say("draining")
            drained = await asyncio.gather(*[slot.stop() for slot in self._slots])
        return 0 if all(drained) else 1

    async def _all_ready(self) -> None:
        """Also returns when told to stop. Raises FormationError if one cannot start: the others could not either."""
        waiting: list[asyncio.Future[Any]] = [
            asyncio.gather(*[slot.ready.wait() for slot in self._slots]),
            asyncio.ensure_future(self._stopping.wait()),
            *[asyncio.ensure_future(slot.failed.wait()) for slot in self._slots],
        ]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for one in waiting:
            one.cancel()
        for slot in self._slots:
            if slot.failed.is_set():
                raise FormationError(f"{slot.name} ended before it was ready; its last lines say why")

    def _hung_up(self) -> None:
        """Someone asks for a rolling restart, or the terminal that this runs in was closed."""
        if self._in_terminal and not sys.stdin.isatty():
            self._stopping.set()
        elif self._rolling is not None and not self._rolling.done():
            say("is restarting already")
        else:
            self._rolling = asyncio.create_task(self._replace_all())

    async def _replace_all(self) -> None:
        say("restarting one process after the other")
        for slot in self._slots:
            await slot.replace()
            say(f"{slot.name} is ready again")
        say("restarted")


def hold_port(host: str, port: int) -> socket.socket:
    """Bound and never listening: the port stays ours between two processes, and 0 becomes a number for all."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    held = socket.socket(family, kind, protocol)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        held.bind(address)
    except OSError as error:
        held.close()
        raise FormationError(f"{error.strerror}: {host}:{port}; choose another PORT") from None
    return held


def run(settings: configuration.Settings, count: int) -> int:
    database = None if settings.mongo_url else embedded.EmbeddedMongo(settings.data_dir)
    with hold_port(settings.host, settings.port) as held:
        port = held.getsockname()[1]

        def prepare() -> dict[str, str]:
            return configuration.environment(
                PORT=str(port), PORT_SHARED="1", MONGO_URL=settings.mongo_url or (database.start() if database else ""),
                JWT_SECRET=settings.jwt_secret or secret.load_or_create(settings.data_dir),
            )  # fmt: skip

        stop_within_s = settings.drain_timeout_s + STOP_GRACE_S
        try:
            return asyncio.run(Formation(count, stop_within_s, f"http://{settings.host}:{port}", prepare).run())
        finally:
            if database is not None:
                database.stop()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python formation.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--web", type=int, required=True, metavar="N", help="how many web processes")
    count = parser.parse_args().web
    if not 2 <= count <= PROCESSES_MAX:
        parser.error(f"--web must be between 2 and {PROCESSES_MAX}; one process is: python server.py")
    try:
        settings = configuration.load()
        if settings.redis_url is None:
            raise FormationError(
                "several processes need a Redis to hear of each other: set REDIS_URL, such as "
                "redis://127.0.0.1:6379/0, or run one process"
            )
        return run(settings, count)
    except (configuration.SettingsError, secret.SecretError, embedded.EmbeddedError, FormationError) as error:
        print(f"parley cannot start: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
