"""The chaos harness, shortly: every promise is kept under faults of every kind, and a planted bug is found.

The long run is `python -m bench.chaos` (docs/chaos.md).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.chaos.plan import SINGLE
from tests.support import ROOT

SEED = 20260301
SMALL = ("--people", "10", "--processes", "2")


def chaos(directory: Path, *arguments: str) -> tuple[int, dict[str, Any], str]:
    command = [sys.executable, "-m", "bench.chaos", "--seed", str(SEED), "--out", str(directory), *SMALL, *arguments]
    print("seed", SEED)
    ended = subprocess.run(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300, check=False
    )
    report = directory / "report.json"
    assert report.exists(), ended.stdout[-4000:]
    return ended.returncode, json.loads(report.read_text()), ended.stdout


def test_every_promise_is_kept_under_faults_of_every_kind(tmp_path: Path) -> None:
    code, report, output = chaos(tmp_path, "--minutes", "0.5")
    assert (code, report["violations"]) == (0, []), output
    assert set(report["figures"]["faults"]) == set(SINGLE)
    assert report["figures"]["acknowledged"] > 100
    assert report["figures"]["reconnects"] > 0
    assert report["figures"]["steps of offers taken"] > 10


def test_every_promise_is_kept_on_a_redis_cluster_whose_nodes_fail(tmp_path: Path) -> None:
    kinds = ("redis-master", "redis-node", "redis-freeze", "redis-cut")
    code, report, output = chaos(tmp_path, "--minutes", "0.5", "--redis", "cluster", "--kinds", ",".join(kinds))
    assert (code, report["violations"]) == (0, []), output
    assert set(report["figures"]["faults"]) == set(kinds)
    assert report["figures"]["acknowledged"] > 100


def test_what_cannot_happen_to_a_redis_is_refused() -> None:
    for arguments in (("--kinds", "redis-master"), ("--redis", "cluster", "--kinds", "cut,redis-kill")):
        command = [sys.executable, "-m", "bench.chaos", *arguments]
        ended = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=60, check=False)
        assert ended.returncode == 2
        assert f"{arguments[-1].split(',')[-1]} cannot happen" in ended.stderr


def test_a_planted_bug_is_found(tmp_path: Path) -> None:
    options = ("--minutes", "0.15", "--kinds", "none", "--plant", "drop", "--one-in", "50")
    code, report, output = chaos(tmp_path, *options)
    assert code == 1, output
    assert "calm" in {violation["promise"] for violation in report["violations"]}
