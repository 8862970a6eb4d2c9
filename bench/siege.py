"""A hostile client beside honest ones: what those wait, and whether anybody innocent is refused.

`python -m bench.siege [--seconds 8] [--only pings,connects]`. A server with the limits of production on core 0. Honest
people send a message each third of a second, and one of them logs in every second; the attackers, with less priority
than they, are on core 1 with them and the database. Each attack runs with 10 Mbit/s, and twice at full speed, each
beside a quiet run of the same minute. `--attack` is what a measuring process starts.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import os
import secrets
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from bench.clients import CommandError, ConnectionDroppedError, Person, Rest
from bench.processes import BenchError, Target, parley, prepare_this_process

PASSWORD = "correct horse battery"
PEOPLE = 8
SEND_EVERY_S = 0.33
LOGIN_EVERY_S = 1.0
MBIT = 1_000_000 / 8
CHUNK_BYTES = 65_536
LOWER_PRIORITY = 10


# The attackers, which speak raw bytes


def text(payload: bytes) -> bytes:
    """A masked WebSocket frame."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return b"\x81" + length + b"\0\0\0\0" + payload


def post(path: str, body: bytes, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: siege", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


UPGRADE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: siege\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2llZ2VzaWVnZXNpZWdlIQ==\r\n\r\n"
)


