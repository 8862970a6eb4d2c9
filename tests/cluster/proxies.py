"""The proxies of `deploy/` before four processes, as an operator runs them: only ports and paths are replaced."""

from __future__ import annotations

import contextlib
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.clients import Person
from storage.embedded import free_port
from tests.support import ROOT, SECRET, Process

ROUTES = ("w1", "w2", "w3", "w4")


@dataclass(slots=True)
class Cluster:
    """`processes` by their route, and the proxy's address."""

    processes: dict[str, Process]
    url: str


@contextlib.contextmanager
def four_processes(root: Path, mongo_url: str, redis_url: str, **env: str) -> Iterator[dict[str, Process]]:
    """They share a DATA_DIR too."""
    shared = {
        "MONGO_URL": mongo_url, "MONGO_DB": f"t_{secrets.token_hex(6)}", "REDIS_URL": redis_url, "JWT_SECRET": SECRET,
        "RATE_LIMIT_SCALE": "0", "TRUSTED_PROXIES": "1", **env,
    }  # fmt: skip
    processes = {route: Process(root, ROUTE=route, PORT=str(free_port()), **shared) for route in ROUTES}
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(Process.start, processes.values()))
        yield processes
    finally:
        for process in processes.values():
            process.kill()


def port_of(url: str) -> str:
    return url.rpartition(":")[2]


def _put(text: str, old: str, new: str) -> str:
    assert old in text, f"deploy/ does not say {old!r} any more"
    return text.replace(old, new)


def _with_ports(name: str, processes: dict[str, Process], public: str, ours: str) -> str:
    text = (ROOT / "deploy" / name).read_text()
    for number, process in enumerate(processes.values(), 1):
        text = _put(text, f"127.0.0.1:800{number}", f"127.0.0.1:{port_of(process.url)}")
    return _put(text, public, ours)


@contextlib.contextmanager
def _running(command: list[str], log: Path, port: int) -> Iterator[str]:
    with log.open("wb") as stream, subprocess.Popen(command, stdout=stream, stderr=stream) as proxy:
        try:
            deadline = time.monotonic() + 15
            while True:
                assert proxy.poll() is None, log.read_text()
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", port), 0.5).close()
                    break
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            proxy.terminate()


@contextlib.contextmanager
def nginx(processes: dict[str, Process], root: Path) -> Iterator[Cluster]:
    port = free_port()
    text = _with_ports("nginx.conf", processes, "listen 80;", f"listen 127.0.0.1:{port};")
    for path in ("/run/nginx.pid", "/var/log/nginx/error.log", "/var/log/nginx/access.log"):
        text = _put(text, path, str(root / path.rpartition("/")[2]))
    config = root / "nginx.conf"
    config.write_text(text)
    with _running(["nginx", "-c", str(config), "-g", "daemon off;"], root / "nginx.out", port) as url:
        yield Cluster(processes, url)


@contextlib.contextmanager
def haproxy(processes: dict[str, Process], root: Path) -> Iterator[Cluster]:
    port = free_port()
    config = root / "haproxy.cfg"
    config.write_text(_with_ports("haproxy.cfg", processes, "bind :80", f"bind 127.0.0.1:{port}"))
    with _running(["haproxy", "-f", str(config)], root / "haproxy.out", port) as url:
        yield Cluster(processes, url)


PROXIES = {"nginx": nginx, "haproxy": haproxy}


def route_of(person: Person) -> str:
    """The process that a person is connected to."""
    return str(person._socket.eio.sid).rpartition(".")[2]
