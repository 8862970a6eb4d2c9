"""A child process of the harness that listens on a port. It can be killed, frozen and started again."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from pathlib import Path

from bench.chaos.proxy import HOST
from bench.processes import ROOT
from storage.embedded import die_with_parent

START_TIMEOUT_S = 60.0
END_TIMEOUT_S = 30.0
RESTART_PAUSE_S = 0.5


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
