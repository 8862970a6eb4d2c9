"""Nobody's account is left below zero: what is credited beyond what is owed becomes the owner's credit balance."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from models.context import now
from models.jobs.actions import Jobs
from models.jobs.store import JobStore
from models.ledger.actions import Ledger
from models.ledger.book import Book, Draft
from models.ledger.document import TO_BALANCE, account_id, available, balance_of, hash_of
from models.ledger.store import LedgerStore
from models.ledger.verify import Report, verify
from realtime.bus import MemoryBus
from storage.mongo import Database, Document

from .test_ledger import Desk, refused
from .test_ledger import desk as desk

CLEARING = account_id("provider.console", "USD", "clearing")


def payment(desk: Desk, amount: int, **fields: Any) -> Draft:
    return desk.draft("single", amount, code="payment", debit=CLEARING, credit=desk.buyer, **fields)


async def plant(database: Database, drafts: Sequence[Draft]) -> None:
    """Books them as earlier versions did: each transfer by itself, whatever it makes of its accounts."""
    store = LedgerStore(database)

    async def work(session: Any) -> None:
        named = {account for draft in drafts for account in (draft.debit, draft.credit)}
        book = Book(await store.accounts(named, session), now())
        for draft in drafts:
            book._one(draft, None)
        await store.save(book, session)

    await database.transact(work)


async def owes(desk: Desk) -> tuple[int, int]:
    """(what the buyer owes, what their credit balance is)."""
    own, balance = await desk.balances(), await desk.balances(balance_of(desk.buyer))
    return own[1] - own[3], balance[3] - balance[1]


async def checked(desk: Desk) -> Report:
    """What there is to say of the buyer's accounts; the clearing account is every test's."""
    report = await verify(desk.store, [desk.buyer, balance_of(desk.buyer), desk.seller])
    report.problems = [text for text in report.problems if "side only" not in text and not text.startswith("USD:")]
    return report


async def whole(desk: Desk) -> bool:
    report = await checked(desk)
    assert (report.problems, report.mended) == ([], [])
    return True


async def test_what_is_paid_beyond_what_is_owed_moves_on_in_the_same_transaction(desk: Desk) -> None:
    await desk.do("single", 600)
    paid = [await desk.ledger.transfer(payment(desk, 600)) for _ in range(2)]
    third = payment(desk, 600)
    transfers, accounts = await desk.database.transact(lambda tx: desk.ledger.apply([third], tx))
    assert [(one["code"], one["amount"]) for one in transfers] == [("payment", 600), (TO_BALANCE, 600)]
    assert transfers[1]["about"] == {"transfer_id": transfers[0]["_id"]}
    assert {account["_id"] for account in accounts} == {CLEARING, desk.buyer, balance_of(desk.buyer)}
    assert await owes(desk) == (0, 1_200)
    assert available(await desk.ledger.account(desk.buyer)) == 1_000
    entries = await desk.ledger.entries(desk.buyer, 0, 99)
    assert [(side, one["code"]) for side, one in reversed(entries)] == [
        ("debit", "offer"), ("credit", "payment"), ("credit", "payment"), ("debit", TO_BALANCE), ("credit", "payment"),
        ("debit", TO_BALANCE),
    ]  # fmt: skip
    again = await desk.ledger.transfer(third)
    assert again["hash"] == transfers[0]["hash"]
    assert paid[0]["hash"] != paid[1]["hash"]
    assert await owes(desk) == (0, 1_200)
    assert await whole(desk)


async def test_only_the_part_beyond_moves_and_nothing_if_there_is_none(desk: Desk) -> None:
    await desk.do("single", 600)
    _, accounts = await desk.database.transact(lambda tx: desk.ledger.apply([payment(desk, 600)], tx))
    assert {account["_id"] for account in accounts} == {CLEARING, desk.buyer}
    assert await owes(desk) == (0, 0)
    await desk.do("single", 100)
    await desk.ledger.transfer(payment(desk, 250))
    assert await owes(desk) == (0, 150)
    assert await whole(desk)


@pytest.mark.parametrize(("end", "expected"), [("post", (0, 600)), ("void", (0, 0))])
async def test_a_hold_the_other_way_counts_when_it_is_posted(desk: Desk, end: str, expected: tuple[int, int]) -> None:
    """As disputes are: held, then won or lost, of what was paid meanwhile."""
    await desk.do("single", 600)
    hold = await desk.do(amount=600, code="dispute", debit=desk.seller, credit=desk.buyer)
    await desk.ledger.transfer(payment(desk, 600))
    assert await owes(desk) == (0, 0)
    await desk.do(end, None, pending_id=hold["_id"], code="dispute")
    assert await owes(desk) == expected
    assert await whole(desk)


async def test_no_limit_stands_in_the_way_of_money_that_comes(desk: Desk) -> None:
    await desk.do(amount=900)
    await desk.ledger.set_limit(desk.buyer_id, "USD", 0, "admin", "a bad customer")
    await desk.ledger.transfer(payment(desk, 50))
    assert await owes(desk) == (0, 50)
    await refused("credit_limit_exceeded", desk.do(amount=1))
    assert await whole(desk)


async def test_a_credit_balance_pays_what_it_has_and_no_more(desk: Desk) -> None:
    await desk.ledger.transfer(payment(desk, 50))
    await desk.do("single", 80)
    assert await owes(desk) == (80, 50)  # nothing is settled that nobody asked for
    source = {"debit": balance_of(desk.buyer), "credit": desk.buyer, "code": "payment"}
    error = await refused("amount_exceeded", desk.do("single", 51, **source))
    assert error.details == {"available": 50, "currency": "USD"}
    other = Ledger(desk.store, desk.database, Jobs(JobStore(desk.database), MemoryBus()))
    works = [(desk.ledger, other)[n % 2].transfer(desk.draft("single", 20, **source)) for n in range(10)]
    outcomes = await asyncio.gather(*works, return_exceptions=True)
    assert sum(isinstance(outcome, dict) for outcome in outcomes) == 2
    assert await owes(desk) == (40, 10)
    assert await whole(desk)


async def test_of_many_at_once_over_two_ledgers_nothing_is_lost_or_left_below_zero(desk: Desk) -> None:
    other = Ledger(desk.store, desk.database, Jobs(JobStore(desk.database), MemoryBus()))
    await desk.do("single", 600)
    works: list[Any] = [(desk.ledger, other)[n % 2].transfer(payment(desk, 100)) for n in range(12)]
    works += [(desk.ledger, other)[n % 2].transfer(desk.draft("single", 100)) for n in range(4)]
    await asyncio.gather(*works)
    owed, balance = await owes(desk)
    assert owed - balance == 600 + 400 - 1_200
    assert owed >= 0
    assert await whole(desk)


async def test_an_account_that_an_earlier_version_overpaid_is_found_and_mended(desk: Desk) -> None:
    await desk.do("single", 600)
    await plant(desk.database, [payment(desk, 600) for _ in range(3)])
    assert (await checked(desk)).problems == [f"account {desk.buyer} owes -1200: overpaid"]
    moved = await desk.ledger.mend(desk.buyer, "operator")
    assert moved is not None
    assert (moved["amount"], await desk.ledger.mend(desk.buyer, "operator")) == (1_200, None)
    assert await owes(desk) == (0, 1_200)
    report = await checked(desk)
    assert report.problems == []
    assert len(report.mended) == 1  # the entries still say it
    assert "owed -600" in report.mended[0]


async def test_and_mended_by_the_next_that_is_credited(desk: Desk) -> None:
    await plant(desk.database, [payment(desk, 100)])
    await desk.do("single", 30)  # a debt of later
    await desk.ledger.transfer(payment(desk, 1))
    assert await owes(desk) == (0, 71)
    assert (await checked(desk)).problems == []


async def test_verify_finds_moves_of_something_else_and_a_balance_below_zero(desk: Desk) -> None:
    await desk.do("single", 600)
    await desk.ledger.transfer(payment(desk, 700))
    transfers = desk.database.collection("ledger_transfers")
    move = await transfers.find_one({"code": TO_BALANCE, "debit.account": desk.buyer})
    assert move is not None
    forged: Document = {**move, "amount": 60}
    forged["hash"] = hash_of(forged)
    await transfers.replace_one({"_id": move["_id"]}, forged)
    problems = (await checked(desk)).problems
    assert any(f"{move['_id']} moves something else" in text for text in problems), problems
    assert f"account {desk.buyer} owes -40: overpaid" in problems
    await transfers.replace_one({"_id": move["_id"]}, move)
    spent = desk.draft("single", 101, debit=balance_of(desk.buyer), credit=desk.seller)
    book = Book(await desk.store.accounts([spent.debit, spent.credit]), now())
    book.accounts[spent.debit]["purpose"] = "receivable"  # or the book would not allow it
    book.apply(spent)
    await desk.database.transact(lambda tx: desk.store.save(book, tx))
    problems = (await checked(desk)).problems
    assert any(f"{balance_of(desk.buyer)} is 1 below zero" in text for text in problems), problems
