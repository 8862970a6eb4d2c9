"""The documents of the ledger. The words are the field's: account, transfer, debit, credit, pending, posted, voided.

    ledger_accounts   {_id: "OWNER:CURRENCY:PURPOSE", owner_id, currency, purpose, limit, seq, head, debits_pending,
                       debits_posted, credits_pending, credits_posted, updated_at}
    ledger_transfers  {_id, kind, code, amount, currency, debit: SIDE, credit: SIDE, pending_id, pending_amount,
                       corrects_id, about, by, note, expires_at, fingerprint, created_at, hash}
                      SIDE = {account, seq, before, after: [debits_pending, debits_posted, credits_pending,
                      credits_posted], limit}
    ledger_limits     {_id, account, number, before, after, by, reason, created_at}

A transfer never changes. One that is `pending` (a hold) is ended by another that names it in `pending_id`: a `post` of
all or a part, which releases the rest, a `void`, or an `expire`; the index on `pending_id` lets there be one of these.
`pending_amount` is then what was held.
Refunds and disputes are transfers the other way that name what they correct in `corrects_id`.

What is paid or given back on a `payable` beyond what is owed moves on to the owner's `credit_balance` in the next
transfer, whose `code` is TO_BALANCE and whose `about.transfer_id` is the one that it follows from.

Each transfer is the next entry of both its accounts: `seq` counts an account's entries, `after` has its balances, and
`before` the hash of its previous entry. So each account is a chain by itself, every transfer ties two of them together,
and whoever changes a stored transfer would have to change all that came after on both sides, up to the accounts'
`head`s. There is no chain of the whole ledger because all transfers of the world would then wait for one document.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Literal

import msgspec
from pymongo import IndexModel

from contract.finance import Account, Entry, Transfer
from contract.money import Money
from contract.types import format_time
from storage.mongo import Document

INDEXES = {
    "ledger_transfers": [
        IndexModel([("debit.account", 1), ("debit.seq", 1)], unique=True),
        IndexModel([("credit.account", 1), ("credit.seq", 1)], unique=True),
        IndexModel([("pending_id", 1)], unique=True, partialFilterExpression={"pending_id": {"$type": "string"}}),
        IndexModel([("corrects_id", 1)], partialFilterExpression={"corrects_id": {"$type": "string"}}),
    ],
    "ledger_limits": [IndexModel([("account", 1), ("number", 1)], unique=True)],
}

Purpose = Literal["payable", "receivable", "credit_balance", "clearing"]
Side = Literal["debit", "credit"]
BALANCES = ("debits_pending", "debits_posted", "credits_pending", "credits_posted")
GENESIS = "0" * 64
TO_BALANCE = "credit_balance"


def account_id(owner_id: str, currency: str, purpose: Purpose) -> str:
    """`payable`: what a buyer owes. `receivable`: what a seller is owed. `credit_balance`: what a buyer has to get, or
    to pay with. `clearing`: what a provider has of ours.
    """
    return f"{owner_id}:{currency}:{purpose}"


def balance_of(payable: str) -> str:
    """The credit balance that belongs to this account."""
    return payable.removesuffix("payable") + "credit_balance"


def owner_of(identifier: str) -> str:
    """Whose account it is."""
    return identifier.rsplit(":", 2)[0]


def new_account(identifier: str, at: datetime) -> Document:
    """Without a limit anyone may owe anything: what a buyer owes has one from the beginning, of nothing."""
    owner_id, currency, purpose = identifier.rsplit(":", 2)
    return {
        "_id": identifier, "owner_id": owner_id, "currency": currency, "purpose": purpose,
        "limit": 0 if purpose == "payable" else None, "limits": 0, "seq": 0, "head": GENESIS,
        **dict.fromkeys(BALANCES, 0), "updated_at": at,
    }  # fmt: skip


def owed(account: Document) -> int:
    """What its owner owes by it, holds included; negative is what the owner has to get."""
    total: int = account["debits_pending"] + account["debits_posted"] - account["credits_posted"]
    return total


def available(account: Document) -> int:
    """What may still be debited; an account without a limit has none to speak of."""
    return (account["limit"] or 0) - owed(account)


def surplus(account: Document) -> int:
    """How much more was credited to a `payable` than was ever taken on it; 0 for any other account."""
    return max(0, account["credits_posted"] - account["debits_posted"]) if account["purpose"] == "payable" else 0


def spendable(balance: Document) -> int:
    """What a credit balance has to pay with."""
    return -owed(balance)


def transfer_id(key: str) -> str:
    """The same key is the same transfer: whoever repeats a change cannot make it twice."""
    return f"t_{hashlib.sha256(key.encode()).hexdigest()[:24]}"


def hash_of(transfer: Document) -> str:
    """Of everything but the hash itself, the hashes before it included."""
    content = {name: value for name, value in transfer.items() if name != "hash"}
    return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()


def to_account(account: Document) -> Account:
    return Account(
        user_id=account["owner_id"],
        currency=account["currency"],
        purpose=account["purpose"],
        credit_limit=account["limit"] or 0,
        debits_pending=account["debits_pending"],
        debits_posted=account["debits_posted"],
        credits_pending=account["credits_pending"],
        credits_posted=account["credits_posted"],
        available_credit=max(0, available(account)) if account["limit"] is not None else 0,
    )


def to_transfer(transfer: Document) -> Transfer:
    return Transfer(
        id=transfer["_id"],
        kind=transfer["kind"],
        code=transfer["code"],
        amount=Money(amount=transfer["amount"], currency=transfer["currency"]),
        debit_user_id=owner_of(transfer["debit"]["account"]),
        credit_user_id=owner_of(transfer["credit"]["account"]),
        pending_id=transfer["pending_id"],
        corrects_id=transfer["corrects_id"],
        about=transfer["about"],
        by=transfer["by"],
        note=transfer["note"],
        created_at=format_time(transfer["created_at"]),
    )


def to_entry(side: Side, transfer: Document) -> Entry:
    held, debits, _, credits = transfer[side]["after"]
    return Entry(
        seq=transfer[side]["seq"], side=side, transfer=to_transfer(transfer), owed=debits - credits, held=held
    )  # fmt: skip
