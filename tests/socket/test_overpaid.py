"""No more is paid than is owed, and what comes beyond it all the same is the buyer's to pay with."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from bench.clients import CommandError
from contract.errors import ParleyError
from models.context import now
from models.ledger.document import account_id
from models.ledger.store import LedgerStore
from models.ledger.verify import verify
from models.payments.actions import PENDING_MAX
from providers.payments import Charge, Started
from tests.socket.test_finance import Desk
from tests.socket.test_offers import FINANCE, item, refused
from tests.support import PATIENCE_S, Heard

from .test_finance import desk as desk

Json = dict[str, Any]


async def account(desk: Desk, purpose: str) -> Json:
    data = await desk.ben.call("finance:account", {"purpose": purpose}, FINANCE)
    found: Json = data["account"]
    return found


async def stands(desk: Desk) -> tuple[int, int, int]:
    """What Ben owes, his credit balance and his available credit; the ledger is whole, and always was."""
    report = await verify(LedgerStore(desk.server.database))
    assert (report.problems, report.mended) == ([], [])
    payable, balance = await account(desk, "payable"), await account(desk, "credit_balance")
    owed = payable["debits_posted"] - payable["credits_posted"]
    assert owed >= 0
    return owed, balance["credits_posted"] - balance["debits_posted"], payable["available_credit"]


async def settled(desk: Desk, amount: int, client_id: str = "pay") -> Json:
    """Pays and confirms."""
    answer = await desk.confirm((await desk.pay(amount, client_id))["payment"]["id"])
    paid: Json = answer.body
    assert paid["status"] == "succeeded"
    return paid


async def lapse(desk: Desk, payment_id: str) -> None:
    """Its time is over now, and that of the job that says so."""
    database = desk.server.database
    await database.collection("payments").update_one({"_id": payment_id}, {"$set": {"expires_at": now()}})
    job = {"kind": "payment.expire", "payload.payment_id": payment_id}
    await database.collection("jobs").update_many(job, {"$set": {"run_at": now()}})


class Shop:
    """A provider that can be out of order."""

    name = "shop"
    broken = True

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.answers = asyncio.Event()
        self.answers.set()

    async def start(self, charge: Charge) -> Started:
        self.asked.set()
        await self.answers.wait()
        if self.broken:
            raise ParleyError("unavailable", "The shop is closed.")
        return Started(f"shop-{charge.id}", "https://shop.test/pay")


@pytest.fixture
def shop(desk: Desk) -> Shop:
    made = Shop()
    desk.server.domain.payments._providers = {**desk.server.domain.payments._providers, made.name: made}
    return made


async def test_pending_payments_count_against_what_is_owed(desk: Desk) -> None:
    first = (await desk.pay(600, "one"))["payment"]
    assert await refused("amount_exceeded", desk.pay(600, "two")) == {
        "available": 400, "currency": "USD", "owed": 1_000, "pending": 600, "pending_until": first["expires_at"]
    }  # fmt: skip
    assert (await desk.pay(600, "one"))["payment"] == first  # a repeat is no second payment
    await desk.pay(400, "three")
    assert (await desk.pay(600, "one"))["duplicate"] is True
    for amount in (600, 1):
        assert await refused("amount_exceeded", desk.pay(amount, f"more-{amount}")) == {
            "available": 0, "currency": "USD", "owed": 1_000, "pending": 1_000, "pending_until": first["expires_at"]
        }  # fmt: skip
    await desk.confirm(first["id"])
    left = await refused("amount_exceeded", desk.pay(1, "even more"))
    assert (left["available"], left["owed"], left["pending"]) == (0, 400, 400)
    assert await stands(desk) == (400, 0, 1_100)


async def test_of_many_payments_at_once_as_many_begin_as_there_is_to_pay(desk: Desk) -> None:
    outcomes = await asyncio.gather(*[desk.pay(300, f"p{n}") for n in range(12)], return_exceptions=True)
    begun = [outcome["payment"]["id"] for outcome in outcomes if isinstance(outcome, dict)]
    refusals = {outcome.code for outcome in outcomes if isinstance(outcome, CommandError)}
    assert (len(begun), refusals) == (3, {"amount_exceeded"})
    same = await asyncio.gather(*[desk.pay(100, "same") for _ in range(6)])
    assert len({answer["payment"]["id"] for answer in same}) == 1
    assert sum("duplicate" not in answer for answer in same) == 1
    await asyncio.gather(*[desk.confirm(payment_id) for payment_id in [*begun, same[0]["payment"]["id"]] * 2])
    assert await stands(desk) == (0, 0, 1_500)


async def test_a_payment_that_nobody_completes_ends_and_counts_no_more(desk: Desk) -> None:
    heard = Heard(desk.ben, "finance:payment", "finance:credit_changed")
    old = (await desk.pay(1_000, "old"))["payment"]
    assert old["expires_at"] > old["created_at"]
    await lapse(desk, old["id"])
    ended = (await heard.wait("finance:payment"))["payment"]
    assert (ended["id"], ended["status"], ended["expires_at"]) == (old["id"], "expired", None)
    assert await desk.pay(1_000, "old") == {"payment": ended, "duplicate": True}
    fresh = (await desk.pay(1_000, "fresh"))["payment"]
    for payment in (fresh, old):  # the money of the old one comes after all, and nobody sends it back
        assert (await desk.confirm(payment["id"])).body["status"] == "succeeded"
    assert await stands(desk) == (0, 1_000, 1_500)
    told = [payload for name, payload in heard.all if name == "finance:credit_changed"]
    assert [(one["account"]["purpose"], one["transfer"]["code"]) for one in told] == [
        ("payable", "payment"), ("payable", "payment"), ("credit_balance", "credit_balance")
    ]  # fmt: skip
    assert told[2]["transfer"]["about"] == {"transfer_id": told[1]["transfer"]["id"]}


async def test_that_its_time_is_over_counts_before_anybody_has_written_it(desk: Desk) -> None:
    old = (await desk.pay(1_000, "old"))["payment"]
    over = {"$set": {"expires_at": now() - timedelta(seconds=1)}}
    await desk.server.database.collection("payments").update_one({"_id": old["id"]}, over)
    await desk.pay(1_000, "fresh")
    assert (await desk.pay(1_000, "old"))["payment"]["status"] == "expired"


async def test_a_provider_that_fails_can_be_asked_again_and_blocks_nothing_for_long(desk: Desk, shop: Shop) -> None:
    heard = Heard(desk.ben, "finance:payment")
    await refused("unavailable", desk.pay(700, "p", method="shop"))
    await refused("amount_exceeded", desk.pay(700, "q"))  # it may have begun there all the same
    await refused("unavailable", desk.pay(700, "p", method="shop"))
    shop.broken = False
    payment = (await desk.pay(700, "p", method="shop"))["payment"]
    assert (payment["status"], payment["checkout_url"]) == ("pending", "https://shop.test/pay")
    shop.broken = True
    await refused("unavailable", desk.pay(300, "r", method="shop"))
    stored = await desk.server.database.collection("payments").find({"reference": None}).to_list(None)
    assert [one["expires_at"] - one["created_at"] for one in stored] == [timedelta(minutes=10)]
    await lapse(desk, stored[0]["_id"])
    assert (await heard.wait("finance:payment"))["payment"]["status"] == "expired"
    assert (await desk.pay(300, "r", method="shop"))["payment"]["status"] == "expired"  # a new one is to be made
    await desk.pay(300, "s")
    assert await stands(desk) == (1_000, 0, 500)


async def test_a_payment_that_lapsed_while_its_provider_was_asked_does_not_come_back(desk: Desk, shop: Shop) -> None:
    """Another may have begun meanwhile, and both would be of more than is owed."""
    heard = Heard(desk.ben, "finance:payment")
    shop.broken = False
    shop.answers.clear()
    body = {"client_id": "slow", "amount": {"amount": 1_000, "currency": "USD"}, "method": "shop"}
    asking = desk.call("POST", "/api/v1/finance/payments", body, token=desk.ben.account.access_token)
    slow = asyncio.create_task(asking)
    await asyncio.wait_for(shop.asked.wait(), PATIENCE_S)
    over = {"$set": {"expires_at": now() - timedelta(seconds=1)}}
    await desk.server.database.collection("payments").update_one({"reference": None}, over)
    await desk.pay(1_000, "fresh")
    shop.answers.set()
    payment = (await slow).body
    assert (payment["status"], payment["checkout_url"], payment["expires_at"]) == ("expired", None, None)
    assert (await heard.wait("finance:payment"))["payment"] == payment
    assert await desk.pay(1_000, "slow", method="shop") == {"payment": payment, "duplicate": True}
    assert (await refused("amount_exceeded", desk.pay(1, "more")))["pending"] == 1_000


async def test_there_are_only_so_many_pending_payments(desk: Desk) -> None:
    payments = [(await desk.pay(1, f"p{n}"))["payment"] for n in range(PENDING_MAX)]
    details = await refused("too_many_pending", desk.pay(1, "one more"))
    assert details == {"pending": PENDING_MAX, "max": PENDING_MAX}
    assert (await desk.pay(1, "p0"))["duplicate"] is True
    await desk.confirm(payments[0]["id"])
    await desk.pay(1, "one more")


async def test_what_earlier_versions_let_begin_is_booked_and_the_rest_is_the_buyers(desk: Desk) -> None:
    """Three payments of the whole debt, none of which has an end."""
    at = now()
    planted = [
        {
            "_id": f"p_planted{n}", "user_id": desk.ben.account.id, "amount": 1_000, "currency": "USD",
            "method": "console", "status": "pending", "reference": f"console-{n}", "checkout_url": None,
            "transfer_id": None, "fingerprint": "x", "created_at": at, "updated_at": at,
        }
        for n in range(3)
    ]  # fmt: skip
    await desk.server.database.collection("payments").insert_many(planted)
    left = await refused("amount_exceeded", desk.pay(1, "more"))
    assert (left["available"], left["owed"], left["pending"]) == (0, 1_000, 3_000)
    answers = await asyncio.gather(*[desk.confirm(str(one["_id"])) for one in planted * 2])
    assert {answer.body["status"] for answer in answers} == {"succeeded"}
    assert await stands(desk) == (0, 2_000, 1_500)


async def test_what_is_given_back_after_it_was_paid_is_there_to_pay_with(desk: Desk) -> None:
    await settled(desk, 1_000)
    heard = Heard(desk.ben, "finance:credit_changed")
    refund = (await desk.correct("refund", "r1", amount=400))["transfer"]
    await heard.wait("finance:credit_changed", transfer=refund)
    assert (await desk.correct("refund", "r1", amount=400))["duplicate"] is True
    assert await stands(desk) == (0, 400, 1_500)
    (line,) = (await desk.ben.call("finance:statement", {"purpose": "credit_balance"}, FINANCE))["items"]
    assert (line["side"], line["owed"], line["transfer"]["about"]) == ("credit", -400, {"transfer_id": refund["id"]})
    # A later debt is not settled by itself, and the balance is not credit.
    assert await refused("amount_exceeded", desk.pay(1, "early", method="balance")) == {
        "available": 0, "currency": "USD", "owed": 0, "pending": 0, "balance": 400
    }  # fmt: skip
    await refused("credit_limit_exceeded", desk.step(desk.ben, await desk.offer(items=[item(1_501, 1)]), "accept"))
    accepted = await desk.step(desk.ben, await desk.offer(items=[item(700, 1)]), "accept")
    await desk.step(desk.ada, accepted, "fulfil")
    assert await stands(desk) == (700, 400, 800)
    assert (await refused("amount_exceeded", desk.pay(401, "all", method="balance")))["available"] == 400
    paid = await desk.pay(300, "some", method="balance")
    assert (paid["payment"]["status"], paid["payment"]["expires_at"]) == ("succeeded", None)
    assert await desk.pay(300, "some", method="balance") == {**paid, "duplicate": True}
    await refused("idempotency_mismatch", desk.pay(300, "some"))
    assert await stands(desk) == (400, 100, 1_100)
    assert (await desk.confirm(paid["payment"]["id"])).code == "forbidden"
    await desk.pay(350, "rest")
    assert (await refused("amount_exceeded", desk.pay(100, "too much", method="balance")))["available"] == 50


async def test_a_balance_is_spent_once_whatever_comes_at_once(desk: Desk) -> None:
    await settled(desk, 1_000)
    await desk.correct("refund", "r1")
    accepted = await desk.step(desk.ben, await desk.offer(items=[item(1_500, 1)]), "accept")
    await desk.step(desk.ada, accepted, "fulfil")
    works = [desk.pay(400, f"p{n}", method="balance") for n in range(5)]
    works += [desk.pay(400, f"c{n}") for n in range(5)]
    outcomes = await asyncio.gather(*works, return_exceptions=True)
    begun = [outcome["payment"] for outcome in outcomes if isinstance(outcome, dict)]
    assert len(begun) == 3  # of 1,500, whichever way
    spent = 400 * sum(payment["method"] == "balance" for payment in begun)
    assert spent <= 1_000
    assert await stands(desk) == (1_500 - spent, 1_000 - spent, spent)


@pytest.mark.parametrize(("outcome", "balance"), [("won", 1_000), ("lost", 100)])
async def test_a_dispute_of_what_is_paid_meanwhile(desk: Desk, outcome: str, balance: int) -> None:
    payment = (await desk.pay(1_000))["payment"]
    await desk.correct("refund", "r1", amount=100)
    dispute = (await desk.correct("dispute", "d1", reason="it never came"))["dispute"]
    await desk.confirm(payment["id"])
    assert (await stands(desk))[:2] == (0, 100)
    await desk.resolve(dispute["id"], outcome)
    assert await stands(desk) == (0, balance, 1_500)


async def test_corrections_and_payments_that_overlap_give_back_no_more_than_there_was(desk: Desk) -> None:
    payments = [(await desk.pay(amount, f"p{amount}"))["payment"]["id"] for amount in (400, 600)]
    works: list[Any] = [desk.confirm(payment_id) for payment_id in payments * 2]
    works += [desk.correct("refund", f"r{n}", amount=300) for n in range(5)]
    works += [desk.correct("dispute", f"d{n}", reason="it never came") for n in range(3)]
    outcomes = await asyncio.gather(*works, return_exceptions=True)
    failures = {getattr(one, "code", repr(one)) for one in outcomes if isinstance(one, BaseException)}
    assert failures <= {"amount_exceeded", "conflict"}
    refunded = 300 * sum(isinstance(one, dict) and "transfer" in one for one in outcomes)
    opened = [one["dispute"] for one in outcomes if isinstance(one, dict) and "dispute" in one]
    disputed = sum(one["amount"]["amount"] for one in opened)
    assert refunded + disputed <= 1_000
    works = [desk.resolve(one["id"], "won") for one in opened for _ in range(3)]
    works += [desk.correct("refund", f"late{n}", amount=100) for n in range(4)]
    outcomes = await asyncio.gather(*works, return_exceptions=True)
    refunded += 100 * sum(isinstance(one, dict) and "transfer" in one for one in outcomes)
    assert refunded + disputed <= 1_000
    assert await stands(desk) == (0, refunded + disputed, 1_500)  # all of it was paid
    ada = account_id(desk.ada.account.id, "USD", "receivable")
    seller = await desk.server.domain.ledger.account(ada)
    assert seller["credits_posted"] - seller["debits_posted"] == 1_000 - refunded - disputed


async def test_reports_tell_moves_from_purchases_and_count_a_payment_once(desk: Desk) -> None:
    await settled(desk, 1_000)
    await desk.correct("refund", "r1", amount=400)
    accepted = await desk.step(desk.ben, await desk.offer(items=[item(700, 1)]), "accept")
    await desk.step(desk.ada, accepted, "fulfil")
    await desk.pay(400, "again", method="balance")
    lines = (await desk.ben.call("finance:summary", {}, FINANCE))["counterparties"]
    assert {line["key"]: (line["debits"], line["credits"]) for line in lines} == {
        desk.ada.account.id: (1_700, 400), "provider.console": (0, 1_000), desk.ben.account.id: (400, 400),
    }  # fmt: skip
    path = f"/api/v1/admin/users/{desk.ben.account.id}/risk"
    assert (await desk.call("GET", path, token=desk.admin)).body["suggested_limit"] == 2_000  # 1,000 were paid
