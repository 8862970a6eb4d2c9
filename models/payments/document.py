"""The payment document.

    {_id, user_id, amount, currency, method, status: pending | succeeded, reference, checkout_url, transfer_id,
     fingerprint, created_at, updated_at}

`_id` is made from the user and their client_id, so a repeat is the same payment.
"""

from __future__ import annotations

import hashlib

from pymongo import IndexModel

from contract.finance import Payment
from contract.money import Money
from contract.types import format_time
from storage.mongo import Document

INDEXES = {"payments": [IndexModel([("user_id", 1), ("created_at", -1)])]}


def payment_id(user_id: str, client_id: str) -> str:
    return f"p_{hashlib.sha256(f'{user_id}:{client_id}'.encode()).hexdigest()[:24]}"


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
    )
