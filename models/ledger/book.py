"""The arithmetic of transfers on accounts in memory: what is allowed, and what it does. No I/O.

    single                          debits_posted ↑                  credits_posted ↑
    pending                         debits_pending ↑                 credits_pending ↑
    post of part of a pending one   pending ↓ by all, posted ↑       the same
    void, expire                    pending ↓                        pending ↓

A book holds the accounts that one transaction concerns. Transfers are applied to it one after the other; one that is
refused leaves it as it was.

Nobody's `payable` is left below zero: what a transfer credits beyond what is owed moves to the owner's credit balance
by a transfer of its own, right behind it. That is done here, whatever the transfer was for, so that no caller can
forget it. Nor does a credit balance ever go below zero.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from contract.errors import ParleyError
from contract.finance import TransferKind
from contract.money import TOTAL_MAX as BALANCE_MAX
from models.context import fingerprint
from models.ledger.document import (
    BALANCES,
    TO_BALANCE,
    available,
    balance_of,
    hash_of,
    new_account,
    spendable,
    surplus,
    transfer_id,
)
from storage.mongo import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A transfer that is asked for. `key` makes it unique: the same key with other particulars is refused.

    `amount` in minor units; None with a post, a void or an expiry is all of what is pending, and these find their
    accounts by `pending_id`. `about` says what it is for (offer_id, payment_id), `by` who wanted it.
    """

    key: str
    kind: TransferKind
    code: str
    by: str
    debit: str = ""
    credit: str = ""
    amount: int | None = None
    pending_id: str | None = None
    corrects_id: str | None = None
    about: dict[str, str] = field(default_factory=dict)
    note: str = ""
    expires_at: datetime | None = None

    @property
    def id(self) -> str:
        return transfer_id(self.key)

    @property
    def fingerprint(self) -> str:
        parts = (self.kind, self.code, self.debit, self.credit, self.amount, self.pending_id, self.corrects_id)
        return fingerprint(*parts, self.about)


def to_balance(account: Document, by: str, cause: Document | None = None) -> Draft:
    """Moves what this `payable` is overpaid by to its owner's credit balance; `cause` is the transfer that did it."""
    return Draft(
        key=f"{TO_BALANCE}:{cause['_id'] if cause else account['head']}", kind="single", code=TO_BALANCE, by=by,
        debit=account["_id"], credit=balance_of(account["_id"]), amount=surplus(account),
        about={"transfer_id": cause["_id"]} if cause else {},
    )  # fmt: skip


