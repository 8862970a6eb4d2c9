"""Paying what one owes. The ledger moves when the provider has confirmed, and exactly once.

    pending --confirmed--> succeeded, with its transfer in the same transaction
    pending --not completed in time--> expired --confirmed after all--> succeeded, likewise
    (from the credit balance) --> succeeded at once, likewise

A confirmation may come as often as it likes, to whichever process: the payment's state and the transfer's key, which is
made from the payment's id, let there be one. Money that has arrived is always booked: what is beyond what is owed by
then becomes the user's credit balance (models/ledger/book.py).

So that nobody pays twice by mistake, a payment that is begun may be of what is owed less what the user's pending
payments are of; the transactions that look at this take turns (`PaymentStore.take_turn`). A pending payment does not
count for ever: it ends after START_LIFE if its provider never answered for it, after LIFE if nobody completed it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from contract import finance as contract
from contract.errors import ParleyError, invalid
from contract.rooms import user_room
from contract.types import format_time
from models.context import Actions, Context, now
from models.jobs.actions import Jobs
from models.ledger.actions import Ledger
from models.ledger.book import Draft
from models.ledger.document import account_id, spendable
from models.ledger.telling import tell_changed
from models.payments.document import LIFE, end_of, new_payment, to_payment
from models.payments.store import PaymentStore
from providers.payments import Charge, PaymentProvider
from realtime.publisher import Publisher
from storage.mongo import Again, Database, Document, Transaction

CODE = "payment"
CONFIRM = "payment.confirm"
EXPIRE = "payment.expire"
BALANCE = "balance"
PENDING_MAX = 20


@dataclass(frozen=True, slots=True)
class Booked:
    """A payment that has succeeded; without transfers if it had before."""

    payment: Document
    transfers: list[Document]
    accounts: list[Document]


class Payments:
    """`providers` by the names that clients give as `method`."""

    def __init__(
        self, store: PaymentStore, database: Database, ledger: Ledger, jobs: Jobs,
        providers: Mapping[str, PaymentProvider], publisher: Publisher,
    ) -> None:  # fmt: skip
        self._store = store
        self._database = database
        self._ledger = ledger
        self._jobs = jobs
        self._providers = providers
        self._publisher = publisher

    def actions(self) -> Actions:
        return {
            contract.PAY: self.pay,
            contract.CONFIRM_PAYMENT: self.confirm_by_operator,
        }

    async def pay(self, context: Context, payload: contract.Pay) -> contract.PaymentData:
        if payload.method != BALANCE and payload.method not in self._providers:
            raise invalid("method", f"is none of {', '.join(sorted([*self._providers, BALANCE]))}")
        wanted = new_payment(context.user_id, payload, now())

        async def work(tx: Transaction) -> tuple[Document, Booked | None]:
            known = await self._store.find(wanted["_id"], tx)
            if known is not None:
                return known, None
            await self._store.take_turn(context.user_id, tx)
            await self._check(wanted, tx)
            await self._store.insert(wanted, tx)
            if payload.method == BALANCE:
                booked = await self._book(wanted, context.user_id, tx)
                return booked.payment, booked
            await self._jobs.add(EXPIRE, {"payment_id": wanted["_id"]}, tx, wanted["expires_at"])
            return wanted, None

        async with self._ledger.turn([_payable(wanted)]):
            payment, booked = await self._database.transact(work)
        if payment["fingerprint"] != wanted["fingerprint"]:
            raise ParleyError("idempotency_mismatch")
        known = payment is not wanted and booked is None
        if booked is not None:
            await self._tell_booked(booked, context.origin)
        elif known and _lapsed(payment, now()):
            payment = await self._expire(payment["_id"])
        if payment["status"] == "pending" and payment["reference"] is None:  # the first time came no further
            payment = await self._start(payment)
        data = contract.PaymentData(payment=to_payment(payment))
        if known:
            data.duplicate = True
        return data

    async def _check(self, wanted: Document, tx: Transaction) -> None:
        """Whether so much can still be paid, and in this way."""
        at = now()
        found = await self._store.pending(wanted["user_id"], at - LIFE, tx)
        pending = [payment for payment in found if not _lapsed(payment, at)]
        if wanted["method"] != BALANCE and len(pending) >= PENDING_MAX:
            details = {"pending": len(pending), "max": PENDING_MAX}
            raise ParleyError("too_many_pending", details=details)
        account = await self._ledger.account(_payable(wanted), tx)
        coming = sum(payment["amount"] for payment in pending if payment["currency"] == wanted["currency"])
        owed = max(0, account["debits_posted"] - account["credits_posted"])
        left = max(0, owed - coming)
        why: dict[str, Any] = {"owed": owed, "pending": coming}
        if wanted["method"] == BALANCE:
            why["balance"] = spendable(await self._ledger.account(_source(wanted), tx))
        left = min(left, why.get("balance", left))
        if wanted["amount"] > left:
            ends = [end_of(payment) for payment in pending if payment["currency"] == wanted["currency"]]
            if ends:
                why["pending_until"] = format_time(min(ends))
            raise ParleyError("amount_exceeded", details={"available": left, "currency": wanted["currency"], **why})

    async def _start(self, payment: Document) -> Document:
        """If the provider fails, the payment stays as it is, and a repeat asks again."""
        charge = Charge(payment["_id"], payment["user_id"], payment["amount"], payment["currency"])
        started = await self._providers[payment["method"]].start(charge)
        end = payment["created_at"] + LIFE
        fields = {"reference": started.reference, "checkout_url": started.checkout_url, "expires_at": end}

        async def work(tx: Transaction) -> Document:
            current = await self._require(payment["_id"], tx)
            if current["status"] != "pending" or current["reference"] is not None:
                return current
            if _lapsed(current, now()):  # it counts no more, and another may have begun: it does not come back
                ended = {"reference": started.reference, "status": "expired", "updated_at": now()}
                return await self._change(current, ended, tx)
            await self._jobs.add(EXPIRE, {"payment_id": payment["_id"]}, tx, end)
            return await self._change(current, fields, tx)

        payment = await self._database.transact(work)
        if payment["status"] == "expired":
            await self._tell(payment, None)
        return payment

    async def _require(self, identifier: str, tx: Transaction | None = None) -> Document:
        payment = await self._store.find(identifier, tx)
        if payment is None:
            raise ParleyError("not_found", "There is no such payment.")
        return payment

    async def _change(self, payment: Document, fields: dict[str, Any], tx: Transaction) -> Document:
        changed = await self._store.change(payment, fields, tx)
        if changed is None:
            raise Again
        return changed

    # When nobody completes it

    async def expire(self, what: dict[str, Any]) -> None:
        """The job of a payment's end: {"payment_id"}."""
        await self._expire(what["payment_id"])

    async def _expire(self, identifier: str) -> Document:
        """The payment, which has expired now if it was pending and its time is over."""

        async def work(tx: Transaction) -> tuple[Document, bool]:
            current = await self._require(identifier, tx)
            if current["status"] != "pending" or not _lapsed(current, now()):
                return current, False
            return await self._change(current, {"status": "expired", "updated_at": now()}, tx), True

        payment, ended = await self._database.transact(work)
        if ended:
            await self._tell(payment, None)
        return payment

    # What providers say

    async def confirm(self, what: dict[str, Any]) -> None:
        """The job of a confirmation: {"payment_id", "by"}."""
        await self.succeeded(what["payment_id"], what["by"])

    async def expect_confirmation(self, identifier: str, by: str) -> None:
        """Writes the confirmation down, for whichever worker comes first."""

        async def work(tx: Transaction) -> None:
            _check_console(await self._require(identifier, tx))
            await self._jobs.add(CONFIRM, {"payment_id": identifier, "by": by}, tx)

        await self._database.transact(work)
        await self._jobs.announce()

    async def succeeded(self, identifier: str, by: str) -> contract.Payment:
        """The money is there."""
        payment = await self._require(identifier)

        async def work(tx: Transaction) -> Booked:
            current = await self._require(identifier, tx)
            if current["status"] == "succeeded":
                return Booked(current, [], [])
            return await self._book(current, by, tx)

        async with self._ledger.turn([_payable(payment), _source(payment)]):
            booked = await self._database.transact(work)
        if booked.transfers:
            await self._tell_booked(booked, None)
        return to_payment(booked.payment)

    async def _book(self, payment: Document, by: str, tx: Transaction) -> Booked:
        draft = Draft(
            key=f"{CODE}:{payment['_id']}", kind="single", code=CODE, by=by, debit=_source(payment),
            credit=_payable(payment), amount=payment["amount"], about={"payment_id": payment["_id"]},
        )  # fmt: skip
        transfers, accounts = await self._ledger.apply([draft], tx)
        fields = {"status": "succeeded", "transfer_id": transfers[0]["_id"], "updated_at": now()}
        return Booked(await self._change(payment, fields, tx), transfers, accounts)

    async def confirm_by_operator(self, context: Context, payload: contract.PaymentTarget) -> contract.Payment:
        _check_console(await self._require(payload.payment_id))
        return await self.succeeded(payload.payment_id, context.user_id)

    async def _tell_booked(self, booked: Booked, origin: str | None) -> None:
        await self._tell(booked.payment, origin)
        transfer, *moves = booked.transfers
        await tell_changed(self._publisher, booked.accounts, transfer, moves)

    async def _tell(self, payment: Document, origin: str | None) -> None:
        told = contract.PaymentData(payment=to_payment(payment))
        await self._publisher.publish(contract.PAYMENT_EVENT, [user_room(payment["user_id"])], told, origin=origin)


def _lapsed(payment: Document, at: datetime) -> bool:
    return end_of(payment) <= at


def _payable(payment: Document) -> str:
    return account_id(payment["user_id"], payment["currency"], "payable")


def _source(payment: Document) -> str:
    """Where the money comes from: what the provider has of ours, or the user's own credit balance."""
    if payment["method"] == BALANCE:
        return account_id(payment["user_id"], payment["currency"], "credit_balance")
    return account_id(f"provider.{payment['method']}", payment["currency"], "clearing")


def _check_console(payment: Document) -> None:
    if payment["method"] != "console":
        raise ParleyError("forbidden", "Only its provider can confirm this payment.")
