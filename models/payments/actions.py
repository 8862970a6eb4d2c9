"""Paying what one owes. The ledger moves when the provider has confirmed, and exactly once.

    pending --confirmed--> succeeded, with its transfer in the same transaction

A confirmation may come as often as it likes, to whichever process: the payment's state and the transfer's key, which is
made from the payment's id, let there be one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contract import finance as contract
from contract.errors import ParleyError, invalid
from contract.rooms import user_room
from models.context import Context, fingerprint, now, require_administrator
from models.jobs.actions import Jobs
from models.ledger.actions import Ledger
from models.ledger.book import Draft
from models.ledger.document import account_id
from models.ledger.telling import tell_changed
from models.payments.document import payment_id, to_payment
from models.payments.store import PaymentStore
from providers.payments import Charge, PaymentProvider
from realtime.publisher import Publisher
from storage.mongo import Again, Database, Document, Transaction

CODE = "payment"
CONFIRM = "payment.confirm"


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

    async def pay(self, context: Context, payload: contract.Pay) -> contract.PaymentData:
        provider = self._providers.get(payload.method)
        if provider is None:
            raise invalid("method", f"is none of {', '.join(sorted(self._providers))}")
        amount, currency = payload.amount.amount, payload.amount.currency
        identifier, print_ = (
            payment_id(context.user_id, payload.client_id),
            fingerprint(amount, currency, payload.method),
        )
        payment = await self._store.find(identifier)
        known = payment is not None
        if payment is None:
            await self._check_owed(context.user_id, amount, currency)
            at = now()
            payment = {
                "_id": identifier, "user_id": context.user_id, "amount": amount, "currency": currency,
                "method": payload.method, "status": "pending", "reference": None, "checkout_url": None,
                "transfer_id": None, "fingerprint": print_, "created_at": at, "updated_at": at,
            }  # fmt: skip
            if not await self._store.insert(payment):
                payment = await self._require(identifier)  # the same, at the same moment
        if payment["fingerprint"] != print_:
            raise ParleyError("idempotency_mismatch")
        if payment["reference"] is None:  # the first time, or the first time came no further
            started = await provider.start(Charge(identifier, context.user_id, amount, currency))
            fields = {"reference": started.reference, "checkout_url": started.checkout_url}
            payment = await self._store.change(payment, fields) or await self._require(identifier)
        data = contract.PaymentData(payment=to_payment(payment))
        if known:
            data.duplicate = True
        return data

    async def _check_owed(self, user_id: str, amount: int, currency: str) -> None:
        account = await self._ledger.account(account_id(user_id, currency, "payable"))
        owed = max(0, account["debits_posted"] - account["credits_posted"])
        if amount > owed:
            raise ParleyError("amount_exceeded", details={"available": owed, "currency": currency})

    async def _require(self, identifier: str, session: Transaction | None = None) -> Document:
        payment = await self._store.find(identifier, session)
        if payment is None:
            raise ParleyError("not_found", "There is no such payment.")
        return payment

    # What providers say

    async def confirm(self, what: dict[str, Any]) -> None:
        """The job of a confirmation: {"payment_id", "by"}."""
        await self.succeeded(what["payment_id"], what["by"])

    async def expect_confirmation(self, identifier: str, by: str) -> None:
        """Writes the confirmation down, for whichever worker comes first."""

        async def work(session: Transaction) -> None:
            _check_console(await self._require(identifier, session))
            await self._jobs.add(CONFIRM, {"payment_id": identifier, "by": by}, session)

        await self._database.transact(work)
        await self._jobs.announce()

    async def succeeded(self, identifier: str, by: str) -> contract.Payment:
        """The money is there."""
        payment = await self._require(identifier)
        user_account = account_id(payment["user_id"], payment["currency"], "payable")
        clearing = account_id(f"provider.{payment['method']}", payment["currency"], "clearing")
        wanted = Draft(
            key=f"{CODE}:{identifier}", kind="single", code=CODE, by=by, debit=clearing, credit=user_account,
            amount=payment["amount"], about={"payment_id": identifier},
        )  # fmt: skip

        async def work(session: Transaction) -> tuple[Document, list[Document], Document | None]:
            current = await self._require(identifier, session)
            if current["status"] == "succeeded":
                return current, [], None
            (transfer,), accounts = await self._ledger.apply([wanted], session)
            fields = {"status": "succeeded", "transfer_id": transfer["_id"], "updated_at": now()}
            changed = await self._store.change(current, fields, session)
            if changed is None:
                raise Again
            return changed, accounts, transfer

        async with self._ledger.turn([user_account, clearing]):
            payment, accounts, transfer = await self._database.transact(work)
        view = to_payment(payment)
        if transfer is not None:
            told = contract.PaymentData(payment=view)
            await self._publisher.publish(contract.PAYMENT_EVENT, [user_room(payment["user_id"])], told)
            await tell_changed(self._publisher, accounts, transfer)
        return view

    async def confirm_by_operator(self, context: Context, payload: contract.PaymentTarget) -> contract.Payment:
        require_administrator(context)
        _check_console(await self._require(payload.payment_id))
        return await self.succeeded(payload.payment_id, context.user_id)


def _check_console(payment: Document) -> None:
    if payment["method"] != "console":
        raise ParleyError("forbidden", "Only its provider can confirm this payment.")
