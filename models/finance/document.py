"""The dispute document.

    {_id, transfer_id, user_id, against_id, amount, currency, reason, status: open | won | lost, hold_id, client_id,
     fingerprint, created_at, updated_at}

`_id` is made from the transfer's, so a transfer is disputed once.
"""

from __future__ import annotations

from contract.finance import Dispute
from contract.money import Money
from contract.types import format_time
from storage.mongo import Document


def dispute_id(transfer_id: str) -> str:
    return f"d_{transfer_id}"


def to_dispute(document: Document) -> Dispute:
    return Dispute(
        id=document["_id"],
        transfer_id=document["transfer_id"],
        user_id=document["user_id"],
        amount=Money(amount=document["amount"], currency=document["currency"]),
        reason=document["reason"],
        status=document["status"],
        hold_id=document["hold_id"],
        created_at=format_time(document["created_at"]),
        updated_at=format_time(document["updated_at"]),
    )
