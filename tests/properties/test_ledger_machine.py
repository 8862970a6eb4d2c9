"""Random transfers, many at once, from two ledgers as two processes have them: no invariant is ever broken.

A step is a handful of commands that run concurrently. What they answered says what the balances must be afterwards,
together with what moved to credit balances: that depends on which of them came first, so it is read, and must follow
from what was answered and leave nobody below zero. The ledger's own proof must hold too. That the machine finds what it
is for is shown by planted bugs.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.errors import FlakyFailure
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from contract.errors import ParleyError
from models.jobs.actions import Jobs
from models.jobs.store import JobStore
from models.ledger import book as book_module
from models.ledger.actions import Ledger
from models.ledger.book import Book, Draft
from models.ledger.document import BALANCES, INDEXES, TO_BALANCE, account_id, balance_of
from models.ledger.store import LedgerStore
from models.ledger.verify import verify
from realtime.bus import MemoryBus
from storage.mongo import Database, Document

DECLARED = {"credit_limit_exceeded", "hold_closed", "amount_exceeded", "idempotency_mismatch", "not_found"}
# Of up to 12 steps each, of up to 8 commands each. More by PARLEY_EXAMPLES.
EXAMPLES = int(os.environ.get("PARLEY_EXAMPLES", "20"))
LIMITS = (0, 50, 400, 100_000)
COMMAND = st.tuples(
    st.sampled_from(
        [
            "pending",
            "pending",
            "single",
            "post",
            "post",
            "void",
            "repeat",
            "limit",
            "pay",
            "pay",
            "spend",
            "refund",
            "dispute",
        ]
    ),
    st.integers(0, 1),  # which ledger
    st.integers(0, 2),  # which buyer
    st.integers(0, 1),  # which seller
    st.integers(1, 120),  # how much
    st.integers(0, 5),  # which earlier transfer, from the last
)


class Table:
    """Two ledgers on one database, on a loop that lives for all examples."""

    def __init__(self, runner: asyncio.Runner, url: str) -> None:
        self.runner = runner
        self.run(self._open(url))

    async def _open(self, url: str) -> None:
        self.database = Database(url, f"t_{secrets.token_hex(6)}", single=True)
        await self.database.connect()
        await self.database.create_indexes(INDEXES)
        self.store = LedgerStore(self.database)
        jobs = Jobs(JobStore(self.database), MemoryBus())
        self.ledgers = [Ledger(self.store, self.database, jobs) for _ in range(2)]

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)


class LedgerMachine(RuleBasedStateMachine):
    table: Table

    @initialize(limits=st.lists(st.sampled_from(LIMITS), min_size=3, max_size=3))
    def open(self, limits: list[int]) -> None:
        tag = secrets.token_hex(6)
        self.owners = [f"buyer{number}.{tag}" for number in range(3)]
        self.buyers = [account_id(owner, "USD", "payable") for owner in self.owners]
        self.sellers = [account_id(f"seller{number}.{tag}", "USD", "receivable") for number in range(2)]
        self.balances = [balance_of(buyer) for buyer in self.buyers]
        self.clearing = account_id(f"provider.{tag}", "USD", "clearing")
        self.drafts: list[Draft] = []
        self.done: dict[str, Document] = {}
        for owner, limit in zip(self.owners, limits, strict=True):
            self.table.run(self.table.ledgers[0].set_limit(owner, "USD", limit, "admin", "the beginning"))

    @rule(commands=st.lists(COMMAND, min_size=1, max_size=8))
    def together(self, commands: list[tuple[str, int, int, int, int, int]]) -> None:
        self.table.run(self._together(commands))

    async def _together(self, commands: list[tuple[str, int, int, int, int, int]]) -> None:
        works = []
        for kind, ledger, buyer, seller, amount, back in commands:
            chosen = self.table.ledgers[ledger]
            if kind == "limit":
                works.append(self._limit(chosen, buyer, LIMITS[back % len(LIMITS)]))
            elif (draft := self._draft(kind, buyer, seller, amount, back)) is not None:
                works.append(self._do(chosen, draft, alone=amount % 2 == 0))
        await asyncio.gather(*works)

    def _draft(self, kind: str, buyer: int, seller: int, amount: int, back: int) -> Draft | None:
        if kind == "repeat":
            return self.drafts[-1 - back % len(self.drafts)] if self.drafts else None
        ways = {
            "pending": ("pending", self.buyers[buyer], self.sellers[seller]),
            "single": ("single", self.buyers[buyer], self.sellers[seller]),
            "pay": ("single", self.clearing, self.buyers[buyer]),
            "spend": ("single", self.balances[buyer], self.buyers[buyer]),
            "refund": ("single", self.sellers[seller], self.buyers[buyer]),
            "dispute": ("pending", self.sellers[seller], self.buyers[buyer]),
        }
        draft = Draft(key=secrets.token_hex(8), kind="single", code="offer", by="x", amount=amount)
        if kind in ways:
            of_ledger, debit, credit = ways[kind]
            draft = replace(draft, kind=of_ledger, debit=debit, credit=credit)  # type: ignore[arg-type]
        else:
            draft = replace(draft, kind=kind)  # type: ignore[arg-type]
            held = [one.id for one in self.drafts if one.kind == "pending"]
            if not held:
                return None
            draft = replace(draft, pending_id=held[-1 - back % len(held)], amount=amount if kind == "post" else None)
        self.drafts.append(draft)
        return draft

    async def _do(self, ledger: Ledger, draft: Draft, alone: bool) -> None:
        """By itself, or as a part of a larger transaction."""
        try:
            if alone:
                transfer = await ledger.transfer(draft)
            else:
                transfers, _ = await self.table.database.transact(lambda tx: ledger.apply([draft], tx))
                transfer = transfers[0]
        except ParleyError as error:
            if error.code not in DECLARED:
                raise
            return
        known = self.done.setdefault(transfer["_id"], transfer)
        assert known["hash"] == transfer["hash"], "one key, two transfers"

    async def _limit(self, ledger: Ledger, buyer: int, limit: int) -> None:
        await ledger.set_limit(self.owners[buyer], "USD", limit, "admin", "a change")

    @invariant()
    def balances_are_what_was_answered(self) -> None:
        if not hasattr(self, "buyers"):
            return
        accounts = (*self.buyers, *self.sellers, *self.balances, self.clearing)
        expected = {account: Counter[str]() for account in accounts}
        ends = Counter(one["pending_id"] for one in self.done.values() if one["pending_id"] is not None)
        assert all(count == 1 for count in ends.values()), "a hold was ended twice"
        moves = self.table.run(self._moves())
        assert len({move["about"]["transfer_id"] for move in moves} & self.done.keys()) == len(moves), "out of nothing"
        for transfer in (*self.done.values(), *moves):
            for side in ("debit", "credit"):
                count = expected[transfer[side]["account"]]
                count[f"{side}s_pending"] += transfer["amount"] if transfer["kind"] == "pending" else 0
                count[f"{side}s_pending"] -= transfer["pending_amount"] or 0
                count[f"{side}s_posted"] += transfer["amount"] if transfer["kind"] in ("single", "post") else 0
        self.table.run(self._check(expected))

    async def _moves(self) -> list[Document]:
        """What moved to credit balances."""
        query = {"code": TO_BALANCE, "debit.account": {"$in": self.buyers}}
        found: list[Document] = await self.table.database.collection("ledger_transfers").find(query).to_list(None)
        return found

    async def _check(self, expected: dict[str, Counter[str]]) -> None:
        for account in await self.table.store.accounts(list(expected)):
            owed = account["debits_posted"] - account["credits_posted"]
            assert owed >= 0 or account["purpose"] != "payable"
            assert owed <= 0 or account["purpose"] != "credit_balance"
            assert {name: account[name] for name in BALANCES} == {
                name: expected[account["_id"]][name] for name in BALANCES
            }
        report = await verify(self.table.store, list(expected))
        assert report.problems + report.mended == []


@pytest.fixture(scope="module")
def table(mongo_url: str) -> Iterator[Table]:
    with asyncio.Runner() as runner:
        made = Table(runner, mongo_url)
        yield made
        made.database.close()


def play(table: Table, examples: int, phases: Sequence[Phase] = tuple(Phase)) -> None:
    run_state_machine_as_test(
        type("Machine", (LedgerMachine,), {"table": table}),
        settings=settings(
            max_examples=examples, stateful_step_count=12, deadline=None, report_multiple_bugs=False, database=None,
            suppress_health_check=list(HealthCheck), print_blob=False, phases=phases,
        ),
    )  # fmt: skip


def test_no_interleaving_of_transfers_breaks_an_invariant(table: Table) -> None:
    play(table, EXAMPLES)


def _no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Book, "_check_limit", lambda *arguments: None)


def _half_of_a_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """A partial post frees what it posts, and forgets the rest."""
    original: Callable[..., tuple[int, int]] = book_module._moves

    def moves(kind: Any, amount: int, pending: int) -> tuple[int, int]:
        return (-amount, amount) if kind == "post" else original(kind, amount, pending)

    monkeypatch.setattr(book_module, "_moves", moves)


def _overpaid_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book_module, "surplus", lambda account: 0)


def _balances_without_a_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book_module, "_check_spendable", lambda account, amount: None)


@pytest.mark.parametrize("plant", [_no_limit, _half_of_a_hold, _overpaid_accounts, _balances_without_a_floor])
def test_a_planted_bug_is_found(table: Table, plant: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    with pytest.raises((AssertionError, FlakyFailure)):  # the same commands meet in another way when run again
        play(table, 40, [Phase.generate])  # found, and not made small
