"""Connection state recovery by the real `socket.io-client`, on one process and across two."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.cluster.test_across import two_processes
from tests.support import ROOT, SECRET, Process

# Longer by AWAY_MS=30000, which each of the eight cases waits for.
TIMEOUT_S = 180 + 8 * int(os.environ.get("AWAY_MS", "0")) / 1000


def run(*urls: str) -> None:
    done = subprocess.run(
        ["node", "--test", "--test-reporter=spec", "tests/js/recovery.test.mjs"],
        cwd=ROOT, env={**os.environ, "URLS": ",".join(urls)}, capture_output=True, text=True, timeout=TIMEOUT_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped 0" in done.stdout, done.stdout


def test_one_process_remembers(tmp_path: Path) -> None:
    process = Process(tmp_path, JWT_SECRET=SECRET, RATE_LIMIT_SCALE="0").start()
    try:
        run(process.url)
    finally:
        process.kill()


def test_two_processes_remember_for_each_other(tmp_path: Path, mongo_url: str, redis_url: str) -> None:
    with two_processes(tmp_path, mongo_url, redis_url) as (a, b):
        run(a.url, b.url)
