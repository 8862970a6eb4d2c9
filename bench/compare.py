"""Measures Parley and its Node peers side by side and says which lines hold.

`python -m bench.compare [--only fanout,ack] [--runs 5] [--quick] [--out FILE]` prints a table in Markdown and writes
every run to a file. `--sweep` measures one fan-out over many numbers of clients instead, for `python -m bench.plot`.
Sides take turns run by run, so that a machine's slow minute hurts both; figures are medians. Read ratios: they travel
from machine to machine, absolute figures do not.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.processes import BenchError, files_allowed, prepare_this_process
from bench.report import table
from bench.scenarios import QUICK, Scenario, Sizes, all_scenarios, sweep_scenarios

RUNS = 5
OUT = Path(__file__).parent.parent / "data/bench"

Run = dict[str, Any]  # scenario, side, run, and figures or error


def chosen(options: argparse.Namespace) -> list[Scenario]:
    sizes = QUICK if options.quick else Sizes()
    scenarios = sweep_scenarios(sizes) if options.sweep else all_scenarios(sizes)
    if options.only:
        names = options.only.split(",")
        unknown = [name for name in names if not any(_named(scenario, name) for scenario in scenarios)]
        if unknown:
            raise BenchError(f"no scenario {', '.join(unknown)}; there are {', '.join(s.name for s in scenarios)}")
        return [scenario for scenario in scenarios if any(_named(scenario, name) for name in names)]
    return [scenario for scenario in scenarios if not (scenario.once and options.quick)]


def _named(scenario: Scenario, name: str) -> bool:
    return scenario.name == name or scenario.name.startswith(f"{name}-")


def measure(scenarios: Iterable[Scenario], runs: int) -> Iterable[Run]:
    for scenario in scenarios:
        for number in range(1 if scenario.once else runs):
            for side, run in scenario.sides.items():
                started = time.monotonic()
                result: Run = {"scenario": scenario.name, "side": side, "run": number}
                try:
                    result["figures"] = run()
                    outcome = ""
                except BenchError as error:
                    result["error"] = str(error)
                    outcome = f" FAILED: {error}"
                elapsed = time.monotonic() - started
                print(f"{scenario.name} {side} {number + 1}: {elapsed:.0f} s{outcome}", file=sys.stderr, flush=True)
                yield result


def medians(runs: Iterable[Run]) -> dict[str, dict[str, dict[str, float]]]:
    """scenario → side → figure → median of the runs that succeeded."""
    collected: dict[str, dict[str, dict[str, list[float]]]] = {}
    for run in runs:
        side = collected.setdefault(run["scenario"], {}).setdefault(run["side"], {})
        for name, value in run.get("figures", {}).items():
            side.setdefault(name, []).append(value)
    return {
        scenario: {
            side: {name: statistics.median(values) for name, values in figures.items()}
            for side, figures in sides.items()
        }
        for scenario, sides in collected.items()
    }


def machine() -> dict[str, Any]:
    return {"system": platform.platform(), "cores": os.cpu_count(), "python": platform.python_version()}


def compare(options: argparse.Namespace) -> int:
    prepare_this_process()
    scenarios = chosen(options)
    print(f"{len(scenarios)} scenarios, {files_allowed():,} files allowed", file=sys.stderr)
    document: dict[str, Any] = {"made_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "machine": machine(), "runs": []}
    out: Path = options.out or OUT / ("sweep.json" if options.sweep else "compare.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    for run in measure(scenarios, options.runs):
        document["runs"].append(run)
        document["medians"] = medians(document["runs"])
        out.write_text(json.dumps(document, indent=1))  # after every run: hours of measuring survive an interruption
    print("\n".join(table(scenarios, document["medians"])))
    print(f"\n{options.runs} runs each, all of them in {out}")
    return 1 if any("error" in run for run in document["runs"]) else 0


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=int, default=RUNS, help="of each side of each scenario")
    parser.add_argument("--quick", action="store_true", help="shorter and smaller, to see that everything works")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description="Measure Parley beside Node.")
    add_options(parser)
    parser.add_argument("--only", help="scenarios, or what their names begin with, separated by commas")
    parser.add_argument("--sweep", action="store_true", help="one fan-out over many numbers of clients")
    parser.add_argument("--out", type=Path, help="where all runs are written, as JSON")
    try:
        return compare(parser.parse_args())
    except BenchError as error:
        print(f"stopped: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
