"""What the server writes is for its own user alone, whatever the umask it was started with."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.private import close_to_others
from tests.support import SECRET, Process


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    before = os.umask(0o002)
    yield
    os.umask(before)


def open_to_others(directory: Path) -> dict[str, str]:
    paths = [directory, *directory.rglob("*")]
    modes = {str(path.relative_to(directory)): stat.S_IMODE(path.lstat().st_mode) for path in paths}
    return {name: oct(mode) for name, mode in modes.items() if mode & 0o077}


def test_a_new_data_dir_is_closed_to_others(tmp_path: Path) -> None:
    server = Process(tmp_path / "new").start()
    try:
        server.make_admin("root@example.test")
        written = {path.name for path in server.data_dir.iterdir()}
        assert {"db", "db.json", "db.log", "logs", "parley.lock", "secret"} <= written
        assert open_to_others(server.data_dir) == {}
    finally:
        assert server.terminate() == 0


def test_one_that_was_open_is_closed(tmp_path: Path) -> None:
    data_dir = tmp_path / "old"
    (data_dir / "logs").mkdir(parents=True)
    (data_dir / "logs" / "parley.log").write_text("of an earlier version\n")
    (data_dir / "secret").write_text(SECRET)
    assert open_to_others(data_dir)
    server = Process(data_dir).start()
    try:
        assert set(open_to_others(data_dir)) <= {"logs/parley.log"}, "nobody gets to it through its directory"
        assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    finally:
        assert server.terminate() == 0


def test_one_that_is_shared_is_left_open_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """DATA_DIR=/srv or a home: whoever uses the rest of it must go on to reach it."""
    (tmp_path / "photographs").mkdir()
    (tmp_path / "logs").mkdir()
    tmp_path.chmod(0o755)
    close_to_others(tmp_path)
    assert set(open_to_others(tmp_path)) == {".", "photographs"}
    assert "open to other users and has other files in it" in caplog.text
    caplog.clear()
    (tmp_path / "photographs").rmdir()
    close_to_others(tmp_path)
    assert open_to_others(tmp_path) == {}
    close_to_others(tmp_path)
    assert caplog.text.count("no longer is") == 1
