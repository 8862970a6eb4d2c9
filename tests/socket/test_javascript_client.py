"""The real `socket.io-client`, in Node, against a server process."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from security.secret import make_key
from security.tokens import Tokens
from tests.support import ROOT, SECRET, Process


def run(script: str, **env: str) -> None:
    done = subprocess.run(
        ["node", "--test", "--test-reporter=spec", script],
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped 0" in done.stdout, done.stdout


def test_the_javascript_client(process: Process) -> None:
    expired = Tokens([make_key(SECRET)], 60).issue("u_nobody", "s_nobody", "user", now=time.time() - 10_000)
    run("tests/js/client.test.mjs", PARLEY_URL=process.url, PARLEY_EXPIRED_TOKEN=expired)


def test_habits_of_clients(tmp_path: Path) -> None:
    process = Process(tmp_path, JWT_SECRET=SECRET, RATE_LIMIT_SCALE="0").start()
    try:
        run("tests/js/habits.test.mjs", PARLEY_URL=process.url)
    finally:
        process.kill()