class Book:
    def __init__(self, accounts: Iterable[Document], at: datetime) -> None:
        self.accounts = {account["_id"]: dict(account) for account in accounts}
        self.stored = {identifier: account["seq"] for identifier, account in self.accounts.items()}
        self.transfers: list[Document] = []
        self.moves: list[Document] = []  # of the transfers, those to credit balances that followed from others
        self._at = at

    def concerned(self) -> list[Document]:
        """The accounts, without the credit balances that were only read in case something moves there."""
        return [
            account
            for identifier, account in self.accounts.items()
            if account["purpose"] != "credit_balance" or account["seq"] != self.stored.get(identifier)
        ]

    def account(self, identifier: str) -> Document:
        account = self.accounts.get(identifier)
        if account is None:
            account = self.accounts[identifier] = new_account(identifier, self._at)
        return account

    def apply(self, draft: Draft, pending: Document | None = None) -> Document:
        """Does one transfer; `pending` is the one that it ends. Raises and changes nothing if that may not be.

        What it credits to a `payable` beyond what is owed moves on: that is one more of `transfers`.
        """
        transfer = self._one(draft, pending)
        credited = self.accounts[transfer["credit"]["account"]]
        if surplus(credited):
            self.moves.append(self._one(to_balance(credited, draft.by, transfer), None))
        return transfer

    def _one(self, draft: Draft, pending: Document | None) -> Document:
        if draft.kind in ("single", "pending"):
            debit, credit, amount = draft.debit, draft.credit, draft.amount
            assert amount is not None
        else:
            assert pending is not None
            assert draft.pending_id == pending["_id"]
            debit, credit = pending["debit"]["account"], pending["credit"]["account"]
            amount = pending["amount"] if draft.amount is None else draft.amount
            self._check_end(draft, pending, amount)
        accounts = self.account(debit), self.account(credit)
        assert accounts[0]["currency"] == accounts[1]["currency"], "a transfer has one currency"
        assert debit != credit, "a transfer has two accounts"
        moves = _moves(draft.kind, amount, pending["amount"] if pending is not None else 0)
        after = [_moved(account, side, moves) for account, side in zip(accounts, ("debits", "credits"), strict=True)]
        if max(*after[0], *after[1]) > BALANCE_MAX:
            raise ParleyError("amount_exceeded", "No balance can be as large as that.")
        if draft.code == TO_BALANCE:
            assert amount == surplus(accounts[0]), "what is overpaid, and no more"
        elif draft.kind in ("single", "pending"):
            self._check_limit(accounts[0], after[0], amount)
            _check_spendable(accounts[0], amount)
        # Later than every entry before it on either side, so that the time of an account's entries rises with seq.
        at = max(self._at, *(account["updated_at"] for account in accounts))
        transfer: Document = {
            "_id": draft.id, "kind": draft.kind, "code": draft.code, "amount": amount,
            "currency": accounts[0]["currency"], "debit": _side(accounts[0], after[0]),
            "credit": _side(accounts[1], after[1]), "pending_id": draft.pending_id,
            "pending_amount": pending["amount"] if pending is not None else None, "corrects_id": draft.corrects_id,
            "about": draft.about, "by": draft.by, "note": draft.note, "expires_at": draft.expires_at,
            "fingerprint": draft.fingerprint, "created_at": at,
        }  # fmt: skip
        transfer["hash"] = hash_of(transfer)
        for account, balances in zip(accounts, after, strict=True):
            account.update(zip(BALANCES, balances, strict=True))
            account["seq"] += 1
            account["head"], account["updated_at"] = transfer["hash"], at
        self.transfers.append(transfer)
        return transfer

    def _check_end(self, draft: Draft, pending: Document, amount: int) -> None:
        if pending["kind"] != "pending":
            raise ParleyError("hold_closed", "That transfer is not a hold.")
        lapsed = pending["expires_at"] is not None and pending["expires_at"] <= self._at
        if lapsed != (draft.kind == "expire"):
            raise ParleyError("hold_closed", "The hold has expired." if lapsed else "The hold has not expired yet.")
        if amount > pending["amount"] or (draft.kind != "post" and amount != pending["amount"]):
            raise ParleyError("amount_exceeded", details={"available": pending["amount"]})

    @staticmethod
    def _check_limit(account: Document, after: list[int], amount: int) -> None:
        if account["limit"] is not None and after[0] + after[1] - after[3] > account["limit"]:
            details = {"available_credit": available(account), "needed": amount, "currency": account["currency"]}
            raise ParleyError("credit_limit_exceeded", details=details)


def _check_spendable(account: Document, amount: int) -> None:
    if account["purpose"] == "credit_balance" and amount > spendable(account):
        raise ParleyError("amount_exceeded", details={"available": spendable(account), "currency": account["currency"]})


def _moves(kind: TransferKind, amount: int, pending: int) -> tuple[int, int]:
    """(what it adds to pending, what it adds to posted), on both sides alike."""
    if kind == "single":
        return 0, amount
    if kind == "pending":
        return amount, 0
    return -pending, amount if kind == "post" else 0


def _moved(account: Document, side: str, moves: tuple[int, int]) -> list[int]:
    balances = {name: account[name] for name in BALANCES}
    balances[f"{side}_pending"] += moves[0]
    balances[f"{side}_posted"] += moves[1]
    return list(balances.values())


def _side(account: Document, after: list[int]) -> Document:
    return {
        "account": account["_id"], "seq": account["seq"] + 1, "before": account["head"], "after": after,
        "limit": account["limit"],
    }  # fmt: skip
