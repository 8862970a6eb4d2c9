"""Tells people that their accounts have moved: the one place, whatever moved them."""

from __future__ import annotations

from collections.abc import Iterable

from contract.finance import CREDIT_CHANGED, CreditChanged
from contract.rooms import user_room
from models.ledger.document import to_account, to_transfer
from realtime.publisher import Publisher
from storage.mongo import Document


async def tell_changed(publisher: Publisher, accounts: Iterable[Document], transfer: Document | None) -> None:
    """Each owner of their own account, as it is now. `transfer` None: its limit was changed."""
    told = to_transfer(transfer) if transfer is not None else None
    for account in accounts:
        if account["purpose"] != "clearing":
            changed = CreditChanged(account=to_account(account), transfer=told)
            await publisher.publish(CREDIT_CHANGED, [user_room(account["owner_id"])], changed)
