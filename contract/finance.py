"""/finance: what a user owes and is owed, and the credit they have. The words are those of `models.ledger`."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from contract.money import TOTAL_MAX, Currency, Money, PositiveAmount, PositiveMoney
from contract.registry import ADMINISTRATOR, USER, Event, Operation, Rate, Route
from contract.text import opaque, text
from contract.types import ClientId, Cursor, Id, Limit, Payload, Resource, Timestamp

Purpose = Literal["payable", "receivable", "credit_balance"]
TransferKind = Literal["single", "pending", "post", "void", "expire"]
PaymentStatus = Literal["pending", "succeeded", "expired"]
DisputeStatus = Literal["open", "won", "lost"]
Reason = Annotated[str, text(500)]


class Account(Resource):
    """`payable`: what the user owes, within `credit_limit`. `receivable`: what others owe the user; it has no limit.
    `credit_balance`: what the user has paid, or got back, beyond what they owed; it does not change `available_credit`.

    Balances in minor units: debits_posted - credits_posted is owed, debits_pending is held for accepted offers. Of a
    `credit_balance`, credits_posted - debits_posted is there to pay with.
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

    `about` says what it is for: offer_id, conversation_id. One whose `code` is `credit_balance` moves what the transfer
    in `about.transfer_id` paid or gave back beyond what was owed to the same user's credit balance.
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
    """One line of a statement. `owed` and `held` are the account's after it, in minor units; an `owed` below zero is
    what its owner is owed. On a `payable` it is below zero only until the next line, which moves that to the owner's
    credit balance in the same transaction.
    """

    seq: int
    side: Literal["debit", "credit"]
    transfer: Transfer
    owed: int
    held: int


class Payment(Resource):
    """What a user pays of what they owe. The ledger moves when the provider has confirmed: then `transfer_id` is there.

    `reference` is the provider's name for it, `checkout_url` where the user completes it, if that is a page.
    A `pending` one counts as paid until `expires_at`, and is `expired` afterwards; money that arrives later is booked
    all the same, and then it is `succeeded`.
    """

    id: str
    user_id: str
    amount: Money
    method: str
    status: PaymentStatus
    reference: str | None
    checkout_url: str | None
    transfer_id: str | None
    created_at: Timestamp
    updated_at: Timestamp
    expires_at: Timestamp | None


class Dispute(Resource):
    """A buyer's objection to what was taken. While it is `open`, `amount` is held back from the seller."""

    id: str
    transfer_id: str
    user_id: str
    amount: Money
    reason: str
    status: DisputeStatus
    hold_id: str
    created_at: Timestamp
    updated_at: Timestamp


class AccountData(Resource):
    account: Account


class Statement(Resource):
    items: list[Entry]
    next_cursor: str | None


class CreditChanged(Resource):
    """`transfer` is null if the limit changed."""

    account: Account
    transfer: Transfer | None


class PaymentData(Resource):
    payment: Payment
    duplicate: bool | UnsetType = UNSET


class TransferData(Resource):
    transfer: Transfer
    duplicate: bool | UnsetType = UNSET


class DisputeData(Resource):
    dispute: Dispute
    duplicate: bool | UnsetType = UNSET


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


class Pay(Payload):
    """`method` names a payment provider, or is `balance`: then it is paid from the credit balance at once.

    At most what is owed can be paid, less what pending payments pay already: `amount_exceeded` says how much that is
    (`available`), and why: `owed`, `pending`, `pending_until` and, for `balance`, `balance`.
    """

    client_id: ClientId
    amount: PositiveMoney
    method: Annotated[str, opaque(32, "a payment provider")]


class Refund(Payload):
    """`transfer_id`: a `post` that the caller was paid by. Without `amount`, all that is left of it."""

    transfer_id: Id
    client_id: ClientId
    amount: PositiveAmount | None = None
    reason: Reason | None = None


class OpenDispute(Payload):
    """`transfer_id`: a `post` that the caller paid by."""

    transfer_id: Id
    client_id: ClientId
    reason: Reason


