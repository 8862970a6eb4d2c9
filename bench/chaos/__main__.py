"""`python -m bench.chaos --seed N --minutes M`: kills, freezes and cuts under load, and proves what was promised.

Prints the schedule, runs it, and reports; exit code 1 if any promise was broken, 2 if the run itself failed. The
directory named in the report has the logs of all processes, the journal of every client, and every violation. How to
read it: docs/chaos.md.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import logging
import secrets
import shlex
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from bench.chaos import report
from bench.chaos.calm import expected_in_calm
from bench.chaos.checker import check
from bench.chaos.part import ChaosError
from bench.chaos.plan import KINDS, PLANTS, draw, kinds_with
from bench.chaos.redis_parts import REDIS
from bench.chaos.run import Run
from bench.processes import ROOT
from bench.replay import load_dialogues

DIALOGUES = ROOT / "bench/data/casino_valid.json"
OUT = ROOT / "data/chaos"
MINUTES_MIN, MINUTES_MAX = 0.1, 60.0


def _number(low: float, high: float, whole: bool = True) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = int(text) if whole else float(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be between {low:g} and {high:g}")
        return value

    return parse


def _kinds(text: str) -> tuple[str, ...]:
    names = () if text == "none" else tuple(text.split(","))
    if unknown := [name for name in names if name not in KINDS]:
        raise argparse.ArgumentTypeError(f"no kind {', '.join(unknown)}; there are {', '.join(KINDS)}, and none")
    return names


def options() -> argparse.Namespace:
    kinds = "; ".join(f"{kind.name}: {kind.text}" for kind in KINDS.values())
    parser = argparse.ArgumentParser(prog="python -m bench.chaos", description="Faults under load.", epilog=kinds)
    parser.add_argument("--seed", type=int, help="the same seed gives the same schedule; drawn if not given")
    parser.add_argument("--minutes", type=_number(MINUTES_MIN, MINUTES_MAX, whole=False), default=10.0)
    parser.add_argument("--people", type=_number(6, 200), default=24)
    parser.add_argument("--processes", type=_number(1, 8), default=3, help="web processes")
    parser.add_argument("--redis", choices=REDIS, default="single", help="one server, or three masters and replicas")
    parser.add_argument("--kinds", type=_kinds, help="faults, separated by commas, or none; all if not given")
    parser.add_argument("--dialogues", type=Path, default=DIALOGUES, help="what people say, as bench/data has it")
    parser.add_argument("--plant", choices=PLANTS, help="run servers with this bug, which must be found")
    parser.add_argument("--one-in", type=_number(1, 10**9), default=10_000, help="how often the planted bug happens")
    parser.add_argument("--hostile", action="store_true", help="one who attacks is among the people (bench.siege)")
    parser.add_argument("--out", type=Path, help="a directory for the logs")
    chosen = parser.parse_args()
    possible = kinds_with(chosen.redis)
    chosen.kinds = possible if chosen.kinds is None else chosen.kinds
    if strange := [name for name in chosen.kinds if name not in possible]:
        parser.error(f"{', '.join(strange)} cannot happen with --redis {chosen.redis}")
    return chosen


def main() -> int:
    chosen = options()
    seed = secrets.randbelow(1_000_000) if chosen.seed is None else chosen.seed
    directory = (chosen.out or OUT / f"{time.strftime('%Y%m%d-%H%M%S')}-seed-{seed}").absolute()
    directory.mkdir(parents=True, exist_ok=True)
    again = shlex.join(
        ["python", "-m", "bench.chaos", *sys.argv[1:], *(["--seed", str(seed)] if chosen.seed is None else [])]
    )
    plan = draw(seed, chosen.minutes, chosen.processes, chosen.kinds)
    print(f"seed {seed}: {len(plan.faults)} faults, then {plan.calm_s:.0f} s of calm", flush=True)
    print("\n".join(str(fault) for fault in plan.faults), flush=True)
    command = ["-m", "bench.chaos.planted", chosen.plant, str(chosen.one_in)] if chosen.plant else ["server.py"]
    # It calls it an error when the writer of a connection that has ended runs out of packets.
    logging.getLogger("engineio.client").setLevel(logging.CRITICAL)
    run = Run(directory, plan, seed, chosen.people, command, chosen.processes, chosen.redis, chosen.hostile)
    try:
        outcome = asyncio.run(run.perform(load_dialogues(chosen.dialogues)))
    except ChaosError as error:
        print(f"stopped: {error}\nlogs: {directory}\nagain: {again}", file=sys.stderr)
        return 2
    except Exception:  # 1 would say that a promise was broken
        traceback.print_exc()
        return 2
    evidence = outcome.evidence
    for journal in evidence.journals:
        journal.write(directory / f"{journal.device}.jsonl", evidence.began_at)
    violations = check(evidence)
    figures = report.figures(outcome, expected_in_calm(evidence))
    text = report.text_of(figures, violations, outcome.began, again, str(directory))
    (directory / "report.txt").write_text(text)
    document = {
        "seed": seed,
        "command": again,
        "began": outcome.began,
        "figures": figures,
        "faults": [
            [*fault[:2], fault.at - evidence.began_at, fault.until - evidence.began_at] for fault in evidence.faults
        ],
        "violations": [dataclasses.asdict(violation) for violation in violations],
    }
    (directory / "report.json").write_text(json.dumps(document, indent=1))
    print(text)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
