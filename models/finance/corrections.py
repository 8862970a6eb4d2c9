"""Refunds and disputes: what was taken goes back by new transfers that name the one they correct.

What is left of a transfer is its amount less all corrections, those that are only held included. Two corrections at
once meet on the same accounts, so the second sees what the first has left.

A buyer who has paid already gets back more than they owe: the ledger moves the rest to their credit balance in the same
transaction (models/ledger/book.py). Those are the `moves` here.
"""

from __future__ import annotations

from contract import finance as contract
from contract.errors import ParleyError
from contract.rooms import user_room
from models.context import Actions, Context, fingerprint, now
from models.finance.document import dispute_id, to_dispute
from models.finance.store import DisputeStore
from models.ledger.actions import Ledger
from models.ledger.book import Draft
from models.ledger.document import owner_of, to_transfer
from models.ledger.telling import tell_changed
from realtime.publisher import Publisher
from storage.mongo import Database, Document, Transaction


class Corrections:
    def __init__(self, store: DisputeStore, database: Database, ledger: Ledger, publisher: Publisher) -> None:
        self._store = store
        self._database = database
        self._ledger = ledger
        self._publisher = publisher

    def actions(self) -> Actions:
        return {
            contract.REFUND: self.refund,
            contract.DISPUTE: self.dispute,
            contract.RESOLVE_DISPUTE: self.resolve,
        }

    async def refund(self, context: Context, payload: contract.Refund) -> contract.TransferData:
        original = await self._paid(payload.transfer_id)
        if owner_of(original["credit"]["account"]) != context.user_id:
            raise ParleyError("forbidden", "Only who was paid can give back.")
        key = f"refund:{context.user_id}:{payload.client_id}"
        about = {**original["about"], "wish": fingerprint(payload.transfer_id, payload.amount)}

        async def work(tx: Transaction) -> tuple[list[Document], list[Document], bool]:
            done = await self._ledger.find_by_key(key, tx)
            if done is not None:
                if done["about"].get("wish") != about["wish"]:
                    raise ParleyError("idempotency_mismatch")
                return [done], [], True
            left = await self._left(original, tx)
            amount = left if payload.amount is None else payload.amount
            if not 0 < amount <= left:
                raise ParleyError("amount_exceeded", details={"available": left, "currency": original["currency"]})
            draft = _back(original, key, "single", "refund", context.user_id, amount, about, payload.reason or "")
            return *await self._ledger.apply([draft], tx), False

        async with self._ledger.turn(_accounts(original)):
            (transfer, *moves), accounts, repeated = await self._database.transact(work)
        await tell_changed(self._publisher, accounts, transfer, moves)
        data = contract.TransferData(transfer=to_transfer(transfer))
        if repeated:
            data.duplicate = True
        return data

    async def dispute(self, context: Context, payload: contract.OpenDispute) -> contract.DisputeData:
        original = await self._paid(payload.transfer_id)
        if owner_of(original["debit"]["account"]) != context.user_id:
            raise ParleyError("forbidden", "Only who paid can object.")
        identifier, print_ = dispute_id(original["_id"]), fingerprint(payload.reason)

        async def work(tx: Transaction) -> tuple[Document, list[Document], list[Document]]:
            known = await self._store.find(identifier, tx)
            if known is not None:
                if known["client_id"] != payload.client_id:
                    raise ParleyError("conflict", "This was disputed before.", details={"dispute_id": identifier})
                if known["fingerprint"] != print_:
                    raise ParleyError("idempotency_mismatch")
                return known, [], []
            left = await self._left(original, tx)
            if left <= 0:
                raise ParleyError("amount_exceeded", details={"available": 0, "currency": original["currency"]})
            by, about = context.user_id, {**original["about"], "dispute_id": identifier}
            draft = _back(original, identifier, "pending", "dispute", by, left, about, payload.reason)
            transfers, accounts = await self._ledger.apply([draft], tx)
            at = now()
            made: Document = {
                "_id": identifier, "transfer_id": original["_id"], "user_id": by,
                "against_id": owner_of(original["credit"]["account"]), "amount": left,
                "currency": original["currency"], "reason": payload.reason, "status": "open",
                "hold_id": transfers[0]["_id"],
                "client_id": payload.client_id, "fingerprint": print_, "created_at": at, "updated_at": at,
            }  # fmt: skip
            await self._store.insert(made, tx)
            return made, transfers, accounts

        async with self._ledger.turn(_accounts(original)):
            dispute, transfers, accounts = await self._database.transact(work)
        data = contract.DisputeData(dispute=to_dispute(dispute))
        if not transfers:
            data.duplicate = True
            return data
        await tell_changed(self._publisher, accounts, transfers[0], transfers[1:])
        await self._tell_dispute(dispute, context.origin)
        return data

    async def resolve(self, context: Context, payload: contract.ResolveDispute) -> contract.Dispute:
        async def work(tx: Transaction) -> tuple[Document, list[Document], list[Document]]:
            dispute = await self._store.find(payload.dispute_id, tx)
            if dispute is None:
                raise ParleyError("not_found", "There is no such dispute.")
            if dispute["status"] == payload.outcome:
                return dispute, [], []
            draft = Draft(
                key=f"resolve:{dispute['_id']}", kind="post" if payload.outcome == "won" else "void", code="dispute",
                by=context.user_id, pending_id=dispute["hold_id"], about={"dispute_id": dispute["_id"]},
            )  # fmt: skip
            if dispute["status"] != "open":
                raise ParleyError("hold_closed", f"The dispute was {dispute['status']}.")
            transfers, accounts = await self._ledger.apply([draft], tx)
            fields = {"status": payload.outcome, "updated_at": now()}
            await self._store.change(dispute["_id"], fields, tx)
            return {**dispute, **fields}, transfers, accounts

        dispute, transfers, accounts = await self._database.transact(work)
        if transfers:
            await tell_changed(self._publisher, accounts, transfers[0], transfers[1:])
            await self._tell_dispute(dispute, None)
        return to_dispute(dispute)

    async def _paid(self, transfer_id: str) -> Document:
        """What a buyer's credit was taken by."""
        transfer = await self._ledger.find(transfer_id)
        if transfer is None:
            raise ParleyError("not_found", "There is no such transfer.")
        if (transfer["kind"], transfer["code"]) != ("post", "offer"):
            raise ParleyError("forbidden", "Only what a fulfilled offer took can be given back.")
        return transfer

    async def _left(self, original: Document, tx: Transaction) -> int:
        corrections = await self._ledger.corrections(original["_id"], tx)
        ends = await self._ledger.ends([one["_id"] for one in corrections if one["kind"] == "pending"], tx)
        given = 0
        for one in corrections:
            end = ends.get(one["_id"])
            given += one["amount"] if end is None else end["amount"] if end["kind"] == "post" else 0
        left: int = original["amount"] - given
        return left

    async def _tell_dispute(self, dispute: Document, origin: str | None) -> None:
        rooms = [user_room(dispute["user_id"]), user_room(dispute["against_id"])]
        data = contract.DisputeData(dispute=to_dispute(dispute))
        await self._publisher.publish(contract.DISPUTE_EVENT, rooms, data, origin=origin)


def _accounts(original: Document) -> tuple[str, str]:
    return original["debit"]["account"], original["credit"]["account"]


def _back(
    original: Document, key: str, kind: str, code: str, by: str, amount: int, about: dict[str, str], note: str
) -> Draft:  # fmt: skip
    """A transfer the other way."""
    debit, credit = original["credit"]["account"], original["debit"]["account"]
    return Draft(
        key=key, kind=kind, code=code, by=by, debit=debit, credit=credit, amount=amount,  # type: ignore[arg-type]
        corrects_id=original["_id"], about=about, note=note,
    )  # fmt: skip
