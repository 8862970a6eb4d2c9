"""One process of a formation, from its start to its end: it is heard, told things, and drained."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ops.listening import ALL, DRAINING_LINE, OWN

ROOT = Path(__file__).parent.parent
LINE_BYTES_MAX = 1_048_576
_PR_SET_PDEATHSIG = 1


class Kind(NamedTuple):
    """What is run, and the beginning of the line by which it says that it is ready."""

    command: tuple[str, ...]
    ready_line: bytes


def put(line: bytes) -> None:
    """To standard output. Its reader may have gone, which is no reason to stop serving."""
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


class Child:
    """`changed` is called whenever `serves` may have changed."""

    def __init__(
        self, name: str, kind: Kind, process: asyncio.subprocess.Process, changed: Callable[[], None]
    ) -> None:  # fmt: skip
        self.name = name
        self.started = time.monotonic()
        self.was_ready = False
        self.told_to_go = False
        self._ready_line = kind.ready_line
        self._process = process
        self._changed = changed
        self._draining = False
        self._decided = asyncio.Event()  # it was ready, or ended
        self._accepts_on_all = False
        self.ended: asyncio.Task[int] = asyncio.create_task(self._hear(), name=name)

    @classmethod
    async def start(
        cls, name: str, kind: Kind, env: dict[str, str], fds: Sequence[int], changed: Callable[[], None]
    ) -> Child:  # fmt: skip
        """With `fds` as they are numbered here."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, *kind.command, cwd=ROOT, env=env, pass_fds=fds, stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, limit=LINE_BYTES_MAX,
            preexec_fn=_drain_with_parent,
        )  # fmt: skip
        say(f"{name} is process {process.pid}")
        return cls(name, kind, process, changed)

    @property
    def serves(self) -> bool:
        return self.was_ready and not (self._draining or self.told_to_go or self.ended.done())

    @property
    def left_well(self) -> bool:
        """Once it has ended. A process that was told to go before it was ready had nothing to drain."""
        return self.ended.result() == 0 or not self.was_ready

    def how(self) -> str:
        """Once it has ended."""
        code = self.ended.result()
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    async def gets_ready(self, within_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._decided.wait(), within_s)
        return self.serves

    def accept_on_all(self, all_of_them: bool) -> None:
        """Not only on the sockets of its own slot. If it is frozen and its pipe full, the next change tells it."""
        stdin = self._process.stdin
        if stdin is None or all_of_them == self._accepts_on_all or stdin.transport.get_write_buffer_size():
            return
        stdin.write(ALL if all_of_them else OWN)
        self._accepts_on_all = all_of_them

    async def drain(self, within_s: float) -> None:
        """Returns when it has ended, by itself or killed."""
        self.told_to_go = True
        self._changed()
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        _, running = await asyncio.wait([self.ended], timeout=within_s)
        if running:
            say(f"{self.name} did not drain within {within_s:g} s and is killed")
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await asyncio.wait([self.ended])

    async def _hear(self) -> int:
        """Passes on what it prints, line by line, but for what is meant for the formation."""
        assert self._process.stdout is not None
        while True:
            try:
                line = await self._process.stdout.readline()
            except ValueError:
                continue  # a line without end, which was thrown away
            if not line:
                break
            if line.startswith(self._ready_line):
                self.was_ready = True
            elif line.startswith(DRAINING_LINE):
                self._draining = True
            else:
                put(line)
                continue
            self._decided.set()
            self._changed()
        code = await self._process.wait()
        self._draining = True
        self._decided.set()
        self._changed()
        return code