def over(data: bytes) -> bytes:
    """So often that it fills a chunk."""
    return data * max(1, CHUNK_BYTES // len(data))


@dataclass(frozen=True)
class Attack:
    """`opening(token)` is sent once, after the upgrade where there is one; then `chunk` again and again."""

    what: str
    chunk: bytes
    opening: Callable[[str], bytes]
    upgrade: bool = True


def _nothing(_: str) -> bytes:
    return b""


def _enters(token: str) -> bytes:
    return text(b"40/chat," + json.dumps({"token": token}).encode()) + text(
        b"40/typing," + json.dumps({"token": token}).encode()
    )


NONSENSE = text(b'42/chat,1["chat:nonsense",{}]')
TYPING = text(b'42/typing,1["typing:start",{"conversation_id":"c_x"}]')
BAD_TOKEN = text(b'40/chat,{"token":"eyJhbGciOiJIUzI1NiJ9.e30.x"}')
BOMB = post("/nowhere", gzip.compress(bytes(200_000_000)), "Content-Encoding: gzip")
LONG_PATH = f"GET /{'eyJ' * 5_000} HTTP/1.1\r\nHost: siege\r\n\r\n".encode()
ATTACKS = {
    "pings": Attack("pings before any log-in", over(b"\x89\x80\0\0\0\0"), _nothing),
    "connects": Attack("CONNECTs with bad tokens", over(BAD_TOKEN), _nothing),
    "unknown": Attack("unknown commands", over(NONSENSE), _enters),
    "limited": Attack("commands beyond their limit", over(TYPING), _enters),
    "gzip": Attack("gzip to a path that is not there", BOMB, _nothing, upgrade=False),
    "paths": Attack("a path that looks like tokens", over(LONG_PATH), _nothing, upgrade=False),
}


def attack(name: str, url: str, token: str, mbit: float) -> None:
    """For ever: connects again whenever it is closed, and reads what it is answered."""
    os.nice(LOWER_PRIORITY)
    chosen = ATTACKS[name]
    where = urlsplit(url)
    while True:
        with suppress(OSError), socket.create_connection((where.hostname, where.port)) as connection:
            if chosen.upgrade:
                connection.sendall(UPGRADE)
                connection.recv(65_536)
            connection.sendall(chosen.opening(token))
            connection.setblocking(False)
            _send_for_ever(connection, chosen.chunk, mbit * MBIT)
        time.sleep(0.001)


def _send_for_ever(connection: socket.socket, chunk: bytes, bytes_per_s: float) -> None:
    """Raises OSError once it is closed."""
    rest, allowed_at = b"", time.monotonic()
    while True:
        now = time.monotonic()
        late = bytes_per_s and allowed_at > now
        readable, writable, _ = select.select([connection], [] if late else [connection], [], 0.01)
        if readable and not connection.recv(1_000_000):
            raise ConnectionResetError
        if writable:
            rest = rest or chunk
            sent = connection.send(rest[:CHUNK_BYTES])
            rest = rest[sent:]
            if bytes_per_s:
                allowed_at = max(allowed_at, now - 0.1) + sent / bytes_per_s


# The honest


@dataclass
class Waits:
    """Seconds, and how often someone was refused or cut off."""

    sends: list[float] = field(default_factory=list)
    logins: list[float] = field(default_factory=list)
    refused: int = 0

    @staticmethod
    def quantile(values: list[float], share: float) -> float:
        return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else float("inf")


async def honest(url: str, seconds: float) -> Waits:
    waits = Waits()
    async with Rest(url) as rest:
        accounts = [
            await rest.register(f"p{number}.{secrets.token_hex(4)}@siege.example", PASSWORD, f"P {number}")
            for number in range(PEOPLE)
        ]
        people = [Person(rest, account) for account in accounts]
        for person in people:
            await person.connect()
        made = {
            "type": "group",
            "title": "Siege",
            "participant_ids": [one.id for one in accounts[1:]],
            "client_id": "s",
        }
        conversation = (await people[0].call("chat:create", made))["conversation"]["id"]
        until = time.monotonic() + seconds

        async def talk(person: Person) -> None:
            await asyncio.sleep(secrets.randbelow(300) / 1_000)
            while time.monotonic() < until:
                began = time.perf_counter()
                message = {"conversation_id": conversation, "client_id": secrets.token_hex(8), "text": "Forty?"}
                try:
                    await person._attempt("chat:send", message, "/chat")
                except (CommandError, ConnectionDroppedError):
                    waits.refused += 1
                waits.sends.append(time.perf_counter() - began)
                await asyncio.sleep(SEND_EVERY_S)

        async def log_in() -> None:
            while time.monotonic() < until:
                began = time.perf_counter()
                body = {"email": accounts[0].user["email"], "password": PASSWORD}
                try:
                    await rest.request("POST", "/api/v1/auth/login", body)
                except CommandError:
                    waits.refused += 1
                waits.logins.append(time.perf_counter() - began)
                await asyncio.sleep(LOGIN_EVERY_S)

        await asyncio.gather(*[talk(person) for person in people], log_in())
        for person in people:
            await person.close()
    return waits


@contextmanager
def attacked(target: Target, name: str, token: str, mbit: float, count: int) -> Iterator[None]:
    command = [sys.executable, "-m", "bench.siege", "--attack", name, "--url", target.url, "--token", token]
    command += ["--mbit", str(mbit)]
    attackers = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        for each in attackers:
            each.kill()
            each.wait()


def rss_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1_048_576


async def _token(url: str) -> str:
    async with Rest(url) as rest:
        return (await rest.register(f"eve.{secrets.token_hex(4)}@siege.example", PASSWORD, "Eve")).access_token


def measure(name: str, seconds: float) -> list[str]:
    rows = []
    for how, mbit, count in (("10 Mbit/s", 10.0, 1), ("two at full speed", 0.0, 2)):
        with parley(RATE_LIMIT_SCALE="1") as target:
            token = asyncio.run(_token(target.url))
            quiet = asyncio.run(honest(target.url, seconds))
            before = rss_mib(target.pid)
            with attacked(target, name, token, mbit, count):
                besieged = asyncio.run(honest(target.url, seconds))
            cells = [ATTACKS[name].what, how]
            for kind in ("sends", "logins"):
                for share in (0.5, 0.99):
                    calm, now = (Waits.quantile(getattr(each, kind), share) for each in (quiet, besieged))
                    cells.append(f"{calm * 1e3:.1f} → {now * 1e3:.1f} ms ({now / calm:.1f})")
            rows.append(" | ".join([*cells, str(besieged.refused), f"{rss_mib(target.pid) - before:+.0f} MiB"]))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.siege", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--only", default=",".join(ATTACKS))
    for name in ("attack", "url", "token", "mbit"):
        parser.add_argument(f"--{name}", default="")
    options = parser.parse_args()
    if options.attack:
        attack(options.attack, options.url, options.token, float(options.mbit))
    prepare_this_process()
    print("| attack | how | send p50 | send p99 | log-in p50 | log-in p99 | refused | memory |")
    print("|---|---|---|---|---|---|---|---|")
    try:
        for name in options.only.split(","):
            for row in measure(name, options.seconds):
                print(f"| {row} |", flush=True)
    except (BenchError, CommandError, ConnectionDroppedError) as error:
        print(f"stopped: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
