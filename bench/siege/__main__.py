"""`python -m bench.siege [--seconds 8] [--only pings,connects [--together]] [--files 1024]`: a table in Markdown.

A server with the limits of production, on core 0. Honest people send a message each third of a
second, and every second one logs in and one connects; the attackers, with less priority than they, are on core 1 with
them and the database. Each attack runs with 10 Mbit/s, and twice at full speed, each beside a quiet run of the same
minute. `--files` is what `ulimit -n` allows the server.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import secrets
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.clients import CommandError, ConnectionDroppedError, Person, Rest
from bench.processes import BenchError, Target, parley, prepare_this_process
from bench.siege.attacks import ATTACKS, VICTIM
from bench.siege.honest import PASSWORD, Waits, spend_time

HOW = (("10 Mbit/s", 10.0, 1), ("two at full speed", 0.0, 2))
PRODUCTION = {
    "RATE_LIMIT_SCALE": "1", "BCRYPT_ROUNDS": "10", "MAX_CONNECTIONS_PER_USER": "20",
}  # fmt: skip
SPECIAL = {"search": {"RATE_LIMIT_SCALE": "10"}}  # as much as production allows, for the messages to be written in time
QUIET_MAX_S = 10.0
LONG_MESSAGES = 3_000
LONG_TEXT = "The container price we agreed upon in March holds. " * 80
AT_ONCE = 20


@contextmanager
def attacked(target: Target, names: Sequence[str], token: str, mbit: float, count: int) -> Iterator[None]:
    module = [sys.executable, "-m", "bench.siege.attacks"]
    attackers = [
        subprocess.Popen([*module, name, target.url, token, str(mbit)]) for name in names for _ in range(count)
    ]
    try:
        yield
    finally:
        for each in attackers:
            each.kill()
            each.wait()


def rss_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1_048_576


async def _prepare(url: str, names: Sequence[str]) -> str:
    """The attacker's token."""
    async with Rest(url) as rest:
        await rest.register_or_login(VICTIM, PASSWORD, "Victim")
        eve = await rest.register(f"eve.{secrets.token_hex(4)}@siege.example", PASSWORD, "Eve")
        if "search" in names:
            await _fill(rest, Person(rest, eve))
        return eve.access_token


async def _fill(rest: Rest, eve: Person) -> None:
    friend = await rest.register(f"mal.{secrets.token_hex(4)}@siege.example", PASSWORD, "Mal")
    await eve.connect()
    made = {"type": "direct", "participant_ids": [friend.id], "client_id": "d"}
    conversation = (await eve.call("chat:create", made))["conversation"]["id"]
    for start in range(0, LONG_MESSAGES, AT_ONCE):
        message = {"conversation_id": conversation, "text": LONG_TEXT}
        numbers = range(start, start + AT_ONCE)
        await asyncio.gather(*[eve.call("chat:send", {**message, "client_id": f"m{number}"}) for number in numbers])
    await eve.close()


def measure(names: Sequence[str], seconds: float) -> Iterator[str]:
    for how, mbit, count in HOW if len(names) == 1 else HOW[:1]:
        with parley(**{**PRODUCTION, **SPECIAL.get(names[0], {})}) as target:
            token = asyncio.run(_prepare(target.url, names))
            quiet = asyncio.run(spend_time(target.url, min(seconds, QUIET_MAX_S)))
            before = rss_mib(target.pid)
            with attacked(target, names, token, mbit, count):
                besieged = asyncio.run(spend_time(target.url, seconds))
            cells = [", ".join(ATTACKS[name].what for name in names), how]
            for kind in ("sends", "logins", "connects"):
                for share in (0.5, 0.99):
                    calm, now = (Waits.quantile(getattr(each, kind), share) for each in (quiet, besieged))
                    cells.append(f"{calm * 1e3:.1f} → {now * 1e3:.1f} ms ({now / calm:.1f})")
            refused = f"{quiet.refused} → {besieged.refused}"
            yield " | ".join([*cells, refused, f"{rss_mib(target.pid) - before:+.0f} MiB"])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.siege", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--only", default=",".join(ATTACKS))
    parser.add_argument("--together", action="store_true", help="all of them at the same time, each with 10 Mbit/s")
    parser.add_argument("--files", type=int, default=0)
    options = parser.parse_args()
    prepare_this_process()
    if options.files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (options.files, options.files))
    kinds = ("send", "log-in", "connect")
    columns = ["attack", "how", *[f"{kind} {share}" for kind in kinds for share in ("p50", "p99")], "refused", "memory"]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    try:
        names = options.only.split(",")
        for together in [names] if options.together else [[name] for name in names]:
            for row in measure(together, options.seconds):
                print(f"| {row} |", flush=True)
    except (BenchError, CommandError, ConnectionDroppedError) as error:
        print(f"stopped: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
