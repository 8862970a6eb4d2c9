"""The ledger's collections. All writes are part of a transaction that read what they rest on."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from pymongo import UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

from models.ledger.book import Book
from models.ledger.document import BALANCES, Side, balance_of
from storage.mongo import Again, Database, Document, Transaction

_SIDES: tuple[Side, Side] = ("debit", "credit")


class LedgerStore:
    def __init__(self, database: Database) -> None:
        self._accounts = database.collection("ledger_accounts")
        self._transfers = database.collection("ledger_transfers")
        self._limits = database.collection("ledger_limits")

    # In a transaction

    async def accounts(self, identifiers: Collection[str], tx: Transaction | None = None) -> list[Document]:
        found: list[Document] = await self._accounts.find({"_id": {"$in": list(identifiers)}}, session=tx).to_list(None)
        return found

    async def transfers(self, identifiers: Collection[str], tx: Transaction | None = None) -> dict[str, Document]:
        if not identifiers:
            return {}
        query = {"_id": {"$in": list(identifiers)}}
        return {found["_id"]: found for found in await self._transfers.find(query, session=tx).to_list(None)}

    async def ends(self, pending_ids: Collection[str], tx: Transaction | None = None) -> dict[str, Document]:
        """What ended these holds, by the hold's id."""
        if not pending_ids:
            return {}
        query = {"pending_id": {"$in": list(pending_ids)}}
        found = await self._transfers.find(query, session=tx).to_list(None)
        return {end["pending_id"]: end for end in found}

    async def corrections(self, transfer_id: str, tx: Transaction | None = None) -> list[Document]:
        found: list[Document] = await self._transfers.find({"corrects_id": transfer_id}, session=tx).to_list(None)
        return found

    async def save(self, book: Book, tx: Transaction) -> None:
        """Writes what was applied to the book. Raises Again if its accounts are not as the book had read them."""
        if not book.transfers:
            return
        updates = []
        fresh = []
        for identifier, account in book.accounts.items():
            stored = book.stored.get(identifier)
            if stored is None:
                fresh.append(account)
            elif stored != account["seq"]:
                change = {name: account[name] for name in (*BALANCES, "seq", "head", "updated_at")}
                updates.append(UpdateOne({"_id": identifier, "seq": stored}, {"$set": change}))
        try:
            if fresh:
                await self._accounts.insert_many(fresh, session=tx)
            if updates and (await self._accounts.bulk_write(updates, session=tx)).matched_count != len(updates):
                raise Again
            await self._transfers.insert_many(book.transfers, session=tx)
        except BulkWriteError as error:
            failures = error.details["writeErrors"]
            if failures and failures[0]["code"] == 11000:  # someone was faster; the next look sees what they did
                raise Again from error
            raise

    async def set_limit(self, account: Document, change: Document, limit: int, tx: Transaction) -> None:
        """`change`: for the audit trail."""
        try:
            if account["seq"] == account["limits"] == 0:
                await self._accounts.update_one(
                    {"_id": account["_id"]}, {"$setOnInsert": account}, upsert=True, session=tx
                )
            await self._accounts.update_one(
                {"_id": account["_id"]}, {"$set": {"limit": limit}, "$inc": {"limits": 1}}, session=tx
            )
            await self._limits.insert_one(change, session=tx)
        except DuplicateKeyError as error:
            raise Again from error

    # Reading

    async def entries(self, account: str, after_seq: int, up_to_seq: int) -> list[tuple[Side, Document]]:
        """(which side of it the account is, the transfer) with after_seq < seq <= up_to_seq, falling."""
        found: list[tuple[int, Side, Document]] = []
        for side in _SIDES:
            query: dict[str, Any] = {
                f"{side}.account": account, f"{side}.seq": {"$gt": after_seq, "$lte": up_to_seq}
            }  # fmt: skip
            found += [(one[side]["seq"], side, one) for one in await self._transfers.find(query).to_list(None)]
        found.sort(key=lambda entry: entry[0], reverse=True)
        return [(side, transfer) for _, side, transfer in found]

    async def limits(self, account: str) -> list[Document]:
        """The changes of its limit, oldest first."""
        found: list[Document] = await self._limits.find({"account": account}).to_list(None)
        return sorted(found, key=lambda change: change["number"])

    async def account_ids(self) -> list[str]:
        return sorted([found["_id"] async for found in self._accounts.find({}, {"_id": 1})])

    async def count_transfers(self) -> int:
        count: int = await self._transfers.count_documents({})
        return count


def concerned(draft_accounts: Iterable[str], pending: Iterable[Document]) -> set[str]:
    """The accounts of these, and the credit balances that what is overpaid would move to."""
    named = {account for account in draft_accounts if account} | {
        transfer[side]["account"] for transfer in pending for side in _SIDES
    }
    return named | {balance_of(account) for account in named if account.endswith(":payable")}
