"""Money that comes and goes back: payments, refunds, disputes. Each is in the ledger once, or not at all."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from bench.processes import ROOT
from contract.identity import Register
from models.context import now
from models.ledger.actions import EXPIRE
from models.ledger.book import Draft
from models.ledger.document import account_id
from models.ledger.store import LedgerStore
from models.ledger.verify import verify
from server import Server
from settings import Settings
from tests.clock import Clock
from tests.rest.client import Http, http
from tests.socket.test_offers import FINANCE, Deal, item, refused
from tests.support import PASSWORD, PATIENCE_S, SECRET, Crowd, Heard

Json = dict[str, Any]


class Desk(Deal):
    """Ben owes Ada 1,000 of his 1,500; `taken` is the transfer that says so. `admin` is an administrator's token."""

    taken: Json
    admin: str
    call: Http

    async def pay(self, amount: int, client_id: str = "pay", **fields: Any) -> Json:
        payload = {
            "client_id": client_id, "amount": {"amount": amount, "currency": "USD"}, "method": "console", **fields
        }  # fmt: skip
        return await self.ben.call("finance:pay", payload, FINANCE)

    async def correct(self, kind: str, client_id: str, **fields: Any) -> Json:
        by = self.ben if kind == "dispute" else self.ada
        payload = {"transfer_id": self.taken["id"], "client_id": client_id, **fields}
        return await by.call(f"finance:{kind}", payload, FINANCE)

    async def confirm(self, payment_id: str) -> Any:
        return await self.call("POST", f"/api/v1/admin/payments/{payment_id}/confirm", {}, token=self.admin)

    async def resolve(self, dispute_id: str, outcome: str) -> Any:
        path = f"/api/v1/admin/disputes/{dispute_id}/resolve"
        return await self.call("POST", path, {"outcome": outcome}, token=self.admin)

    async def whole(self) -> bool:
        report = await verify(LedgerStore(self.server.database))
        assert report.problems == []
        return True


@pytest.fixture
async def desk(server: Server, crowd: Crowd) -> AsyncIterator[Desk]:
    ada, ben, conversation = await crowd.pair()
    await server.domain.ledger.set_limit(ben.account.id, "USD", 1_500, "admin", "a test")
    made = Desk(server, ada, ben, conversation)
    accepted = await made.step(ben, await made.offer(items=[item(500, 2)]), "accept")
    await made.step(ada, accepted, "fulfil")
    made.taken = (await ben.call("finance:statement", {}, FINANCE))["items"][0]["transfer"]
    await server.domain.users.create(Register(email="root@example.test", password=PASSWORD, name="Root"), "admin")
    made.admin = (await crowd.rest.login("root@example.test", PASSWORD)).access_token
    async with http(crowd.url) as made.call:
        yield made


async def test_a_payment_is_posted_once_however_often_it_is_confirmed(desk: Desk) -> None:
    heard = Heard(desk.ben, "finance:payment", "finance:credit_changed")
    payment = (await desk.pay(600))["payment"]
    assert (payment["status"], payment["transfer_id"], payment["reference"]) == (
        "pending", None, f"console-{payment['id']}"
    )  # fmt: skip
    assert await desk.credit() == (0, 1000, 500)
    answers = await asyncio.gather(*[desk.confirm(payment["id"]) for _ in range(5)])
    assert {(answer.status, answer.body["status"], answer.body["transfer_id"]) for answer in answers} == {
        (200, "succeeded", answers[0].body["transfer_id"])
    }
    assert (await heard.wait("finance:payment"))["payment"] == answers[0].body
    changed = await heard.wait("finance:credit_changed")
    assert (changed["account"]["available_credit"], changed["transfer"]["code"]) == (1100, "payment")
    assert len([name for name, _ in heard.all if name == "finance:payment"]) == 1
    again = await desk.pay(600)
    assert again == {"payment": answers[0].body, "duplicate": True}
    assert await desk.whole()


def hold(desk: Desk, key: str, expires_in_s: float) -> Draft:
    debit = account_id(desk.ben.account.id, "USD", "payable")
    credit = account_id(desk.ada.account.id, "USD", "receivable")
    return Draft(
        key=key, kind="pending", code="offer", by="a test", debit=debit, credit=credit, amount=200,
        expires_at=now() + timedelta(seconds=expires_in_s),
    )  # fmt: skip


async def test_a_hold_with_an_end_is_released_by_itself(desk: Desk, clock: Clock) -> None:
    ledger = desk.server.domain.ledger
    heard = Heard(desk.ben, "finance:credit_changed")
    lapsing = await ledger.transfer(hold(desk, "lapsing", 120))
    posted = await ledger.transfer(hold(desk, "posted", 120))
    end = Draft(key="end", kind="post", code="offer", by="a test", amount=50, pending_id=posted["_id"])
    await ledger.transfer(end)
    assert await desk.credit() == (200, 1050, 250)
    clock.move(121)
    changed = await heard.wait("finance:credit_changed")
    assert (changed["transfer"]["kind"], changed["transfer"]["pending_id"]) == ("expire", lapsing["_id"])
    assert changed["account"]["available_credit"] == 450
    assert await desk.credit() == (0, 1050, 450)
    async with asyncio.timeout(PATIENCE_S):
        while await desk.server.database.collection("jobs").find_one({"kind": EXPIRE}) is not None:
            await asyncio.sleep(0.05)
    assert len(heard.all) == 1  # what was posted in time is left alone
    assert await desk.whole()


