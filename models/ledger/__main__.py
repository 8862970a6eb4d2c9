"""`python -m models.ledger verify`: proves that the ledger is whole, or says what is wrong with it and exits with 1.

Works beside a running server, whose database it finds as the server itself would. It also looks at the offers that the
ledger's holds are for: each open hold belongs to an accepted offer, and each accepted offer with credit has its hold.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

import settings as configuration
from models.ledger.store import LedgerStore
from models.ledger.verify import Report, verify
from models.offers.proof import check_holds
from models.offers.store import OfferStore
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


def _print(report: Report) -> None:
    print(f"{report.transfers} transfers on {report.accounts} accounts, {len(report.holds)} open holds")
    for currency, totals in sorted(report.totals.items()):
        print(f"{currency}: " + ", ".join(f"{name} {amount}" for name, amount in totals.items()))
    for problem in report.problems:
        print(f"WRONG: {problem}")
    print("the ledger is whole" if not report.problems else f"{len(report.problems)} problems")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m models.ledger", description=__doc__)
    parser.add_argument("command", choices=["verify"])
    parser.parse_args()
    try:
        settings = configuration.load()
        with embedded.reached(settings.mongo_url, settings.data_dir) as url:
            report = asyncio.run(_verify(settings, url))
    except (configuration.SettingsError, embedded.EmbeddedError, DatabaseError) as error:
        print(f"cannot look at the ledger: {error}", file=sys.stderr)
        return 2
    _print(report)
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
