"""The real `socket.io-client`, in Node, against a server process."""

from __future__ import annotations

import os
import subprocess
import time

from security.secret import make_key
from security.tokens import Tokens
from tests.support import ROOT, SECRET, Process


def test_the_javascript_client(process: Process) -> None:
    expired = Tokens([make_key(SECRET)], 60).issue("u_nobody", "s_nobody", "user", now=time.time() - 10_000)
    env = {**os.environ, "PARLEY_URL": process.url, "PARLEY_EXPIRED_TOKEN": expired}
    done = subprocess.run(
        ["node", "--test", "--test-reporter=spec", "tests/js/client.test.mjs"],
        cwd=ROOT, env=env, capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped 0" in done.stdout, done.stdout
