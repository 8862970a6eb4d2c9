"""/finance: what a user owes and is owed, and the credit they have. The words are those of `models.ledger`."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from contract.money import TOTAL_MAX, Currency, Money
from contract.registry import Command, Endpoint, Event, Rate
from contract.types import Cursor, Id, Limit, Payload, Resource, Timestamp

Purpose = Literal["payable", "receivable"]
TransferKind = Literal["single", "pending", "post", "void", "expire"]


class Account(Resource):
    """`payable`: what the user owes, within `credit_limit`. `receivable`: what others owe the user; it has no limit.

    Balances in minor units: debits_posted - credits_posted is owed, debits_pending is held for accepted offers.
    """

    user_id: str
    currency: str
    purpose: Purpose
    credit_limit: int
    debits_pending: int
    debits_posted: int
    credits_pending: int
    credits_posted: int
    available_credit: int


class Transfer(Resource):
    """It never changes. A `pending` one is ended by a `post`, a `void` or an `expire` that names it in `pending_id`.

    `about` says what it is for: offer_id, conversation_id.
    """

    id: str
    kind: TransferKind
    code: str
    amount: Money
    debit_user_id: str
    credit_user_id: str
    pending_id: str | None
    corrects_id: str | None
    about: dict[str, str]
    by: str
    note: str
    created_at: Timestamp


class Entry(Resource):
    """One line of a statement. `owed` and `held` are the account's after it, in minor units."""

    seq: int
    side: Literal["debit", "credit"]
    transfer: Transfer
    owed: int
    held: int


class AccountData(Resource):
    account: Account


class Statement(Resource):
    items: list[Entry]
    next_cursor: str | None


class CreditChanged(Resource):
    """`transfer` is null if the limit changed."""

    account: Account
    transfer: Transfer | None


class GetAccount(Payload):
    currency: Currency = "USD"
    purpose: Purpose = "payable"


class GetStatement(Payload, rename={"from_": "from"}):
    """Newest first. `from` and `to` are moments: from <= created_at < to."""

    currency: Currency = "USD"
    purpose: Purpose = "payable"
    from_: Timestamp | None = None
    to: Timestamp | None = None
    cursor: Cursor | None = None
    limit: Limit = 50


class SetCreditLimit(Payload):
    """`amount` in minor units. One below what is owed only stops new debits."""

    user_id: Id
    amount: Annotated[int, Meta(ge=0, le=TOTAL_MAX)]
    currency: Currency
    reason: Annotated[str, Meta(min_length=1, max_length=500)]


_READ = Rate(600, 60, 100)
ACCOUNT = Command("finance:account", "/finance", GetAccount, AccountData, _READ, "The caller's balances and credit.")
STATEMENT = Command(
    "finance:statement", "/finance", GetStatement, Statement, _READ, "The caller's entries with running balance."
)
CREDIT_CHANGED = Event(
    "finance:credit_changed", "/finance", CreditChanged, "A transfer moved one of the user's accounts, or their limit."
)

_FINANCE = "/api/v1/finance"
ACCOUNT_GET = Endpoint("GET", f"{_FINANCE}/account", ACCOUNT.doc, "finance", command=ACCOUNT, returns="account")
STATEMENT_GET = Endpoint("GET", f"{_FINANCE}/statement", STATEMENT.doc, "finance", command=STATEMENT)
CREDIT_LIMIT_PUT = Endpoint(
    "PUT", "/api/v1/admin/users/{user_id}/credit-limit",
    "Sets how much a user may owe in a currency; every change is kept with its reason.", "admin", SetCreditLimit,
    Account, errors=("forbidden", "not_found"),
)  # fmt: skip
