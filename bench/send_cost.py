"""What one acknowledged `chat:send` costs the server: acknowledgements per second, CPU milliseconds each, latency.

`python -m bench.send_cost --pid SERVER_PID [--url URL] [--clients 100] [--seconds 10] [--window 1]`. Clients sit two by
two in direct conversations and keep `window` sends in flight; a send's cost includes its delivery to the other. Frames
are written and read as text, because a full Socket.IO client costs more than the server it would measure. Start the
server with `RATE_LIMIT_SCALE=0` in development, and give server and generator a core each (`taskset`); when the
generator's own CPU nears one core, the generator is the limit and not the server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from tqdm import tqdm

from bench.clients import Account, CommandError, Json, Rest
from bench.watching import percentile

TEXT = "Could you do 40 crates at the March price if we collect them ourselves?"
REGISTRATIONS_AT_ONCE = 4
DRAIN_S = 10.0
ACK, EVENT = "43/chat,", "42/chat,"


@dataclass(slots=True)
class Measure:
    acknowledged: int = 0
    lost: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    latency_ms: list[float] = field(default_factory=list)


class RawClient:
    """One WebSocket speaking Socket.IO text frames, with as little work per frame as Python allows."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, account: Account) -> None:
        self.account = account
        self._socket = socket
        self._next_id = 1
        self._sent_at: dict[int, float] = {}
        self._template = ("", "", "")

    @classmethod
    async def connect(cls, session: aiohttp.ClientSession, url: str, account: Account) -> RawClient:
        address = url.rstrip("/") + "/socket.io/?EIO=4&transport=websocket"
        socket = await session.ws_connect(address, compress=0, autoping=True)
        opened = await socket.receive_str()
        if not opened.startswith("0{"):
            raise ConnectionError(f"no Engine.IO handshake: {opened[:200]}")
        await socket.send_str("40/chat," + json.dumps({"token": account.access_token}))
        client = cls(socket, account)
        answer = await client._text()
        if not answer.startswith("40/chat,"):
            raise ConnectionError(f"refused: {answer[:300]}")
        return client

    async def call(self, command: str, payload: Json) -> Json:
        """One command outside the measured loop."""
        number, self._next_id = self._next_id, self._next_id + 1
        await self._socket.send_str(f"{EVENT}{number}" + json.dumps([command, payload]))
        while True:
            frame = await self._text()
            if frame.startswith(f"{ACK}{number}["):
                [answer] = json.loads(frame[frame.index("[") :])
                if not answer["ok"]:
                    raise CommandError(answer["error"])
                data: Json = answer["data"]
                return data

    def sits_in(self, conversation_id: str) -> None:
        client_id = f"cost-{secrets.token_hex(6)}-"
        message = json.dumps(["chat:send", {"conversation_id": conversation_id, "text": TEXT, "client_id": "ID"}])
        before, after = message.split("ID")
        self._template = (before, client_id, after)

    async def keep_sending(self, until: float, window: int, measure: Measure) -> None:
        for _ in range(window):
            await self._send()
        while self._sent_at:
            frame = await self._text()
            if frame.startswith(ACK):
                self._note(frame, measure)
                if time.perf_counter() < until:
                    await self._send()

    @property
    def in_flight(self) -> int:
        return len(self._sent_at)

    async def close(self) -> None:
        await self._socket.close()

    async def _send(self) -> None:
        number, self._next_id = self._next_id, self._next_id + 1
        before, client_id, after = self._template
        self._sent_at[number] = time.perf_counter()
        await self._socket.send_str(f"{EVENT}{number}{before}{client_id}{number}{after}")

    def _note(self, frame: str, measure: Measure) -> None:
        body = frame.index("[")
        sent_at = self._sent_at.pop(int(frame[len(ACK) : body]))
        # Decoding the whole message would cost as much as all the rest; its beginning tells enough.
        if frame.startswith('{"ok":true', body + 1) or json.loads(frame[body:])[0]["ok"]:
            measure.acknowledged += 1
            measure.latency_ms.append((time.perf_counter() - sent_at) * 1000)
        else:
            measure.refused[json.loads(frame[body:])[0]["error"]["code"]] += 1

    async def _text(self) -> str:
        while True:
            frame = await self._socket.receive_str()
            if frame != "2":
                return frame
            await self._socket.send_str("3")


