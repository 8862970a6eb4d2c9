"""`python -m models.ledger verify`: proves that the ledger is whole, or says what is wrong with it and exits with 1.
`python -m models.ledger mend`: moves what accounts were overpaid by, in versions that allowed it, to their owners'
credit balances, and then does the same.

Works beside a running server, whose database it finds as the server itself would. It also looks at the offers that the
ledger's holds are for: each open hold belongs to an accepted offer, and each accepted offer with credit has its hold.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

import settings as configuration
from models.jobs.actions import Jobs
from models.jobs.store import JobStore
from models.ledger.actions import Ledger
from models.ledger.store import LedgerStore
from models.ledger.verify import Report, verify
from models.offers.proof import check_holds
from models.offers.store import OfferStore
from realtime.bus import MemoryBus
from storage import embedded
from storage.mongo import Database, DatabaseError


async def _verify(settings: configuration.Settings, url: str) -> Report:
    database = Database(url, settings.mongo_db)
    try:
        await database.connect()
        report = await verify(LedgerStore(database))
        report.problems += await check_holds(OfferStore(database), report.holds)
        return report
    finally:
        database.close()


async def _mend(settings: configuration.Settings, url: str) -> None:
    database = Database(url, settings.mongo_db)
    try:
        await database.connect()
        store = LedgerStore(database)
        ledger = Ledger(store, database, Jobs(JobStore(database), MemoryBus()))
        for identifier in await store.account_ids():
            if identifier.endswith(":payable") and (moved := await ledger.mend(identifier, "operator")) is not None:
                print(f"account {identifier}: {moved['amount']} moved to {moved['credit']['account']}")
    finally:
        database.close()


def _print(report: Report) -> None:
    print(f"{report.transfers} transfers on {report.accounts} accounts, {len(report.holds)} open holds")
    for currency, totals in sorted(report.totals.items()):
        print(f"{currency}: " + ", ".join(f"{name} {amount}" for name, amount in totals.items()))
    for text in report.mended:
        print(f"mended: {text}")
    for problem in report.problems:
        print(f"WRONG: {problem}")
    print("the ledger is whole" if not report.problems else f"{len(report.problems)} problems")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m models.ledger", description=__doc__)
    parser.add_argument("command", choices=["verify", "mend"])
    command = parser.parse_args().command
    try:
        settings = configuration.load()
        with embedded.reached(settings.mongo_url, settings.data_dir) as url:
            if command == "mend":
                asyncio.run(_mend(settings, url))
            report = asyncio.run(_verify(settings, url))
    except (configuration.SettingsError, embedded.EmbeddedError, DatabaseError) as error:
        print(f"cannot look at the ledger: {error}", file=sys.stderr)
        return 2
    _print(report)
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
