"""A reconnect storm: kill -9 of a process with thousands of clients, all of which come to the other one at once.

`python -m bench.storm [--clients 5000] [--runs 3]`. The other process has a core to itself and honest clients who go on
sending; what they wait for their acknowledgements is measured until the last of the lost is back in all namespaces.
"""

from __future__ import annotations

import argparse
import statistics
import sys

from bench.across import parleys, redis
from bench.generator import Figures, load
from bench.processes import BenchError, prepare_this_process
from bench.sides import NAMESPACES, cast, our_send

HONEST = 20
USERS = 250  # 20 connections each, as many as one user may have
BACK_WITHIN_S = 30
P99_MS_MAX = 1_000


def storm(clients: int, seconds: float) -> Figures:
    with redis() as server, parleys(server.url) as (victim, refuge):
        people = cast(victim, users=USERS, talkers=HONEST)
        packet = our_send(people.conversations[0], "s-{client}-{n}")
        return load(
            "storm", refuge, port=victim.port, clients=clients + HONEST, honest=HONEST, victim=victim.pid,
            refuge_port=refuge.port, namespaces=NAMESPACES, tokens=people.tokens, packet=packet, seconds=seconds,
        )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.storm", description=__doc__)
    parser.add_argument("--clients", type=int, default=5_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3, help="calm before the storm")
    options = parser.parse_args()
    prepare_this_process()
    try:
        runs = [storm(options.clients, options.seconds) for _ in range(options.runs)]
    except BenchError as error:
        print(f"stopped: {error}", file=sys.stderr)
        return 1
    print(f"{options.clients:,} clients, {options.runs} runs\n\n| figure | median | worst |\n|---|---|---|")
    for name in runs[0]:
        values = [run[name] for run in runs]
        print(f"| {name} | {statistics.median(values):,.4g} | {max(values):,.4g} |")
    return 0 if all(run["back_s"] <= BACK_WITHIN_S and run["p99_ms"] <= P99_MS_MAX for run in runs) else 1


if __name__ == "__main__":
    sys.exit(main())
