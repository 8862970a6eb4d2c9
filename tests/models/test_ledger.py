"""The ledger's rules, one by one, over a real database."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from contract.errors import ParleyError
from models.context import now
from models.jobs.actions import Jobs
from models.jobs.store import JobStore
from models.ledger.actions import Ledger
from models.ledger.book import Draft
from models.ledger.document import INDEXES, account_id, available
from models.ledger.store import LedgerStore
from models.ledger.verify import verify
from realtime.bus import MemoryBus
from storage.mongo import Database, Document
from tests.clock import Clock


class Desk:
    """A ledger with a buyer, who may owe 1,000, and a seller."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.store = LedgerStore(database)
        self.ledger = Ledger(self.store, database, Jobs(JobStore(database), MemoryBus()))
        self.buyer_id = f"u_{secrets.token_hex(6)}"
        self.buyer = account_id(self.buyer_id, "USD", "payable")
        self.seller = account_id(f"u_{secrets.token_hex(6)}", "USD", "receivable")

    async def open(self) -> Desk:
        await self.ledger.set_limit(self.buyer_id, "USD", 1_000, "admin", "a test")
        return self

    def draft(self, kind: Any = "pending", amount: int | None = 100, **fields: Any) -> Draft:
        named = {"debit": self.buyer, "credit": self.seller} if kind in ("single", "pending") else {}
        return Draft(**{
            "key": secrets.token_hex(8), "kind": kind, "code": "offer", "by": self.buyer_id, "amount": amount,
            **named, **fields,
        })  # fmt: skip

    async def do(self, kind: Any = "pending", amount: int | None = 100, **fields: Any) -> Document:
        return await self.ledger.transfer(self.draft(kind, amount, **fields))

    async def balances(self, account: str = "") -> tuple[int, ...]:
        """debits pending and posted, credits pending and posted."""
        found = await self.ledger.account(account or self.buyer)
        names = ("debits_pending", "debits_posted", "credits_pending", "credits_posted")
        return tuple(found[name] for name in names)

    async def whole(self) -> bool:
        report = await verify(self.store, [self.buyer, self.seller])
        assert report.problems == []
        return True


@pytest.fixture
async def desk(mongo_url: str) -> AsyncIterator[Desk]:
    database = Database(mongo_url, "t_ledger", single=True)
    await database.connect()
    await database.create_indexes(INDEXES)
    yield await Desk(database).open()
    database.close()


async def refused(code: str, work: Any) -> ParleyError:
    with pytest.raises(ParleyError) as caught:
        await work
    assert caught.value.code == code
    return caught.value


async def test_a_hold_is_posted_in_part_and_the_rest_is_released(desk: Desk) -> None:
    hold = await desk.do(amount=700)
    assert await desk.balances() == (700, 0, 0, 0)
    assert await desk.balances(desk.seller) == (0, 0, 700, 0)
    assert available(await desk.ledger.account(desk.buyer)) == 300
    await desk.do("post", 500, pending_id=hold["_id"])
    assert await desk.balances() == (0, 500, 0, 0)
    assert await desk.balances(desk.seller) == (0, 0, 0, 500)
    assert available(await desk.ledger.account(desk.buyer)) == 500
    assert await desk.whole()


@pytest.mark.parametrize("first", ["post", "void"])
@pytest.mark.parametrize("second", ["post", "void", "expire"])
async def test_a_hold_is_ended_once(desk: Desk, first: str, second: str) -> None:
    hold = await desk.do()
    await desk.do(first, None, pending_id=hold["_id"])
    await refused("hold_closed", desk.do(second, None, pending_id=hold["_id"]))
    assert await desk.whole()


async def test_a_hold_that_has_expired_can_only_expire(desk: Desk, clock: Clock) -> None:
    hold = await desk.do(expires_at=now() + timedelta(hours=1))
    await refused("hold_closed", desk.do("expire", None, pending_id=hold["_id"]))
    clock.move(3_601)
    await refused("hold_closed", desk.do("post", None, pending_id=hold["_id"]))
    await desk.do("expire", None, pending_id=hold["_id"])
    assert await desk.balances() == (0, 0, 0, 0)
    assert await desk.whole()


async def test_nobody_owes_more_than_their_limit(desk: Desk) -> None:
    await desk.do(amount=600)
    error = await refused("credit_limit_exceeded", desk.do(amount=401))
    assert error.details == {"available_credit": 400, "needed": 401, "currency": "USD"}
    await desk.do("single", 400)
    await refused("credit_limit_exceeded", desk.do(amount=1))
    account, changed = await desk.ledger.set_limit(desk.buyer_id, "USD", 1_001, "admin", "a good customer")
    assert (account["limit"], changed) == (1_001, True)
    assert (await desk.ledger.set_limit(desk.buyer_id, "USD", 1_001, "admin", "again"))[1] is False
    await desk.do(amount=1)
    trail = [(change["before"], change["after"], change["reason"]) for change in await desk.ledger.limits(desk.buyer)]
    assert trail == [(0, 1_000, "a test"), (1_000, 1_001, "a good customer")]
    assert await desk.whole()


