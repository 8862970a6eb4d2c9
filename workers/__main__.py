"""`python -m workers`: a worker process, beside web processes that share a Redis.
`python -m workers dead [--replay ID | --replay-all]`: the jobs that failed too often, and trying them again.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

import msgspec

import settings as configuration
from models.jobs.actions import Jobs
from models.jobs.document import to_job
from models.jobs.store import JobStore
from ops import logs, private
from realtime.bus import MemoryBus
from security import secret
from storage import embedded
from storage.mongo import Database, DatabaseError
from workers.process import work


def _work(settings: configuration.Settings) -> None:
    if settings.redis_url is None:
        raise configuration.SettingsError("REDIS_URL is not set: without Redis the web process does the jobs itself")
    logs.configure(settings.log_level, settings.data_dir / "logs", settings.route)
    private.close_to_others(settings.data_dir)
    url = settings.mongo_url or embedded.running_url(settings.data_dir)
    if url is None:
        raise configuration.SettingsError("MONGO_URL is not set and no web process runs a database in DATA_DIR")
    asyncio.run(work(settings, url))


async def _dead(settings: configuration.Settings, url: str, replay: str | None, all_of_them: bool) -> int:
    database = Database(url, settings.mongo_db)
    try:
        await database.connect()
        jobs = Jobs(JobStore(database), MemoryBus())
        dead = await jobs.dead()
        wanted = [job["_id"] for job in dead] if all_of_them else [replay] if replay else []
        for job_id in wanted:
            if not await jobs.revive(job_id):
                print(f"there is no dead job {job_id}", file=sys.stderr)
                return 1
            print(f"{job_id} is tried again")
        if not wanted:
            for job in dead:
                print(msgspec.json.encode(to_job(job)).decode())
            print(f"{len(dead)} dead jobs", file=sys.stderr)
    finally:
        database.close()
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m workers", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    dead = commands.add_parser("dead", help="list the jobs that failed too often, a JSON object a line")
    chosen = dead.add_mutually_exclusive_group()
    chosen.add_argument("--replay", metavar="ID")
    chosen.add_argument("--replay-all", action="store_true")
    arguments = parser.parse_args()
    private.be_private()
    try:
        settings = configuration.load()
        if arguments.command is None:
            _work(settings)
            return 0
        with embedded.reached(settings.mongo_url, settings.data_dir) as url:
            return asyncio.run(_dead(settings, url, arguments.replay, arguments.replay_all))
    except (
        configuration.SettingsError, logs.LogError, secret.SecretError, embedded.EmbeddedError, DatabaseError,
    ) as error:  # fmt: skip
        print(f"parley worker cannot start: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno is None or "address" not in str(error).lower():
            raise
        print(f"parley worker cannot start: {error.strerror or error}; choose another WORKER_PORT", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