async def test_what_cannot_be_paid(desk: Desk) -> None:
    details = await refused("amount_exceeded", desk.pay(1_001))
    assert details == {"available": 1_000, "currency": "USD", "owed": 1_000, "pending": 0}
    await refused("validation_failed", desk.pay(1, method="barter"))
    await refused("validation_failed", desk.pay(0))
    await desk.pay(10)
    await refused("idempotency_mismatch", desk.pay(11))
    assert (await desk.confirm("p_none")).code == "not_found"
    forbidden = await desk.call("POST", "/api/v1/admin/payments/p_1/confirm", {}, token=desk.ben.account.access_token)
    assert forbidden.code == "forbidden"


async def test_an_operator_confirms_by_a_command(desk: Desk, settings: Settings, mongo_url: str) -> None:
    heard = Heard(desk.ben, "finance:payment")
    payment = (await desk.pay(600))["payment"]
    env = {"MONGO_URL": mongo_url, "MONGO_DB": settings.mongo_db, "JWT_SECRET": SECRET, "PATH": "/usr/bin:/bin"}

    def confirm(payment_id: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "models.payments", "confirm", payment_id]
        return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)

    assert (await asyncio.to_thread(confirm, "p_none")).returncode == 1
    for _ in range(2):
        assert (await asyncio.to_thread(confirm, payment["id"])).returncode == 0
    assert (await heard.wait("finance:payment"))["payment"]["status"] == "succeeded"
    assert (await desk.credit())[2] == 1100
    assert await desk.whole()


async def test_a_refund_gives_back_what_is_left_and_no_more(desk: Desk) -> None:
    heard = Heard(desk.ben, "finance:credit_changed")
    first = await desk.correct("refund", "r1", amount=300, reason="wet")
    assert (first["transfer"]["amount"]["amount"], first["transfer"]["corrects_id"]) == (300, desk.taken["id"])
    assert (await heard.wait("finance:credit_changed"))["transfer"] == first["transfer"]
    assert await desk.correct("refund", "r1", amount=300, reason="wet") == {**first, "duplicate": True}
    await refused("idempotency_mismatch", desk.correct("refund", "r1", amount=301))
    assert await refused("amount_exceeded", desk.correct("refund", "r2", amount=701)) == {
        "available": 700, "currency": "USD"
    }  # fmt: skip
    outcomes = await asyncio.gather(
        *[desk.correct("refund", f"many-{number}", amount=200) for number in range(8)], return_exceptions=True
    )
    assert sum(isinstance(outcome, dict) for outcome in outcomes) == 3
    rest = await desk.correct("refund", "all")
    assert rest["transfer"]["amount"]["amount"] == 100
    await refused("amount_exceeded", desk.correct("refund", "more"))
    assert await desk.credit() == (0, 1000, 1500)
    statement = (await desk.ben.call("finance:statement", {"limit": 1}, FINANCE))["items"]
    assert statement[0]["owed"] == 0
    own = {"transfer_id": desk.taken["id"], "client_id": "x"}
    await refused("forbidden", desk.ben.call("finance:refund", own, FINANCE))
    await refused("not_found", desk.ada.call("finance:refund", {"transfer_id": "t_none", "client_id": "x"}, FINANCE))
    hold = {"transfer_id": desk.taken["pending_id"], "client_id": "x"}
    await refused("forbidden", desk.ada.call("finance:refund", hold, FINANCE))
    assert await desk.whole()


@pytest.mark.parametrize(("outcome", "owed"), [("won", 0), ("lost", 800)])
async def test_a_dispute_holds_what_is_left_until_it_is_decided(desk: Desk, outcome: str, owed: int) -> None:
    told = Heard(desk.ada, "finance:dispute")
    await desk.correct("refund", "r1", amount=200)
    dispute = (await desk.correct("dispute", "d1", reason="it never came"))["dispute"]
    assert (dispute["status"], dispute["amount"]["amount"]) == ("open", 800)
    assert (await told.wait("finance:dispute"))["dispute"] == dispute
    assert (await desk.correct("dispute", "d1", reason="it never came"))["duplicate"] is True
    await refused("conflict", desk.correct("dispute", "d2", reason="it never came"))
    await refused("forbidden", desk.ada.call("finance:dispute", {
        "transfer_id": desk.taken["id"], "client_id": "x", "reason": "no"}, FINANCE))  # fmt: skip
    await refused("amount_exceeded", desk.correct("refund", "r2", amount=1))
    decided = await desk.resolve(dispute["id"], outcome)
    assert (decided.status, decided.body["status"]) == (200, outcome)
    assert (await desk.resolve(dispute["id"], outcome)).body == decided.body
    other = "lost" if outcome == "won" else "won"
    assert (await desk.resolve(dispute["id"], other)).code == "hold_closed"
    statement = (await desk.ben.call("finance:statement", {"limit": 1}, FINANCE))["items"]
    assert statement[0]["owed"] == owed
    assert (await desk.resolve("d_none", "won")).code == "not_found"
    assert await desk.whole()
