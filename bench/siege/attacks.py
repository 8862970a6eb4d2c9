"""The attackers, which speak raw bytes: `python -m bench.siege.attacks NAME URL TOKEN MBIT`, for ever.

A `Stream` sends on one connection as much as it may. `Holders` are connections that stop halfway and are opened again
when they are closed. `Requests` are whole HTTP requests. The last two come from fifty addresses of this machine.
"""

from __future__ import annotations

import base64
import errno
import gzip
import itertools
import json
import os
import resource
import select
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

IP_BIND_ADDRESS_NO_PORT = 24  # of linux/in.h: many connections of one address, each to be chosen a port for itself
MBIT = 1_000_000 / 8
CHUNK_BYTES = 65_536
LOWER_PRIORITY = 10
ADDRESSES = [f"127.0.66.{number}" for number in range(1, 51)]
HOLDERS = 3_000
FILES, OWN_FILES = 2 * HOLDERS, 24
REQUESTS_AT_ONCE = 50
VICTIM = "victim@siege.example"


def text(payload: bytes) -> bytes:
    """A masked WebSocket frame."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return b"\x81" + length + b"\0\0\0\0" + payload


def post(path: str, body: bytes, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: siege", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def upgrade() -> bytes:
    key = base64.b64encode(b"siege siege sieg").decode()
    lines = ["GET /socket.io/?EIO=4&transport=websocket HTTP/1.1", "Host: siege", "Upgrade: websocket"]
    lines += ["Connection: Upgrade", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def over(data: bytes) -> bytes:
    """So often that it fills a chunk."""
    return data * max(1, CHUNK_BYTES // len(data))


def nothing(_: str) -> bytes:
    return b""


def enters(token: str) -> bytes:
    return b"".join(text(f"40/{name},".encode() + json.dumps({"token": token}).encode()) for name in ("chat", "typing"))


def enters_and_leaves(token: str) -> bytes:
    return text(b"40/chat," + json.dumps({"token": token}).encode()) + text(b"41/chat,")


def log_in(number: int, token: str) -> bytes:
    """At one account."""
    return _login(VICTIM, number)


def log_in_anywhere(number: int, token: str) -> bytes:
    return _login(f"nobody-{number}@siege.example", number)


def _login(email: str, number: int) -> bytes:
    body = json.dumps({"email": email, "password": f"guess {number}"}).encode()
    return post("/api/v1/auth/login", body, "Content-Type: application/json")


def half_a_body(number: int, token: str) -> bytes:
    return post("/api/v1/auth/login", bytes(16_000), "Content-Type: application/json")[:-15_000]


def search(number: int, token: str) -> bytes:
    """Words that every message has, and that none has."""
    words = "container+price" if number % 2 else "container+zzzzzz"
    lines = [f"GET /api/v1/chat/search?query={words} HTTP/1.1", "Host: siege", f"Authorization: Bearer {token}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


@dataclass(frozen=True)
class Stream:
    """`opening(token)` is sent once, after the upgrade where there is one; then `chunk` again and again."""

    what: str
    chunk: bytes
    opening: Callable[[str], bytes] = nothing
    upgrades: bool = True


@dataclass(frozen=True)
class Holders:
    """Each sends `opening(number, token)` and then nothing."""

    what: str
    opening: Callable[[int, str], bytes]


@dataclass(frozen=True)
class Requests:
    """`request(number, token)`, some at once, each on a connection that is kept."""

    what: str
    request: Callable[[int, str], bytes]


Attack = Stream | Holders | Requests
NONSENSE = text(b'42/chat,1["chat:nonsense",{}]')
TYPING = text(b'42/typing,1["typing:start",{"conversation_id":"c_x"}]')
BAD_TOKEN = text(b'40/chat,{"token":"eyJhbGciOiJIUzI1NiJ9.e30.x"}')
BOMB = post("/nowhere", gzip.compress(bytes(200_000_000)), "Content-Encoding: gzip")
LONG_PATH = f"GET /{'eyJ' * 5_000} HTTP/1.1\r\nHost: siege\r\n\r\n".encode()
HALF_EVENT = text(b'451-/chat,["chat:send"]')
HALF_FRAME = b"\x81\xfe\xff\xff\0\0\0\0" + b"x" * 60_000
ATTACKS: dict[str, Attack] = {
    "pings": Stream("pings before any log-in", over(b"\x89\x80\0\0\0\0")),
    "connects": Stream("CONNECTs with bad tokens", over(BAD_TOKEN)),
    "unknown": Stream("unknown commands", over(NONSENSE), enters),
    "limited": Stream("commands beyond their limit", over(TYPING), enters),
    "gzip": Stream("gzip to a path that is not there", BOMB, upgrades=False),
    "paths": Stream("a path that looks like tokens", over(LONG_PATH), upgrades=False),
    "search": Requests("searches of 3,000 long messages", search),
    "silent": Holders("connections that say nothing", lambda number, token: b""),
    "headers": Holders("half headers", lambda number, token: b"GET / HTTP/1.1\r\nHost: s\r\nX-A: b\r\n"),
    "bodies": Holders("half bodies", half_a_body),
    "frames": Holders("half WebSocket messages", lambda number, token: upgrade() + HALF_FRAME),
    "binary": Holders(
        "unfinished binary packets", lambda _, token: upgrade() + enters(token) + text(b'451-/chat,["a"]')
    ),
    "leavers": Holders("sessions that left all namespaces", lambda _, token: upgrade() + enters_and_leaves(token)),
    "guesses": Requests("guesses at one account from 50 addresses", log_in),
    "log-ins": Requests("log-ins everywhere from 50 addresses", log_in_anywhere),
}


class Allowance:
    """So many bytes a second; 0 is no bound."""

    def __init__(self, bytes_per_s: float) -> None:
        self._bytes_per_s = bytes_per_s
        self._allowed_at = time.monotonic()

    @property
    def is_spent(self) -> bool:
        return self._bytes_per_s > 0 and self._allowed_at > time.monotonic()

    def spend(self, count: int) -> None:
        if self._bytes_per_s:
            self._allowed_at = max(self._allowed_at, time.monotonic() - 0.1) + count / self._bytes_per_s


Address = tuple[str, int]


def stream(chosen: Stream, where: Address, token: str, allowance: Allowance) -> None:
    """Connects again whenever it is closed, and reads what it is answered."""
    while True:
        with suppress(OSError), socket.create_connection(where, source_address=(ADDRESSES[0], 0)) as connection:
            if chosen.upgrades:
                connection.sendall(upgrade())
                connection.recv(65_536)
            connection.sendall(chosen.opening(token))
            connection.setblocking(False)
            rest = b""
            while True:
                late = allowance.is_spent
                readable, writable, _ = select.select([connection], [] if late else [connection], [], 0.01)
                if readable and not connection.recv(1_000_000):
                    break
                if writable:
                    rest = rest or chosen.chunk
                    sent = connection.send(rest[:CHUNK_BYTES])
                    rest = rest[sent:]
                    allowance.spend(sent)
        time.sleep(0.001)


class Crowd:
    """Non-blocking connections. `say(number)` is what one sends when it is open; `again` after each answer as well."""

    def __init__(self, where: Address, say: Callable[[int], bytes], allowance: Allowance, again: bool) -> None:
        self._where = where
        self._say = say
        self._allowance = allowance
        self._again = again
        self._numbers = itertools.count()
        self._poll = select.epoll()
        self._open: dict[int, socket.socket] = {}
        self._unsent: dict[int, bytes] = {}

    def hold(self, count: int) -> None:
        while True:
            while len(self._open) < count and not self._allowance.is_spent:
                self._connect()
            for descriptor, events in self._poll.poll(0.01, 512):
                try:
                    self._happened(descriptor, events)
                except OSError:
                    self._close(descriptor)

    def _connect(self) -> None:
        connection = socket.socket()
        connection.setblocking(False)
        number = next(self._numbers)
        connection.setsockopt(socket.SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        connection.bind((ADDRESSES[number % len(ADDRESSES)], 0))
        if connection.connect_ex(self._where) not in (0, errno.EINPROGRESS):
            connection.close()
            return
        descriptor = connection.fileno()
        self._open[descriptor] = connection
        self._unsent[descriptor] = self._say(number)
        self._allowance.spend(len(self._unsent[descriptor]) + 100)  # and the packets of opening it
        self._poll.register(descriptor, select.EPOLLIN | select.EPOLLOUT)

    def _happened(self, descriptor: int, events: int) -> None:
        """Raises OSError when it is over."""
        connection = self._open[descriptor]
        if events & select.EPOLLIN:
            if not connection.recv(1_000_000):
                raise ConnectionResetError
            if self._again and not self._unsent[descriptor]:
                self._unsent[descriptor] = self._say(next(self._numbers))
                self._allowance.spend(len(self._unsent[descriptor]))
                self._poll.modify(descriptor, select.EPOLLIN | select.EPOLLOUT)
        if events & select.EPOLLOUT and not (self._again and self._allowance.is_spent):
            sent = connection.send(self._unsent[descriptor]) if self._unsent[descriptor] else 0
            self._unsent[descriptor] = self._unsent[descriptor][sent:]
            if not self._unsent[descriptor]:
                self._poll.modify(descriptor, select.EPOLLIN)
        if events & (select.EPOLLERR | select.EPOLLHUP):
            raise ConnectionResetError

    def _close(self, descriptor: int) -> None:
        self._poll.unregister(descriptor)
        self._unsent.pop(descriptor)
        self._open.pop(descriptor).close()


def main() -> None:
    name, url, token, mbit = sys.argv[1:]
    os.nice(LOWER_PRIORITY)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:  # more than the server has, which only the superuser may
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, max(FILES, hard)))
    except (OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    target = urlsplit(url)
    assert target.hostname is not None
    assert target.port is not None
    where, allowance, chosen = (target.hostname, target.port), Allowance(float(mbit) * MBIT), ATTACKS[name]
    if isinstance(chosen, Stream):
        stream(chosen, where, token, allowance)
    elif isinstance(chosen, Holders):
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        count = min(HOLDERS, files - OWN_FILES)
        Crowd(where, lambda number: chosen.opening(number, token), allowance, again=False).hold(count)
    else:
        Crowd(where, lambda number: chosen.request(number, token), allowance, again=True).hold(REQUESTS_AT_ONCE)


if __name__ == "__main__":
    main()
