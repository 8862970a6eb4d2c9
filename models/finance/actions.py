"""What people can see of their accounts, and what administrators change of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from contract import finance as contract
from contract.errors import invalid
from contract.types import parse_time
from models.context import Actions, Context
from models.ledger.actions import Ledger
from models.ledger.document import account_id, to_account, to_entry
from models.ledger.telling import tell_changed
from models.paging import decode_cursor, encode_cursor
from models.users.actions import Users
from realtime.publisher import Publisher


class Finance:
    def __init__(self, ledger: Ledger, users: Users, publisher: Publisher) -> None:
        self._ledger = ledger
        self._users = users
        self._publisher = publisher

    def actions(self) -> Actions:
        return {
            contract.ACCOUNT: self.account,
            contract.STATEMENT: self.statement,
            contract.SET_CREDIT_LIMIT: self.set_credit_limit,
        }

    async def account(self, context: Context, payload: contract.GetAccount) -> contract.AccountData:
        account = await self._ledger.account(account_id(context.user_id, payload.currency, payload.purpose))
        return contract.AccountData(account=to_account(account))

    async def statement(self, context: Context, payload: contract.GetStatement) -> contract.Statement:
        identifier = account_id(context.user_id, payload.currency, payload.purpose)
        from_ = moment("from", payload.from_) if payload.from_ is not None else None
        to = moment("to", payload.to) if payload.to is not None else None
        first, up_to = await self.between(identifier, from_, to)
        if payload.cursor is not None:
            up_to = min(up_to, decode_cursor(payload.cursor, int) - 1)
        after = max(first, up_to - payload.limit)
        entries = await self._ledger.entries(identifier, after, up_to) if up_to > after else []
        return contract.Statement(
            items=[to_entry(side, transfer) for side, transfer in entries],
            next_cursor=encode_cursor(after + 1) if after > first else None,
        )

    async def between(self, identifier: str, from_: datetime | None, to: datetime | None) -> tuple[int, int]:
        """(after, up to) which of its entries an account has from <= moment < to."""
        last = (await self._ledger.account(identifier))["seq"]
        first = 0 if from_ is None else await self._count_before(identifier, from_, last)
        up_to = last if to is None else await self._count_before(identifier, to, last)
        return first, up_to

    async def _count_before(self, identifier: str, moment: datetime, last: int) -> int:
        """How many of the account's entries are older: their times rise with their numbers."""

        async def older(seq: int) -> bool:
            ((_, transfer),) = await self._ledger.entries(identifier, seq - 1, seq)
            return bool(transfer["created_at"] < moment)

        return await _count_while(older, last)

    async def expire(self, what: dict[str, Any]) -> None:
        """The job of a hold that ends by itself: {"transfer_id"}."""
        transfer = await self._ledger.expire(what["transfer_id"])
        if transfer is not None:
            accounts = [await self._ledger.account(transfer[side]["account"]) for side in ("debit", "credit")]
            await tell_changed(self._publisher, accounts, transfer)

    async def set_credit_limit(self, context: Context, payload: contract.SetCreditLimit) -> contract.Account:
        await self._users.get(payload.user_id)
        account, changed = await self._ledger.set_limit(
            payload.user_id, payload.currency, payload.amount, context.user_id, payload.reason
        )
        if changed:
            await tell_changed(self._publisher, [account], None)
        return to_account(account)


async def _count_while(true: Callable[[int], Awaitable[bool]], last: int) -> int:
    """How many numbers from 1 to `last` it is true of, if it is true of the first ones only."""
    low, high = 0, last
    while low < high:
        middle = (low + high + 1) // 2
        if await true(middle):
            low = middle
        else:
            high = middle - 1
    return low


def moment(name: str, text: str) -> datetime:
    try:
        return parse_time(text)
    except ValueError:
        raise invalid(name, "is not a moment that exists") from None
