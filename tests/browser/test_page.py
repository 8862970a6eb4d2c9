"""The demo page in a real browser."""

from __future__ import annotations

import os
import subprocess

from tests.support import ROOT, Process


def test_the_page(process: Process) -> None:
    done = subprocess.run(
        ["node", "--test", "--test-reporter=spec", "tests/js/page.test.mjs"],
        cwd=ROOT, env={**os.environ, "PARLEY_URL": process.url}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped 0" in done.stdout, done.stdout
