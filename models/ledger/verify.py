"""Proves that the ledger is whole, from what is stored and nothing else: see `python -m models.ledger verify`.

Each account is walked from its first entry to its last: numbers without a gap, each hash right and named by the next,
balances that follow from the entries before, no debit beyond the limit of its time, and at the end what the account
says of itself. A `payable` ends at zero or above: what an entry overpays, the next one moves to the owner's credit
balance, and that is never below zero. Then all accounts together: debits equal credits in every currency, a hold is
ended at most once, an end ends a hold, and both sides of a transfer were seen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field

from models.ledger.document import BALANCES, GENESIS, TO_BALANCE, Side, balance_of, hash_of
from models.ledger.store import LedgerStore
from storage.mongo import Document

ENTRIES_AT_ONCE = 1_000


@dataclass(slots=True)
class Report:
    """`problems`: what is wrong, each with the id that it is wrong with. `holds`: the open ones.

    `mended`: what was wrong and is not any more. Entries never change, so those of an account that an earlier version
    let be overpaid go on showing it after it was settled.
    """

    accounts: int = 0
    transfers: int = 0
    totals: dict[str, dict[str, int]] = field(default_factory=dict)
    holds: dict[str, Document] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    mended: list[str] = field(default_factory=list)

    def wrong(self, text: str) -> None:
        self.problems.append(text)


async def verify(store: LedgerStore, accounts: Collection[str] | None = None) -> Report:
    """Of these accounts, which transfer among themselves, or of all.

    While transfers go on, an account may move between two looks: run it when the ledger is quiet, or again.
    """
    report = Report()
    seen: dict[str, set[Side]] = defaultdict(set)
    ends: dict[str, Document] = {}
    for identifier in await store.account_ids() if accounts is None else accounts:
        found = await store.accounts([identifier])
        if not found:
            continue
        account = found[0]
        report.accounts += 1
        await _walk(store, account, seen, ends, report)
        totals = report.totals.setdefault(account["currency"], dict.fromkeys(BALANCES, 0))
        for name in BALANCES:
            totals[name] += account[name]
    for pending_id, end in ends.items():
        hold = report.holds.pop(pending_id, None)
        if hold is None or hold["amount"] != end["pending_amount"]:
            report.wrong(f"transfer {end['_id']} ends {pending_id}, which is not a hold of {end['pending_amount']}")
    for transfer_id, sides in seen.items():
        if sides != {"debit", "credit"}:
            report.wrong(f"transfer {transfer_id} is on the {min(sides)} side only")
    report.transfers = len(seen)
    if accounts is None and (stored := await store.count_transfers()) != len(seen):
        report.wrong(f"{stored} transfers are stored, and {len(seen)} belong to accounts")
    for currency, totals in report.totals.items():
        for kind in ("pending", "posted"):
            if totals[f"debits_{kind}"] != totals[f"credits_{kind}"]:
                report.wrong(
                    f"{currency}: debits_{kind} {totals[f'debits_{kind}']}, credits {totals[f'credits_{kind}']}"
                )
    return report


async def _walk(
    store: LedgerStore, account: Document, seen: dict[str, set[Side]], ends: dict[str, Document], report: Report
) -> None:
    identifier, head, seq = account["_id"], GENESIS, 0
    balances = [0, 0, 0, 0]
    async for side, transfer in _entries(store, account):
        name, own = transfer["_id"], transfer[side]
        seen[name].add(side)
        seq += 1
        if own["seq"] != seq:
            report.wrong(f"account {identifier}: entry {seq} is missing before transfer {name}")
            seq = own["seq"]
        if hash_of(transfer) != transfer["hash"]:
            report.wrong(f"transfer {name} was changed: it is not what its hash is of")
        elif own["before"] != head:
            report.wrong(f"account {identifier}: transfer {name} does not follow the entry before it")
        expected = _after(balances, side, transfer)
        if own["after"] != expected:
            report.wrong(f"account {identifier}: balances after transfer {name} are {own['after']}, not {expected}")
        _check_bounds(account, side, transfer, balances, expected, report)
        if side == "debit":
            if transfer["kind"] == "pending":
                report.holds[name] = transfer
            elif transfer["pending_id"] is not None:
                if transfer["pending_id"] in ends:
                    report.wrong(f"hold {transfer['pending_id']} was ended twice, by {name} too")
                ends[transfer["pending_id"]] = transfer
        balances, head = expected, transfer["hash"]
    if (account["seq"], account["head"]) != (seq, head):
        report.wrong(f"account {identifier} ends at entry {account['seq']}, its transfers at {seq}, or another hash")
    if [account[name] for name in BALANCES] != balances:
        report.wrong(f"account {identifier} has other balances than its transfers make: {balances}")
    if account["purpose"] == "payable" and balances[1] < balances[3]:
        report.wrong(f"account {identifier} owes {balances[1] - balances[3]}: overpaid")


def _check_bounds(
    account: Document, side: Side, transfer: Document, before: list[int], after: list[int], report: Report
) -> None:
    """What an entry may make of its account: `before` and `after` are balances."""
    identifier, name, limit = account["_id"], transfer["_id"], transfer[side]["limit"]
    owes = after[0] + after[1] - after[3]
    moves_surplus = side == "debit" and transfer["code"] == TO_BALANCE
    new_debit = side == "debit" and transfer["kind"] in ("single", "pending") and not moves_surplus
    if new_debit and limit is not None and owes > limit:
        report.wrong(f"account {identifier}: transfer {name} exceeds the limit of {limit}")
    if account["purpose"] == "credit_balance" and owes > 0:
        report.wrong(f"account {identifier} is {owes} below zero after transfer {name}")
    if moves_surplus and (after[1] != after[3] or transfer["credit"]["account"] != balance_of(identifier)):
        report.wrong(f"account {identifier}: transfer {name} moves something else than what was overpaid")
    elif account["purpose"] == "payable" and before[1] < before[3] and not moves_surplus:
        report.mended.append(f"account {identifier} owed {before[1] - before[3]} before transfer {name}: overpaid")


async def _entries(store: LedgerStore, account: Document) -> AsyncIterator[tuple[Side, Document]]:
    """Rising."""
    for start in range(0, account["seq"], ENTRIES_AT_ONCE):
        end = min(start + ENTRIES_AT_ONCE, account["seq"])
        for entry in reversed(await store.entries(account["_id"], start, end)):
            yield entry


def _after(before: list[int], side: Side, transfer: Document) -> list[int]:
    """What the transfer makes of the account's balances."""
    pending, posted = 0, 0
    if transfer["kind"] == "single":
        posted = transfer["amount"]
    elif transfer["kind"] == "pending":
        pending = transfer["amount"]
    else:
        pending = -transfer["pending_amount"]
        posted = transfer["amount"] if transfer["kind"] == "post" else 0
    at = 0 if side == "debit" else 2
    after = list(before)
    after[at] += pending
    after[at + 1] += posted
    return after
