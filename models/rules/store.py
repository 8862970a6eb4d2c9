"""The rules collection."""

from __future__ import annotations

from models.rules.document import whole
from storage.mongo import Database, Document, Transaction


class RuleStore:
    def __init__(self, database: Database) -> None:
        self._rules = database.collection("offer_rules")

    async def of_seller(self, seller_id: str, tx: Transaction | None = None) -> list[Document]:
        found: list[Document] = await self._rules.find({"seller_id": seller_id}, session=tx).to_list(None)
        rules = [whole(rule) for rule in found]
        return sorted(rules, key=lambda rule: (rule["currency"], rule["sku"] or "", rule["title"] or ""))

    async def any_enabled(self, seller_id: str, tx: Transaction) -> bool:
        query = {"seller_id": seller_id, "enabled": True}
        return await self._rules.find_one(query, {"_id": 1}, session=tx) is not None

    async def put(self, document: Document, tx: Transaction) -> None:
        await self._rules.replace_one({"_id": document["_id"]}, document, upsert=True, session=tx)

    async def delete(self, seller_id: str, rule_id: str) -> bool:
        return bool((await self._rules.delete_one({"_id": rule_id, "seller_id": seller_id})).deleted_count)