class ResolveDispute(Payload):
    """`won`: the buyer is right, and gets the amount back."""

    dispute_id: Id
    outcome: Literal["won", "lost"]


class PaymentTarget(Payload):
    payment_id: Id


class SetCreditLimit(Payload):
    """`amount` in minor units. One below what is owed only stops new debits."""

    user_id: Id
    amount: Annotated[int, Meta(ge=0, le=TOTAL_MAX)]
    currency: Currency
    reason: Reason


_READ = Rate(600, 60, 100)
_MONEY = Rate(60, 60, 20, shared=True)
_FINANCE = "/api/v1/finance"
ACCOUNT = Operation(
    "finance:account",
    GetAccount,
    AccountData,
    USER,
    _READ,
    "The caller's balances and credit.",
    namespace="/finance",
    routes=(Route("GET", f"{_FINANCE}/account", "finance", returns="account"),),
)
STATEMENT = Operation(
    "finance:statement",
    GetStatement,
    Statement,
    USER,
    _READ,
    "The caller's entries with running balance.",
    namespace="/finance",
    routes=(Route("GET", f"{_FINANCE}/statement", "finance"),),
)
PAY = Operation(
    "finance:pay",
    Pay,
    PaymentData,
    USER,
    _MONEY,
    "Begins to pay what the caller owes; `finance:payment` tells how it went.",
    ("amount_exceeded", "too_many_pending", "idempotency_mismatch", "conflict"),
    namespace="/finance",
    routes=(Route("POST", f"{_FINANCE}/payments", "finance", returns="payment", status=201),),
)
REFUND = Operation(
    "finance:refund",
    Refund,
    TransferData,
    USER,
    _MONEY,
    "Gives back what the caller was paid, or a part of it, as a new transfer.",
    ("not_found", "forbidden", "amount_exceeded", "idempotency_mismatch", "conflict"),
    namespace="/finance",
    routes=(Route("POST", f"{_FINANCE}/refunds", "finance", returns="transfer", status=201),),
)
DISPUTE = Operation(
    "finance:dispute",
    OpenDispute,
    DisputeData,
    USER,
    _MONEY,
    "Objects to a payment of the caller's: what is left of it is held back until an administrator decides.",
    ("not_found", "forbidden", "amount_exceeded", "idempotency_mismatch", "conflict"),
    namespace="/finance",
    routes=(Route("POST", f"{_FINANCE}/disputes", "finance", returns="dispute", status=201),),
)
PAYMENT_EVENT = Event(
    "finance:payment", "/finance", PaymentData, "A payment of the user's has gone through, or has expired."
)
DISPUTE_EVENT = Event(
    "finance:dispute", "/finance", DisputeData, "A dispute of the user's, or against them, is new or decided."
)
CREDIT_CHANGED = Event(
    "finance:credit_changed", "/finance", CreditChanged, "A transfer moved one of the user's accounts, or their limit."
)

RESOLVE_DISPUTE = Operation(
    "admin:resolve_dispute",
    ResolveDispute,
    Dispute,
    ADMINISTRATOR,
    _READ,
    "Decides a dispute.",
    ("not_found", "hold_closed"),
    routes=(Route("POST", "/api/v1/admin/disputes/{dispute_id}/resolve", "admin"),),
)
CONFIRM_PAYMENT = Operation(
    "admin:confirm_payment",
    PaymentTarget,
    Payment,
    ADMINISTRATOR,
    _READ,
    "An operator says that the money of a console payment is there.",
    ("not_found",),
    routes=(Route("POST", "/api/v1/admin/payments/{payment_id}/confirm", "admin"),),
)
SET_CREDIT_LIMIT = Operation(
    "admin:set_credit_limit",
    SetCreditLimit,
    Account,
    ADMINISTRATOR,
    _READ,
    "Sets how much a user may owe in a currency; every change is kept with its reason.",
    ("not_found",),
    routes=(Route("PUT", "/api/v1/admin/users/{user_id}/credit-limit", "admin"),),
)
