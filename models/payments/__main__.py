"""`python -m models.payments confirm ID`: an operator says that the money of a console payment is there.

It is written down and done by a worker, or by the web process, within a second or so; again does no harm.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

import settings as configuration
from contract.errors import ParleyError
from models.jobs.actions import Jobs
from models.jobs.store import JobStore
from models.ledger.actions import Ledger
from models.ledger.store import LedgerStore
from models.payments.actions import Payments
from models.payments.store import PaymentStore
from realtime.bus import MemoryBus
from realtime.managers import MemoryManager
from realtime.publisher import Publisher
from storage import embedded
from storage.mongo import Database, DatabaseError


async def _confirm(settings: configuration.Settings, url: str, payment_id: str) -> None:
    database = Database(url, settings.mongo_db)
    try:
        await database.connect()
        jobs = Jobs(JobStore(database), MemoryBus())
        ledger = Ledger(LedgerStore(database), database, jobs)
        payments = Payments(PaymentStore(database), database, ledger, jobs, {}, Publisher(MemoryManager()))
        await payments.expect_confirmation(payment_id, "operator")
    finally:
        database.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m models.payments", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("confirm").add_argument("payment_id")
    arguments = parser.parse_args()
    try:
        settings = configuration.load()
        with embedded.reached(settings.mongo_url, settings.data_dir) as url:
            asyncio.run(_confirm(settings, url, arguments.payment_id))
    except (ParleyError, configuration.SettingsError, embedded.EmbeddedError, DatabaseError) as error:
        print(f"not confirmed: {error}", file=sys.stderr)
        return 1
    print(f"{arguments.payment_id} is confirmed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
