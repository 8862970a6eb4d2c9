"""The demo page and the documentation pages in a real browser."""

from __future__ import annotations

import os
import secrets
import subprocess

import pytest

from tests.support import PASSWORD, ROOT, Process


@pytest.mark.parametrize("script", ["page", "docs"])
def test_in_a_browser(process: Process, script: str) -> None:
    admin = f"{script}.{secrets.token_hex(6)}@example.test"
    process.make_admin(admin)
    done = subprocess.run(
        ["node", "--test", "--test-reporter=spec", f"tests/js/{script}.test.mjs"],
        cwd=ROOT,
        env={**os.environ, "PARLEY_URL": process.url, "ADMIN_EMAIL": admin, "ADMIN_PASSWORD": PASSWORD},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped 0" in done.stdout, done.stdout
