"""Tells people that their accounts have moved: the one place, whatever moved them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from contract.finance import CREDIT_CHANGED, CreditChanged
from contract.rooms import user_room
from models.ledger.document import to_account, to_transfer
from realtime.publisher import Publisher
from storage.mongo import Document


async def tell_changed(
    publisher: Publisher, accounts: Iterable[Document], transfer: Document | None, moves: Sequence[Document] = ()
) -> None:  # fmt: skip
    """Each owner of their own account, as it is now. `transfer` None: its limit was changed.

    `moves`: what `transfer` overpaid, on its way to credit balances; the owner of one of these hears of its own move.
    """
    by_balance = {move["credit"]["account"]: move for move in moves}
    for account in accounts:
        if account["purpose"] != "clearing":
            told = by_balance.get(account["_id"], transfer)
            changed = CreditChanged(account=to_account(account), transfer=to_transfer(told) if told else None)
            await publisher.publish(CREDIT_CHANGED, [user_room(account["owner_id"])], changed)
