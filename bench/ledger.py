"""How many transfers the ledger posts a second: on one hot account, and on a thousand. `python -m bench.ledger`.

The ledger as a process uses it, over the embedded database with its journal synced at each commit. `together` is what
stands alone (`Ledger.transfer`), which shares transactions with others of the moment; `each in its own` is what is part
of a larger change, an accepted offer say, and needs a transaction of its own. Afterwards the ledger is verified.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench.watching import percentile
from models.jobs.actions import Jobs
from models.jobs.store import JobStore
from models.ledger.actions import Ledger
from models.ledger.book import Draft
from models.ledger.document import INDEXES, account_id
from models.ledger.store import LedgerStore
from models.ledger.verify import verify
from realtime.bus import MemoryBus
from storage.embedded import EmbeddedMongo
from storage.mongo import Database

ACCOUNTS = 1_000
LIMIT = 2**50


class Bench:
    def __init__(self, database: Database, at_once: int, seconds: float) -> None:
        self.database = database
        self.store = LedgerStore(database)
        self.ledger = Ledger(self.store, database, Jobs(JobStore(database), MemoryBus()))
        self.at_once = at_once
        self.seconds = seconds
        self._numbers = itertools.count()

    def draft(self, accounts: int) -> Draft:
        """From one of as many buyers to one of as many sellers."""
        buyer, seller = random.randrange(accounts), random.randrange(accounts)
        return Draft(
            key=str(next(self._numbers)), kind="single", code="bench", by="bench", amount=1,
            debit=account_id(f"buyer{buyer}", "USD", "payable"),
            credit=account_id(f"seller{seller}", "USD", "receivable"),
        )  # fmt: skip

    async def together(self, draft: Draft) -> None:
        await self.ledger.transfer(draft)

    async def alone(self, draft: Draft) -> None:
        async with self.ledger.turn([draft.debit, draft.credit]):
            await self.database.transact(lambda tx: self.ledger.apply([draft], tx))

    async def measure(self, accounts: int, post: Callable[[Draft], Awaitable[None]]) -> tuple[float, list[float]]:
        """(transfers a second, the milliseconds of each)."""
        took_ms: list[float] = []
        started = time.perf_counter()

        async def work() -> None:
            while time.perf_counter() - started < self.seconds:
                began = time.perf_counter()
                await post(self.draft(accounts))
                took_ms.append((time.perf_counter() - began) * 1000)

        await asyncio.gather(*(work() for _ in range(self.at_once)))
        return len(took_ms) / (time.perf_counter() - started), took_ms


async def run(url: str, at_once: int, seconds: float) -> int:
    database = Database(url, "bench", single=True)
    try:
        await database.connect()
        await database.create_indexes(INDEXES)
        bench = Bench(database, at_once, seconds)
        for number in range(ACCOUNTS):
            await bench.ledger.set_limit(f"buyer{number}", "USD", LIMIT, "bench", "to measure")
        print("| accounts | transactions | transfers/s | p50 ms | p99 ms |\n|---|---|---|---|---|")
        for accounts in (1, ACCOUNTS):
            for name, post in (("shared", bench.together), ("one each", bench.alone)):
                rate, took_ms = await bench.measure(accounts, post)
                p50, p99 = percentile(took_ms, 0.5), percentile(took_ms, 0.99)
                print(f"| {accounts:,} | {name} | {rate:,.0f} | {p50:.1f} | {p99:.1f} |", flush=True)
        started = time.perf_counter()
        report = await verify(bench.store)
        took_s = time.perf_counter() - started
        print(f"{report.transfers:,} transfers verified in {took_s:.1f} s: {report.problems or 'whole'}")
        return 1 if report.problems else 0
    finally:
        database.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.ledger", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement")
    parser.add_argument("--at-once", type=int, default=64)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as name:
        mongo = EmbeddedMongo(Path(name))
        try:
            return asyncio.run(run(mongo.start(), options.at_once, options.seconds))
        finally:
            mongo.stop()


if __name__ == "__main__":
    sys.exit(main())
