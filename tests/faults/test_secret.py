"""The server's secret: made once, kept to its owner, and what happens when its making is disturbed."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from security.secret import load_or_create
from server import Server
from settings import Settings
from tests.support import PASSWORD, ROOT, Crowd, serving

OLD, NEW = "the old secret, at least 32 bytes long", "the new secret, at least 32 bytes long"


def test_the_secret_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    made = load_or_create(tmp_path / "new")
    assert len(made) >= 64
    assert load_or_create(tmp_path / "new") == made
    path = tmp_path / "new" / "secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["secret"]


def test_of_two_processes_that_make_it_both_use_one(tmp_path: Path) -> None:
    script = "import sys; from pathlib import Path; from security.secret import load_or_create as make; "
    script += "sys.stdin.readline(); print(make(Path(sys.argv[1])))"
    makers = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]  # fmt: skip
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda maker: maker.communicate("go\n", timeout=30)[0], makers))
    assert {maker.returncode for maker in makers} == {0}
    assert set(made) == {(tmp_path / "secret").read_text() + "\n"}
    assert [file.name for file in tmp_path.iterdir()] == ["secret"]


def test_two_threads_of_one_process_may_make_it_too(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = set(threads.map(lambda _: load_or_create(tmp_path), range(8)))
    assert made == {(tmp_path / "secret").read_text()}


def test_a_crash_while_it_was_made_does_not_stop_the_next_start(tmp_path: Path) -> None:
    """In a container every start has the same process id, so the next one finds its own name taken."""
    (tmp_path / f"secret.{os.getpid()}").write_text("half a sec")
    assert len(load_or_create(tmp_path)) >= 64


@pytest.mark.parametrize("content", ["", "\n", "short"])
def test_an_empty_or_short_secret_is_never_used(tmp_path: Path, content: str) -> None:
    """Anyone can sign tokens with it."""
    (tmp_path / "secret").write_text(content)
    with pytest.raises(Exception, match="secret"):
        assert len(load_or_create(tmp_path)) < 32, "it was replaced by a good secret"


def rotated(settings: Settings, secret: str, previous: str | None) -> Settings:
    return Settings(
        data_dir=settings.data_dir, mongo_db=settings.mongo_db, jwt_secret=secret, jwt_secret_previous=previous,
        rate_limit_scale=0, bcrypt_rounds=4,
    )  # fmt: skip


async def test_a_rotated_secret_keeps_tokens_and_passwords(settings: Settings, mongo_url: str) -> None:
    async with serving(rotated(settings, OLD, None), mongo_url) as (_, url):
        crowd = Crowd(url)
        before = await crowd.account()
        await crowd.close()
    async with serving(rotated(settings, NEW, OLD), mongo_url) as (server, url):
        crowd = Crowd(url)
        person = await crowd.connect(before)
        assert (await person.call("chat:list", {}))["items"] == []
        again = await crowd.rest.login(before.user["email"], PASSWORD)
        assert server.tokens.verify(again.access_token).user_id == before.id
        await crowd.close()


async def test_once_the_rotation_is_over_people_can_still_log_in(settings: Settings, mongo_url: str) -> None:
    """The previous secret is taken out of the settings when its tokens have expired: no password may depend on it."""
    async with serving(rotated(settings, NEW, OLD), mongo_url) as (_, url):
        crowd = Crowd(url)
        account = await crowd.account()
        await crowd.rest.login(account.user["email"], PASSWORD)
        await crowd.close()
    async with serving(rotated(settings, NEW, None), mongo_url) as (_, url):
        crowd = Crowd(url)
        try:
            assert (await crowd.rest.login(account.user["email"], PASSWORD)).id == account.id
        finally:
            await crowd.close()


def test_the_server_takes_the_previous_secret(settings: Settings, mongo_url: str) -> None:
    server = Server(rotated(settings, NEW, OLD), mongo_url)
    try:
        assert len(server.tokens._by_kid) == 2
    finally:
        server.database.close()
        server.passwords.close()