def cpu_seconds(pid: int) -> float:
    """User and system time of one process, all its threads, none of its children."""
    after_name = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


async def register(rest: Rest, count: int, run: str) -> list[Account]:
    gate = asyncio.Semaphore(REGISTRATIONS_AT_ONCE)
    with tqdm(total=count, desc="registering", unit="user") as progress:

        async def enter(number: int) -> Account:
            async with gate:
                email, password = f"cost-{run}-{number}@bench.example", secrets.token_urlsafe(16)
                account = await rest.register(email, password, f"Cost {number}")
            progress.update()
            return account

        return await asyncio.gather(*(enter(number) for number in range(count)))


async def seat(session: aiohttp.ClientSession, url: str, count: int) -> list[RawClient]:
    run = secrets.token_hex(4)
    async with Rest(url) as rest:
        accounts = await register(rest, count, run)
    # Connected only now: a client that waits for the registrations of others would answer no ping meanwhile.
    clients = [await RawClient.connect(session, url, account) for account in accounts]
    for one, other in zip(clients[::2], clients[1::2], strict=True):
        request = {"type": "direct", "participant_ids": [other.account.id], "client_id": f"cost-{run}"}
        conversation = (await one.call("chat:create", request))["conversation"]
        one.sits_in(conversation["id"])
        other.sits_in(conversation["id"])
    return clients


async def sending(clients: list[RawClient], seconds: float, window: int, measure: Measure) -> None:
    until = time.perf_counter() + seconds
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds + DRAIN_S):
            await asyncio.gather(*(client.keep_sending(until, window, measure) for client in clients))
    measure.lost += sum(client.in_flight for client in clients)


async def run(options: argparse.Namespace) -> int:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        clients = await seat(session, options.url, options.clients - options.clients % 2)
        await sending(clients, options.warm_up, options.window, Measure())
        measure = Measure()
        server, own, started = cpu_seconds(options.pid), time.process_time(), time.perf_counter()
        await sending(clients, options.seconds, options.window, measure)
        elapsed = time.perf_counter() - started
        server, own = cpu_seconds(options.pid) - server, time.process_time() - own
        await asyncio.gather(*(client.close() for client in clients))
    report(options, measure, server, own, elapsed)
    for code, count in measure.refused.items():
        print(f"refused {code}: {count}", file=sys.stderr)
    if measure.lost:
        print(f"never acknowledged: {measure.lost}", file=sys.stderr)
    return 1 if measure.refused or measure.lost or not measure.acknowledged else 0


def report(options: argparse.Namespace, measure: Measure, server: float, own: float, elapsed: float) -> None:
    done = max(measure.acknowledged, 1)
    p50, p99 = (percentile(measure.latency_ms, share) for share in (0.5, 0.99))
    if options.json:
        figures = {"acknowledged": measure.acknowledged, "acknowledged_per_s": measure.acknowledged / elapsed}
        figures |= {"cpu_us_per_event": server / done * 1e6, "p50_ms": p50, "p99_ms": p99}
        figures |= {"server_cpu_percent": server / elapsed * 100, "generator_cpu_percent": own / elapsed * 100}
        print(json.dumps(figures))
        return
    rows = (
        ("clients", f"{options.clients - options.clients % 2}"),
        ("window", f"{options.window}"),
        ("acknowledged", f"{measure.acknowledged:,}"),
        ("acknowledged/s", f"{measure.acknowledged / elapsed:,.0f}"),
        ("server CPU ms/send", f"{server / done * 1000:.3f}"),
        ("server CPU", f"{server / elapsed:.0%}"),
        ("generator CPU", f"{own / elapsed:.0%}"),
        ("ack p50 ms", f"{p50:.2f}"),
        ("ack p99 ms", f"{p99:.2f}"),
    )
    for name, value in rows:
        print(f"{name:<20}{value:>12}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.send_cost", description="Measure the cost of a send.")
    parser.add_argument("--pid", type=int, required=True, help="the web process")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--warm-up", type=float, default=2)
    parser.add_argument("--window", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of a table")
    return asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
