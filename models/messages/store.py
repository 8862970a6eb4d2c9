"""The messages collection. Ranges by seq have both bounds: the embedded database does not push a limit down."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal

from pymongo.errors import BulkWriteError

from models.messages.document import message_id, words
from storage.batch import Batches
from storage.mongo import Database, Document

Refusal = Literal["seq_taken", "client_id_taken"]

_VIEW = {"words": 0}
_DUPLICATE = 11000


class MessageStore:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._messages = database.collection("messages")
        self._appends = Batches(self._append_groups, size=len)

    async def append(self, documents: list[Document]) -> tuple[int, Refusal | None]:
        """Inserts messages that follow each other in one conversation; goes together with other appends of the moment.

        Returns how many of them are durable, from the first on, and why the next one is not.
        """
        return await self._appends.submit(documents)

    async def _append_groups(self, groups: Sequence[list[Document]]) -> list[tuple[int, Refusal | None] | Exception]:
        """In order, so that a group has no gap: a refusal ends its group, and the groups after it are tried again."""
        outcomes: list[tuple[int, Refusal | None] | Exception] = [(len(group), None) for group in groups]
        first = 0
        while first < len(groups):
            documents = [document for group in groups[first:] for document in group]
            try:
                await self._messages.insert_many(documents, ordered=True)
                break
            except BulkWriteError as error:
                place, refusal = _refused(error)
                while place >= len(groups[first]):
                    place -= len(groups[first])
                    first += 1
                outcomes[first] = (place, refusal) if refusal is not None else error
                first += 1
                if refusal is None:  # not a matter of this one document: what came after it was not tried
                    outcomes[first:] = [error] * (len(groups) - first)
                    break
            except Exception as error:  # applied or not, nobody may be told that it was
                outcomes[first:] = [error] * (len(groups) - first)
                break
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


def _refused(error: BulkWriteError) -> tuple[int, Refusal | None]:
    """(index of the document that stopped an ordered insert, why); no reason if it is not one of ours."""
    failures = error.details["writeErrors"]
    if error.details["writeConcernErrors"] or not failures:
        return 0, None  # applied, but perhaps not durable
    failure = failures[0]
    if failure["code"] != _DUPLICATE:
        return failure["index"], None
    return failure["index"], "client_id_taken" if "client_id" in failure.get("keyPattern", {}) else "seq_taken"
