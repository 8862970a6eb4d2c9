"""What can be done with the ledger: transfers, alone or as a part of a larger change, limits, and reading.

Invariants, whatever happens at once: debits equal credits; nobody owes more than their limit through a transfer, or
less than nothing; a hold is ended once; a key is one transfer. They are checked on what a transaction has read, and
what it has read cannot change before it commits: two that meet on an account are done one after the other, whichever
process they are in. Transfers that stand alone (so far only expiries: offers and payments move money as a part of more)
go together with others of the moment (`storage.batch`), so a hot account pays one transaction for many of them. A hold
may have an end of its own, `expires_at`: a job that is written with it releases what was not posted or voided until
then.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Sequence
from weakref import WeakValueDictionary

from contract.errors import ParleyError
from contract.money import TOTAL_MAX as BALANCE_MAX
from models.context import now
from models.jobs.actions import Jobs
from models.ledger.book import Book, Draft, to_balance
from models.ledger.document import Side, account_id, new_account, surplus, transfer_id
from models.ledger.store import LedgerStore, concerned
from ops import audit
from storage.batch import Batches
from storage.mongo import Database, Document, Transaction

EXPIRE = "hold.expire"


class Ledger:
    def __init__(self, store: LedgerStore, database: Database, jobs: Jobs) -> None:
        self._store = store
        self._database = database
        self._jobs = jobs
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._singles = Batches(self._transfer_many)

    # Changes

    async def apply(self, drafts: Sequence[Draft], tx: Transaction) -> tuple[list[Document], list[Document]]:
        """Does all of these transfers, or raises. Returns them, and their accounts as they are then.

        Behind them in the list come the transfers that moved what they overpaid to a credit balance.
        """
        book, outcomes = await self._apply(drafts, tx)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
        await self._save(book, tx)
        done = [outcome for outcome in outcomes if not isinstance(outcome, Exception)]
        return done + book.moves, book.concerned()

    async def transfer(self, draft: Draft) -> Document:
        """Does one transfer by itself, or finds that it was done before."""
        return await self._singles.submit(draft)

    async def _transfer_many(self, drafts: Sequence[Draft]) -> list[Document | Exception]:
        async def work(tx: Transaction) -> list[Document | Exception]:
            book, outcomes = await self._apply(drafts, tx)
            await self._save(book, tx)
            return outcomes

        return await self._database.transact(work)

    async def _save(self, book: Book, tx: Transaction) -> None:
        await self._store.save(book, tx)
        for transfer in book.transfers:
            if transfer["expires_at"] is not None:
                await self._jobs.add(EXPIRE, {"transfer_id": transfer["_id"]}, tx, transfer["expires_at"])

    async def _apply(self, drafts: Sequence[Draft], tx: Transaction) -> tuple[Book, list[Document | Exception]]:
        done = await self._store.transfers([draft.id for draft in drafts], tx)
        pending_ids = [draft.pending_id for draft in drafts if draft.pending_id is not None]
        holds = await self._store.transfers(pending_ids, tx)
        ends = await self._store.ends(pending_ids, tx)
        named = [account for draft in drafts for account in (draft.debit, draft.credit)]
        accounts = await self._store.accounts(concerned(named, holds.values()), tx)
        book = Book(accounts, now())
        outcomes: list[Document | Exception] = []
        for draft in drafts:
            try:
                outcomes.append(self._one(book, draft, done, holds, ends))
            except ParleyError as error:
                outcomes.append(error)
        return book, outcomes

    @staticmethod
    def _one(
        book: Book, draft: Draft, done: dict[str, Document], holds: dict[str, Document], ends: dict[str, Document]
    ) -> Document:
        known = done.get(draft.id)
        if known is not None:
            if known["fingerprint"] != draft.fingerprint:
                raise ParleyError("idempotency_mismatch")
            return known
        pending = None
        if draft.pending_id is not None:
            pending = holds.get(draft.pending_id)
            if pending is None:
                raise ParleyError("not_found", "There is no such hold.")
            if draft.pending_id in ends:
                raise ParleyError("hold_closed", details={"by": ends[draft.pending_id]["kind"]})
        made = done[draft.id] = book.apply(draft, pending)
        if made["kind"] == "pending":
            holds[made["_id"]] = made
        elif draft.pending_id is not None:
            ends[draft.pending_id] = made
        return made

    async def expire(self, identifier: str) -> Document | None:
        """Ends a hold whose time is over. None if it was posted or voided in time."""
        hold = (await self._store.transfers([identifier]))[identifier]
        draft = Draft(
            key=f"expire:{identifier}", kind="expire", code=hold["code"], by="system", pending_id=identifier,
            about=hold["about"],
        )  # fmt: skip
        try:
            return await self.transfer(draft)
        except ParleyError as error:
            if error.code == "hold_closed" and error.details is not None:  # it says what ended it
                return None
            raise

    async def mend(self, identifier: str, by: str) -> Document | None:
        """Moves what an account was overpaid by, before that was done with each transfer. None if it is not."""

        async def work(tx: Transaction) -> Document | None:
            account = await self.account(identifier, tx)
            if not surplus(account):
                return None
            (moved,), _ = await self.apply([to_balance(account, by)], tx)
            return moved

        async with self.turn([identifier]):
            return await self._database.transact(work)

    @contextlib.asynccontextmanager
    async def turn(self, accounts: Collection[str]) -> AsyncIterator[None]:
        """Transactions of this process that meet on an account take turns, instead of failing and trying again."""
        async with contextlib.AsyncExitStack() as stack:
            for account in sorted(set(accounts)):  # in one order, so that no two wait for each other
                lock = self._locks.get(account)
                if lock is None:
                    lock = self._locks[account] = asyncio.Lock()
                await stack.enter_async_context(lock)
            yield

    async def set_limit(self, owner_id: str, currency: str, limit: int, by: str, reason: str) -> tuple[Document, bool]:
        """(the account, whether that changed anything). A limit below what is owed only stops new debits."""
        assert 0 <= limit <= BALANCE_MAX
        identifier = account_id(owner_id, currency, "payable")

        async def work(tx: Transaction) -> tuple[Document, bool]:
            found = await self._store.accounts([identifier], tx)
            account = found[0] if found else new_account(identifier, now())
            if account["limit"] == limit:
                return account, False
            number = account["limits"] + 1
            change = {
                "_id": f"{identifier}:{number}", "account": identifier, "number": number, "before": account["limit"],
                "after": limit, "by": by, "reason": reason, "created_at": now(),
            }  # fmt: skip
            await self._store.set_limit(account, change, limit, tx)
            return {**account, "limit": limit, "limits": number}, True

        async with self.turn([identifier]):
            account, changed = await self._database.transact(work)
        if changed:
            audit.record("credit_limit_changed", user_id=owner_id, currency=currency, limit=limit, by=by)
        return account, changed

    # Reading

    async def account(self, identifier: str, tx: Transaction | None = None) -> Document:
        """One that nothing was booked on is there, and empty."""
        found = await self._store.accounts([identifier], tx)
        return found[0] if found else new_account(identifier, now())

    async def find(self, identifier: str) -> Document | None:
        return (await self._store.transfers([identifier])).get(identifier)

    async def find_by_key(self, key: str, tx: Transaction) -> Document | None:
        identifier = transfer_id(key)
        return (await self._store.transfers([identifier], tx)).get(identifier)

    async def ends(self, pending_ids: Collection[str], tx: Transaction) -> dict[str, Document]:
        """What ended these holds, by the hold's id."""
        return await self._store.ends(pending_ids, tx)

    async def corrections(self, identifier: str, tx: Transaction) -> list[Document]:
        """What corrects this transfer."""
        return await self._store.corrections(identifier, tx)

    async def limits(self, identifier: str) -> list[Document]:
        return await self._store.limits(identifier)

    async def entries(self, identifier: str, after_seq: int, up_to_seq: int) -> list[tuple[Side, Document]]:
        """See LedgerStore.entries."""
        return await self._store.entries(identifier, after_seq, up_to_seq)
