"""The load generator of `bench/load`: compiled when its sources are newer, run once for each measurement.

It is C because a Python client costs more than the server it would measure; see `load/load.h` for its parts.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from bench.processes import OUTPUT, BenchError, Target

SOURCES = Path(__file__).parent / "load"
PROGRAM = SOURCES / "build/load"
TIMEOUT_S = 1800

Figures = dict[str, float]


def build() -> Path:
    sources = sorted(SOURCES.glob("*.c"))
    newest = max(path.stat().st_mtime for path in (*sources, *SOURCES.glob("*.h")))
    if not PROGRAM.exists() or PROGRAM.stat().st_mtime < newest:
        PROGRAM.parent.mkdir(exist_ok=True)
        command = ["cc", "-O2", "-std=gnu11", "-Wall", "-Wextra", "-o", str(PROGRAM), *map(str, sources)]
        if subprocess.run(command, check=False).returncode != 0:
            raise BenchError("the load generator needs a C compiler, cc, on Linux")
    return PROGRAM


def load(kind: str, target: Target, **options: object) -> Figures:
    """Runs `fanout`, `ack` or `idle` against a server. Options are named as in `main.c`; True is a flag."""
    command = [str(build()), kind, "--port", str(target.port), "--pid", str(target.pid)]
    if target.database_pid:
        command += ["--database-pid", str(target.database_pid)]
    for name, value in options.items():
        if value is not None and value is not False:
            command += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
    return figures_of(command, target)


def figures_of(command: list[str], target: Target, cwd: Path | None = None) -> Figures:
    """Runs a program whose last line of output is its figures, as JSON."""
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise BenchError(f"{command[0]} did not end within {TIMEOUT_S} s") from None
    if done.returncode != 0:
        log = (target.directory / OUTPUT).read_text()[-2000:]
        raise BenchError(f"{done.stderr[-2000:].strip()}\n{log}".strip())
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures
