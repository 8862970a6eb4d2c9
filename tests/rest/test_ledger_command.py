"""`python -m models.ledger verify` beside a running server: silent about a whole ledger, precise about a broken one."""

from __future__ import annotations

import subprocess
import sys

from bench.processes import ROOT
from settings import Settings
from tests.socket.test_offers import Deal, item
from tests.support import SECRET, Crowd, serving


def verify(settings: Settings, mongo_url: str) -> tuple[int, str]:
    env = {"MONGO_URL": mongo_url, "MONGO_DB": settings.mongo_db, "JWT_SECRET": SECRET, "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-m", "models.ledger", "verify"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
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
