"""A real redis-server on a port of its own, for measurements and tests."""

from __future__ import annotations

import contextlib
import random
import socket
import subprocess
import time
from collections.abc import Iterator

from storage.embedded import free_port

HOST = "127.0.0.1"
# Below the ports that the system gives to outgoing connections: one of those would be in the way of a restart.
PORTS = range(20_000, 32_000)
START_WAIT_S = 10.0


def free_ports() -> Iterator[int]:
    """Each once."""
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        yield port


def command(port: int) -> list[str]:
    """One that stores nothing."""
    return ["redis-server", "--port", str(port), "--bind", HOST, "--save", "", "--appendonly", "no"]


class RedisServer:
    """It can be stopped, without a word to its clients, and started again, empty."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"redis://{HOST}:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> RedisServer:
        """Raises FileNotFoundError where Redis is not installed."""
        self._process = subprocess.Popen(command(self.port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_WAIT_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                socket.create_connection((HOST, self.port), 0.5).close()
                return self
            time.sleep(0.05)
        raise TimeoutError("redis-server did not start")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
