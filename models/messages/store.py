"""The messages collection. Ranges by seq have both bounds: the embedded database does not push a limit down."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal

from pymongo.errors import BulkWriteError

from models.messages.document import message_id, words
from storage.batch import Batches
from storage.mongo import Database, Document

Inserted = Literal["inserted", "seq_taken", "client_id_taken"]

_VIEW = {"words": 0}
_DUPLICATE = 11000


class MessageStore:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._messages = database.collection("messages")
        self._inserts = Batches(self._insert_batch)

    async def insert(self, document: Document) -> Inserted:
        """Durable when it returns; goes together with other inserts of the moment."""
        return await self._inserts.submit(document)

    async def _insert_batch(self, documents: Sequence[Document]) -> list[Inserted]:
        outcomes: list[Inserted] = ["inserted"] * len(documents)
        try:
            await self._messages.insert_many(list(documents), ordered=False)
        except BulkWriteError as error:
            if error.details["writeConcernErrors"]:
                raise  # applied, but perhaps not durable: nobody may be told that it is
            for failure in error.details["writeErrors"]:
                if failure["code"] != _DUPLICATE:
                    raise
                taken = "client_id" in failure.get("keyPattern", {})
                outcomes[failure["index"]] = "client_id_taken" if taken else "seq_taken"
        return outcomes

    async def find(self, identifier: str) -> Document | None:
        found: Document | None = await self._messages.find_one({"_id": identifier}, _VIEW)
        return found

    async def find_many(self, identifiers: Iterable[str]) -> list[Document]:
        found: list[Document] = await self._messages.find({"_id": {"$in": list(identifiers)}}, _VIEW).to_list(None)
        return found

    async def find_sent(self, sender_id: str, client_id: str) -> Document | None:
        query = {"sender_id": sender_id, "client_id": client_id}
        found: Document | None = await self._messages.find_one(query, _VIEW)
        return found

    async def range(self, conversation_id: str, after_seq: int, up_to_seq: int) -> list[Document]:
        """Messages with after_seq < seq <= up_to_seq, rising."""
        query = {"conversation_id": conversation_id, "seq": {"$gt": after_seq, "$lte": up_to_seq}}
        found: list[Document] = await self._messages.find(query, _VIEW).to_list(None)
        found.sort(key=lambda document: document["seq"])
        return found

    async def exist_at(self, places: dict[str, int]) -> set[str]:
        """Which of these conversations have a message at that seq: one call for many."""
        ids = [message_id(conversation_id, seq) for conversation_id, seq in places.items()]
        found = await self._messages.find({"_id": {"$in": ids}}, {"conversation_id": 1}).to_list(None)
        return {document["conversation_id"] for document in found}

    async def changed_since(self, conversation_id: str, since: datetime) -> list[Document]:
        query = {"conversation_id": conversation_id, "changed_at": {"$gte": since}}
        found: list[Document] = await self._messages.find(query, _VIEW).to_list(None)
        found.sort(key=lambda document: document["seq"])
        return found

    async def count_own(self, conversation_id: str, user_id: str, after_seq: int, up_to_seq: int) -> int:
        query = {"conversation_id": conversation_id, "seq": {"$gt": after_seq, "$lte": up_to_seq}}
        found = await self._messages.find(query, {"sender_id": 1}).to_list(None)
        return sum(document["sender_id"] == user_id for document in found)

    async def replace(self, before: Document, fields: dict[str, Any], at: datetime) -> Document | None:
        """Compare and set on `version`. The new document, or None if someone was faster."""
        fields = {**fields, "version": before["version"] + 1, "changed_at": at}
        stored = {**fields, "words": words(fields["text"])} if "text" in fields else fields
        result = await self._messages.update_one({"_id": before["_id"], "version": before["version"]}, {"$set": stored})
        return {**before, **fields} if result.modified_count else None

    async def with_word(self, conversation_id: str, word: str) -> list[Document]:
        """(seq, words, created_at) of messages that have a word beginning so. Callers check the hits."""
        query = {"conversation_id": conversation_id, "words": self._database.array_range(word, word + "\U0010ffff")}
        found: list[Document] = await self._messages.find(
            query, {"conversation_id": 1, "seq": 1, "words": 1, "created_at": 1}
        ).to_list(None)
        return found