async def test_who_has_no_limit_set_has_no_credit(desk: Desk) -> None:
    stranger = account_id(f"u_{secrets.token_hex(6)}", "USD", "payable")
    await refused("credit_limit_exceeded", desk.do(debit=stranger, amount=1))


async def test_a_key_is_one_transfer_whatever_is_repeated(desk: Desk) -> None:
    draft = desk.draft(amount=100)
    outcomes = await asyncio.gather(*[desk.ledger.transfer(draft) for _ in range(20)])
    assert len({outcome["hash"] for outcome in outcomes}) == 1
    assert await desk.balances() == (100, 0, 0, 0)
    await refused("idempotency_mismatch", desk.do(amount=101, key=draft.key))
    assert await desk.whole()


async def test_more_than_was_held_cannot_be_posted_and_less_cannot_be_voided(desk: Desk) -> None:
    hold = await desk.do()
    await refused("amount_exceeded", desk.do("post", 101, pending_id=hold["_id"]))
    await refused("amount_exceeded", desk.do("void", 99, pending_id=hold["_id"]))
    await refused("not_found", desk.do("post", 1, pending_id="t_none"))
    single = await desk.do("single", 5)
    await refused("hold_closed", desk.do("post", 1, pending_id=single["_id"]))
    assert await desk.whole()


async def test_several_transfers_are_all_done_or_none(desk: Desk) -> None:
    drafts = [desk.draft(amount=600), desk.draft(amount=600)]
    await refused("credit_limit_exceeded", desk.database.transact(lambda tx: desk.ledger.apply(drafts, tx)))
    assert await desk.balances() == (0, 0, 0, 0)
    assert await desk.whole()


async def test_of_many_at_once_as_many_succeed_as_the_limit_covers(desk: Desk) -> None:
    """Two ledgers, as two processes would have, and both ways of getting there."""
    other = Ledger(desk.store, desk.database, Jobs(JobStore(desk.database), MemoryBus()))

    async def alone(ledger: Ledger) -> Any:
        async with ledger.turn([desk.buyer]):
            return await desk.database.transact(lambda tx: ledger.apply([desk.draft(amount=100)], tx))

    work = [alone((desk.ledger, other)[number % 2]) for number in range(25)]
    work += [(desk.ledger, other)[number % 2].transfer(desk.draft(amount=100)) for number in range(25)]
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert len(failures) == 40
    assert {getattr(failure, "code", repr(failure)) for failure in failures} == {"credit_limit_exceeded"}
    assert await desk.balances() == (1_000, 0, 0, 0)
    assert await desk.whole()


@pytest.mark.parametrize(
    "change",
    [
        {"amount": 1}, {"by": "someone else"}, {"debit.after": [1, 1, 1, 1]}, {"pending_id": "t_another"},
        {"created_at": now()}, {"hash": "0" * 64}, {"credit.seq": 7},
    ],
)  # fmt: skip
async def test_tampering_with_a_stored_transfer_is_found_and_named(desk: Desk, change: Document) -> None:
    transfers = [await desk.do("single", amount) for amount in (10, 20, 30)]
    victim = transfers[1]["_id"]
    await desk.database.collection("ledger_transfers").update_one({"_id": victim}, {"$set": change})
    report = await verify(desk.store, [desk.buyer, desk.seller])
    assert any(victim in problem for problem in report.problems), report.problems


async def test_what_was_changed_with_a_hash_that_fits_is_found_by_what_follows(desk: Desk) -> None:
    from models.ledger.document import hash_of

    transfers = [await desk.do("single", amount) for amount in (10, 20, 30)]
    forged = {**transfers[1], "note": "forged"}
    forged["hash"] = hash_of(forged)
    await desk.database.collection("ledger_transfers").replace_one({"_id": forged["_id"]}, forged)
    report = await verify(desk.store, [desk.buyer, desk.seller])
    assert any(transfers[2]["_id"] in problem for problem in report.problems)


async def test_a_transfer_that_was_removed_and_an_account_that_was_changed_are_found(desk: Desk) -> None:
    transfers = [await desk.do("single", amount) for amount in (10, 20)]
    await desk.database.collection("ledger_transfers").delete_one({"_id": transfers[0]["_id"]})
    report = await verify(desk.store, [desk.buyer, desk.seller])
    assert any("entry 1 is missing" in problem for problem in report.problems)
    other = await Desk(desk.database).open()
    await other.do("single", 10)
    await desk.database.collection("ledger_accounts").update_one({"_id": other.buyer}, {"$set": {"debits_posted": 0}})
    report = await verify(desk.store, [other.buyer, other.seller])
    assert any("other balances" in problem for problem in report.problems)
    assert any("USD: debits_posted 0" in problem for problem in report.problems)
