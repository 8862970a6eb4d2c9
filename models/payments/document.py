"""The payment document.

    payments       {_id, user_id, amount, currency, method, status: pending | succeeded | expired, reference,
                    checkout_url, transfer_id, fingerprint, expires_at, created_at, updated_at}
    payment_turns  {_id: a user's id, count}

`_id` is made from the user and their client_id, so a repeat is the same payment.
Two payments of a user that are begun at once both write the user's document in `payment_turns`, so the database lets
one of them be first, and the other sees it.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from pymongo import IndexModel

from contract.finance import Pay, Payment
from contract.money import Money
from contract.types import format_time
from models.context import fingerprint
from storage.mongo import Document

INDEXES = {
    "payments": [
        IndexModel([("user_id", 1), ("created_at", -1)]),
        IndexModel([("user_id", 1), ("status", 1), ("created_at", 1)]),
    ]
}

LIFE = timedelta(hours=24)
# Nobody can complete a payment that its provider has not answered for: it ends soon, so as not to be in the way.
START_LIFE = timedelta(minutes=10)


def payment_id(user_id: str, client_id: str) -> str:
    return f"p_{hashlib.sha256(f'{user_id}:{client_id}'.encode()).hexdigest()[:24]}"


def new_payment(user_id: str, wish: Pay, at: datetime) -> Document:
    amount, currency = wish.amount.amount, wish.amount.currency
    return {
        "_id": payment_id(user_id, wish.client_id), "user_id": user_id, "amount": amount, "currency": currency,
        "method": wish.method, "status": "pending", "reference": None, "checkout_url": None, "transfer_id": None,
        "fingerprint": fingerprint(amount, currency, wish.method), "expires_at": at + START_LIFE, "created_at": at,
        "updated_at": at,
    }  # fmt: skip


def end_of(payment: Document) -> datetime:
    """When a pending one expires. Those of earlier versions do not say, and have as long as any other."""
    end: datetime = payment.get("expires_at") or payment["created_at"] + LIFE
    return end


def to_payment(document: Document) -> Payment:
    return Payment(
        id=document["_id"],
        user_id=document["user_id"],
        amount=Money(amount=document["amount"], currency=document["currency"]),
        method=document["method"],
        status=document["status"],
        reference=document["reference"],
        checkout_url=document["checkout_url"],
        transfer_id=document["transfer_id"],
        created_at=format_time(document["created_at"]),
        updated_at=format_time(document["updated_at"]),
        expires_at=format_time(end_of(document)) if document["status"] == "pending" else None,
    )
