"""One server for a DATA_DIR and for a port, what a killed one leaves behind, and the first administrator."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from settings import Settings
from storage.embedded import EmbeddedMongo
from tests.support import PASSWORD, ROOT, SECRET, Crowd, Process, serving


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    running = Process(tmp_path_factory.mktemp("owned"), RATE_LIMIT_SCALE="0").start()
    yield running
    assert running.terminate() == 0


def run(data_dir: Path, *command: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """A program of ours, until it ends by itself."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY")}
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, input=stdin, capture_output=True, text=True, timeout=60,
        env=clean | {"DATA_DIR": str(data_dir), "PORT": "0", "BCRYPT_ROUNDS": "4"} | env,
    )  # fmt: skip


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def database_pid(data_dir: Path) -> int:
    return int(json.loads((data_dir / "db.json").read_text())["pid"])


def test_a_second_server_on_the_same_directory_is_refused(first: Process) -> None:
    done = run(first.data_dir, "server.py")
    assert done.returncode == 1
    assert "DATA_DIR" in done.stderr
    assert str(first.data_dir) in done.stderr
    assert str(first.pid) in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert alive(database_pid(first.data_dir))


def test_a_port_in_use_is_refused_clearly(first: Process, tmp_path: Path) -> None:
    port = first.url.rpartition(":")[2]
    done = run(tmp_path, "server.py", PORT=port)
    assert done.returncode == 1
    assert "parley listening" not in done.stdout
    message = done.stderr.strip().splitlines()[-1]
    assert port in message
    assert "PORT" in message
    assert "Traceback" not in done.stderr + done.stdout
    assert not (tmp_path / "db.json").exists()  # its database was stopped


def test_a_setting_that_makes_no_sense_is_one_line(tmp_path: Path) -> None:
    done = run(tmp_path, "server.py", PORT="eighty")
    assert done.returncode == 1
    assert done.stderr.strip() == "parley cannot start: PORT must be a number, not 'eighty'"


def test_a_mongo_that_is_not_there_is_said_in_a_line(tmp_path: Path) -> None:
    """As `python server.py`, but giving up after half a second instead of thirty."""
    script = "import sys; from storage.mongo import Database as d; d.connect.__defaults__ = (0.5,); "
    script += "import server; sys.exit(server.main())"
    url = "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=200"
    done = run(tmp_path, "-c", script, MONGO_URL=url, JWT_SECRET=SECRET)
    assert done.returncode == 1
    assert "parley listening" not in done.stdout
    assert "Traceback" not in done.stderr
    assert "parley cannot start" in done.stderr
    assert "MONGO_URL" in done.stderr


async def test_a_database_left_over_from_a_killed_server_is_replaced(tmp_path: Path) -> None:
    leftover = EmbeddedMongo(tmp_path)
    leftover.start()
    made = run(tmp_path, "-m", "models.users", "create-admin", "root@example.test", stdin=PASSWORD + "\n")
    assert made.returncode == 0, made.stderr
    assert leftover._lock is not None
    leftover._lock.close()  # as the kernel does for an owner that was killed
    old = database_pid(tmp_path)
    process = Process(tmp_path).start()
    crowd = Crowd(process.url)
    try:
        assert not alive(old)
        assert alive(database_pid(tmp_path))
        assert database_pid(tmp_path) != old
        assert (await crowd.rest.login("root@example.test", PASSWORD)).user["role"] == "super_admin"
    finally:
        await crowd.close()
        process.kill()
        assert leftover._process is not None
        leftover._process.wait(10)


async def test_the_database_does_not_outlive_a_killed_server(tmp_path: Path) -> None:
    process = Process(tmp_path).start()
    pid = database_pid(tmp_path)
    assert alive(pid)
    process.kill()
    deadline = time.monotonic() + 10
    while alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


async def test_an_administrator_is_made_beside_a_running_server(first: Process) -> None:
    done = run(first.data_dir, "-m", "models.users", "create-admin", "root@example.test", stdin=PASSWORD + "\n")
    assert done.returncode == 0, done.stderr
    assert "root@example.test" in done.stdout
    assert PASSWORD not in done.stdout + done.stderr
    crowd = Crowd(first.url)
    admin = await crowd.rest.login("root@example.test", PASSWORD)
    assert admin.user["role"] == "super_admin"
    await crowd.close()
    again = run(first.data_dir, "-m", "models.users", "create-admin", "Root@Example.test", stdin=PASSWORD + "\n")
    assert again.returncode == 1
    assert "Traceback" not in again.stderr


async def test_an_administrator_is_made_before_the_first_start(tmp_path: Path) -> None:
    done = run(tmp_path, "-m", "models.users", "create-admin", "root@example.test", stdin=PASSWORD + "\n")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "db.json").exists()
    process = Process(tmp_path).start()
    crowd = Crowd(process.url)
    try:
        admin = await crowd.rest.login("root@example.test", PASSWORD)
        assert admin.user["role"] == "super_admin"
    finally:
        await crowd.close()
        process.kill()


@pytest.mark.parametrize(("email", "password"), [("not an address", PASSWORD), ("root@example.test", "short")])
def test_a_bad_administrator_is_refused(first: Process, email: str, password: str) -> None:
    done = run(first.data_dir, "-m", "models.users", "create-admin", email, stdin=password + "\n")
    assert done.returncode == 2
    assert ("email" if "@" not in email else "password") in done.stderr
    assert "Traceback" not in done.stderr


async def test_an_administrator_made_during_a_rotation_can_log_in(settings: Settings, mongo_url: str) -> None:
    secrets = {"JWT_SECRET": "n" * 32, "JWT_SECRET_PREVIOUS": "o" * 32}
    database = {"MONGO_URL": mongo_url, "MONGO_DB": settings.mongo_db}
    create = ("-m", "models.users", "create-admin", "root@example.test")
    done = run(settings.data_dir, *create, stdin=PASSWORD + "\n", **secrets, **database)
    assert done.returncode == 0, done.stderr
    same = replace(settings, jwt_secret="n" * 32, jwt_secret_previous="o" * 32)
    async with serving(same, mongo_url) as (_, url):
        crowd = Crowd(url)
        try:
            assert (await crowd.rest.login("root@example.test", PASSWORD)).user["role"] == "super_admin"
        finally:
            await crowd.close()


def test_ctrl_c_ends_it_like_sigterm(tmp_path: Path, mongo_url: str) -> None:
    process = Process(tmp_path, MONGO_URL=mongo_url, MONGO_DB="ctrl_c", JWT_SECRET=SECRET).start()
    os.kill(process.pid, signal.SIGINT)
    assert process._ended(20) == 0
