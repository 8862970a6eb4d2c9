"""Fan-out from one process to the clients of another through Redis: Parley beside stock python-socketio.

`python -m bench.across [--runs 5] [--clients 1000] [--window 32] [--seconds 8]`. The publisher is on one process, which
shares a core with Redis, the database and the load; everybody else is on the other, which has a core to itself and is
what is measured. Sides take turns. Parley's events are durable messages, validated and numbered; the stock server's
are said from memory.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import statistics
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from bench.generator import Figures, load
from bench.processes import (
    LOAD_CORE,
    NOT_INHERITED,
    PARLEY_LISTENS,
    PEER_LISTENS,
    ROOT,
    SETTINGS,
    BenchError,
    Target,
    pin,
    prepare_this_process,
    running,
)
from bench.redis_server import RedisServer
from bench.sides import MARK, OURS, TEXT, THEIRS, cast, event, our_send
from storage.embedded import EmbeddedMongo

FIGURES = ("deliveries_per_s", "cpu_us_per_delivery", "p50_ms", "p99_ms")


@contextmanager
def redis() -> Iterator[RedisServer]:
    server = RedisServer()
    try:
        pin(server.start().pid, LOAD_CORE)
        yield server
    except FileNotFoundError:
        raise BenchError("this needs redis-server") from None
    finally:
        server.stop()


@contextmanager
def database() -> Iterator[tuple[str, int]]:
    """(its URL, its pid): of nobody that is measured, so that it outlives each of them."""
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as name:
        embedded = EmbeddedMongo(Path(name))
        url = embedded.start()
        pid = json.loads((Path(name) / "db.json").read_text())["pid"]
        pin(pid, LOAD_CORE)
        try:
            yield url, pid
        finally:
            embedded.stop()


@contextmanager
def parleys(redis_url: str) -> Iterator[tuple[Target, Target]]:
    """(the publisher's, the measured one), on one database."""
    with ExitStack() as stack:
        url, database_pid = stack.enter_context(database())
        env = {key: value for key, value in os.environ.items() if key not in NOT_INHERITED}
        env |= {**SETTINGS, "REDIS_URL": redis_url, "MONGO_URL": url, "JWT_SECRET": secrets.token_hex(32)}
        made = []
        for _ in range(2):
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="parley-bench-")))
            own = {**env, "DATA_DIR": str(directory / "data")}
            made.append(
                stack.enter_context(running([sys.executable, "server.py"], ROOT, own, directory, PARLEY_LISTENS))
            )
        pin(made[0].pid, LOAD_CORE)
        yield made[0], replace(made[1], database_pid=database_pid)


@contextmanager
def stocks(redis_url: str) -> Iterator[tuple[Target, Target]]:
    command = [sys.executable, "-m", "bench.stock", redis_url]
    with ExitStack() as stack:
        names = [stack.enter_context(tempfile.TemporaryDirectory(prefix="parley-bench-")) for _ in range(2)]
        made = [stack.enter_context(running(command, ROOT, dict(os.environ), Path(n), PEER_LISTENS)) for n in names]
        pin(made[0].pid, LOAD_CORE)
        yield made[0], made[1]


def relay_figures(target: Target) -> Figures:
    with urllib.request.urlopen(f"{target.url}/metrics") as response:
        lines = response.read().decode().splitlines()
    found = dict(line.split(" ") for line in lines if line.startswith("parley_relay"))
    return {name: float(found[f"parley_relay_{name}_total"]) for name in ("decoded", "elsewhere")}


def ours(options: argparse.Namespace) -> Figures:
    with redis() as server, parleys(server.url) as (publisher, measured):
        people = cast(publisher)
        figures = load(
            "fanout", measured, publisher_port=publisher.port, clients=options.clients, window=options.window,
            seconds=options.seconds, tokens=people.tokens, packet=our_send(people.conversations[0], "m-{n}"),
            expect=OURS, mark=MARK, excluded=True,
        )  # fmt: skip
        return figures | relay_figures(measured)


def nobody_there(options: argparse.Namespace) -> Figures:
    """All clients beside the publisher: the other process hears of everything and has nobody to tell."""
    with redis() as server, parleys(server.url) as (publisher, idle):
        people = cast(publisher)
        # Somebody else is there, so that the process listens to what goes on.
        figures = load(
            "fanout", replace(publisher, database_pid=0), clients=100, window=options.window, seconds=options.seconds,
            tokens=people.tokens, packet=our_send(people.conversations[0], "m-{n}"), expect=OURS, mark=MARK,
            excluded=True,
        )  # fmt: skip
        return {"messages": figures["messages"]} | relay_figures(idle)


def stock(options: argparse.Namespace) -> Figures:
    """Only counted: it does not keep the order, so what arrives cannot be checked."""
    packet = event("message", {"conversation": "c1", "client_id": "m-{n}", "text": TEXT}, acknowledged=False)
    with redis() as server, stocks(server.url) as (publisher, measured):
        return load(
            "fanout", measured, publisher_port=publisher.port, clients=options.clients, window=options.window,
            seconds=options.seconds, packet=packet, expect=THEIRS, excluded=True,
        )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.across", description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--window", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=8)
    options = parser.parse_args()
    prepare_this_process()
    sides: dict[str, list[Figures]] = {"Parley": [], "stock": []}
    try:
        for _ in range(options.runs):
            sides["Parley"].append(ours(options))
            sides["stock"].append(stock(options))
        alone = nobody_there(options)
    except BenchError as error:
        print(f"stopped: {error}", file=sys.stderr)
        return 1
    print(f"| {options.clients:,} clients on the other process | Parley | stock | ratio |\n|---|---|---|---|")
    for name in FIGURES:
        one, other = (statistics.median(run[name] for run in sides[side]) for side in ("Parley", "stock"))
        print(f"| {name} | {one:,.4g} | {other:,.4g} | {one / other:.3g} |")
    print(f"\nA process with nobody in the room, of {alone['messages']:,.0f} messages: "
          f"{alone['decoded']:.0f} decoded, {alone['elsewhere']:.0f} dropped by name")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
