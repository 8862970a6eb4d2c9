"""The embedded MongoDB-compatible database: a child process that lives as long as the web process that started it.

The daemon (PyPI `secantusdb`, GPL-2.0, run unmodified as a program of its own and never imported) stores under
DATA_DIR/db. Ownership of a DATA_DIR is an flock on DATA_DIR/parley.lock, which the kernel releases whatever way the
owner dies; DATA_DIR/db.json names the daemon's address, for commands beside the server and for the next owner, who
stops a daemon that outlived a killed one. Start and stop: docs/decisions/0003.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from ops import private

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
# retryWrites makes each write on this daemon slower than the last; serverSelection is local, so it may fail fast.
URL_OPTIONS = "?retryWrites=false&serverSelectionTimeoutMS=3000"
_PR_SET_PDEATHSIG = 1


class EmbeddedError(RuntimeError):
    """The embedded database cannot be had; the text is for the operator."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def die_with_parent() -> None:
    """In the child, on Linux: a daemon whose web process was killed must not linger and hold the directory.

    SIGKILL, because the daemon sometimes swallows a SIGTERM; with --sync-on-commit it loses nothing by it.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setpgrp()  # Ctrl-C in the terminal is for the web process, which stops the database last


def _ping(url: str) -> bool:
    client: MongoClient[dict[str, object]] = MongoClient(url, serverSelectionTimeoutMS=400, timeoutMS=2000)
    try:
        client.admin.command("ping")
        return True
    except PyMongoError:
        return False
    finally:
        client.close()


def _alive(pid: int) -> bool:
    """Whether a process of that number runs our daemon's program (numbers are reused)."""
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    try:
        return b"secantus" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return sys.platform != "linux"


class EmbeddedMongo:
    """`start` returns the URL; `stop` waits until the daemon has written everything. Both block: call off the loop."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self._address_file = data_dir / "db.json"
        self._lock: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, port: int = 0) -> str:
        """On this port, for those who must find it again after its death; 0: on any."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._take_directory()
        self._stop_leftover()
        port = port or free_port()
        url = f"mongodb://127.0.0.1:{port}/{URL_OPTIONS}"
        program = Path(sys.executable).parent / "secantusd-py"
        log = (self.data_dir / "db.log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [str(program), "--host", "127.0.0.1", "--port", str(port), "--storage-path", str(self.data_dir / "db"),
                 "--sync-on-commit", "--cache-size", "256M", "--log-level", "WARNING"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent,
            )  # fmt: skip
        self._address_file.write_text(json.dumps({"url": url, "pid": self._process.pid}))
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _ping(url):
            if self._process.poll() is not None:
                raise EmbeddedError(f"the embedded database did not start; see {self.data_dir / 'db.log'}")
            if time.monotonic() > deadline:
                self.stop()
                raise EmbeddedError(f"the embedded database did not answer within {START_TIMEOUT_S:.0f} s")
            time.sleep(0.05)
        return url

    def stop(self) -> None:
        if self._process is not None:
            self._end(self._process.pid, self._process)
            self._process = None
            self._address_file.unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _take_directory(self) -> None:
        lock = (self.data_dir / "parley.lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            lock.close()
            raise EmbeddedError(
                f"another server (process {owner}) already uses DATA_DIR {self.data_dir}; stop it, choose another "
                "DATA_DIR, or set MONGO_URL and REDIS_URL to run several processes"
            ) from None
        lock.seek(0)
        lock.truncate()
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock

    def _stop_leftover(self) -> None:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            pid = int(json.loads(self._address_file.read_text())["pid"])
            if _alive(pid):
                self._end(pid, None)

    @staticmethod
    def _end(pid: int, child: subprocess.Popen[bytes] | None) -> None:
        """SIGTERM, SIGTERM, SIGKILL: the daemon swallows a signal that comes while it is opening its port."""
        for sent in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sent)
            deadline = time.monotonic() + STOP_TIMEOUT_S
            while time.monotonic() < deadline:
                if child.poll() is not None if child else not _alive(pid):
                    return
                time.sleep(0.02)


def running_url(data_dir: Path) -> str | None:
    """The address of the database a running server owns in this directory, or None."""
    try:
        url = str(json.loads((data_dir / "db.json").read_text())["url"])
    except (OSError, ValueError, KeyError):
        return None
    return url if _ping(url) else None


@contextlib.contextmanager
def reached(mongo_url: str | None, data_dir: Path) -> Iterator[str]:
    """For commands beside a server: the address of its database, which is started if no server runs."""
    private.be_private()
    url = mongo_url or running_url(data_dir)
    if url is not None:
        yield url
        return
    own = EmbeddedMongo(data_dir)
    try:
        yield own.start()
    finally:
        own.stop()
