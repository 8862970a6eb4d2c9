"""`python -m models.ledger verify` beside a running server: silent about a whole ledger, precise about a broken one."""

from __future__ import annotations

import subprocess
import sys

from bench.processes import ROOT
from models.ledger.book import Draft
from models.ledger.document import account_id
from settings import Settings
from tests.models.test_overpaid import plant
from tests.socket.test_offers import Deal, item
from tests.support import SECRET, Crowd, serving


def verify(settings: Settings, mongo_url: str, command: str = "verify") -> tuple[int, str]:
    env = {"MONGO_URL": mongo_url, "MONGO_DB": settings.mongo_db, "JWT_SECRET": SECRET, "PATH": "/usr/bin:/bin"}
    arguments = [sys.executable, "-m", "models.ledger", command]
    done = subprocess.run(arguments, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


async def test_it_proves_a_whole_ledger_and_names_what_is_wrong(settings: Settings, mongo_url: str) -> None:
    async with serving(settings, mongo_url) as (server, url):
        crowd = Crowd(url)
        ada, ben, conversation = await crowd.pair()
        await server.domain.ledger.set_limit(ben.account.id, "USD", 5_000, "admin", "a test")
        deal = Deal(server, ada, ben, conversation)
        deals = [await deal.step(ben, await deal.offer(items=[item(100 + number)]), "accept") for number in range(3)]
        await deal.step(ada, deals[0], "fulfil")
        code, text = verify(settings, mongo_url)
        assert code == 0, text
        assert "4 transfers on 2 accounts, 2 open holds" in text
        assert "the ledger is whole" in text
        transfers, offers = server.database.collection("ledger_transfers"), server.database.collection("offers")
        await offers.update_one({"_id": deals[1]["id"]}, {"$set": {"status": "declined"}})
        await offers.update_one({"_id": deals[2]["id"]}, {"$set": {"hold_id": "t_none"}})
        code, text = verify(settings, mongo_url)
        assert code == 1
        assert f"hold {deals[1]['hold_id']} is for offer {deals[1]['id']}, which is not accepted" in text
        assert f"offer {deals[2]['id']} is accepted, and its hold t_none is not there" in text
        await transfers.update_one({"_id": deals[1]["hold_id"]}, {"$set": {"amount": 1}})
        code, text = verify(settings, mongo_url)
        assert code == 1
        assert f"WRONG: transfer {deals[1]['hold_id']} was changed" in text
        await crowd.close()


async def test_it_finds_what_an_old_version_let_be_overpaid_and_mends_it(settings: Settings, mongo_url: str) -> None:
    """Three payments of 600 for one debt of 600, with hashes and balances that are right."""
    async with serving(settings, mongo_url) as (server, url):
        crowd = Crowd(url)
        ada, ben, conversation = await crowd.pair()
        await server.domain.ledger.set_limit(ben.account.id, "USD", 5_000, "admin", "a test")
        deal = Deal(server, ada, ben, conversation)
        await deal.step(ada, await deal.step(ben, await deal.offer(items=[item(600, 1)]), "accept"), "fulfil")
        owing = account_id(ben.account.id, "USD", "payable")
        paid = [
            Draft(
                key=f"payment:{number}", kind="single", code="payment", by="operator", amount=600, credit=owing,
                debit=account_id("provider.console", "USD", "clearing"),
            )
            for number in range(3)
        ]  # fmt: skip
        await plant(server.database, paid)
        code, text = verify(settings, mongo_url)
        assert code == 1, text
        assert f"WRONG: account {owing} owes -1200: overpaid" in text
        assert "1 problems" in text
        code, text = verify(settings, mongo_url, "mend")
        assert code == 0, text
        assert f"account {owing}: 1200 moved to {ben.account.id}:USD:credit_balance" in text
        code, text = verify(settings, mongo_url)
        assert code == 0, text
        assert f"mended: account {owing} owed -600" in text
        assert await deal.credit(purpose="credit_balance") == (0, 1_200, 0)
        await crowd.close()
