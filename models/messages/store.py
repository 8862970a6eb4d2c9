"""The messages and their words. Ranges have both bounds: the embedded database does not push a limit down."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal

from pymongo import UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

from models.messages.document import BLOCK, place, sent_key, split_id, words
from storage.batch import Batches
from storage.mongo import Database, Document, Transaction

Refusal = Literal["seq_taken", "client_id_taken"]

_DUPLICATE = 11000


class SeqTaken(Exception):
    """Another message has that place."""


class ClientIdTaken(Exception):
    """Its sender used that client_id before."""


UPSERTS_MAX = 5
# No word: marks the blocks that name changed messages.
CHANGED = "\0changed"


class MessageStore:
    def __init__(self, database: Database) -> None:
        self._messages = database.collection("messages")
        self._appends = Batches(self._append_groups, size=len)

    async def append(self, documents: list[Document]) -> tuple[int, Refusal | None]:
        """Inserts messages that follow each other in one conversation; goes together with other appends of the moment.

        Returns how many of them are durable, from the first on, and why the next one is not.
        """
        return await self._appends.submit(documents)

    async def insert(self, document: Document, session: Transaction) -> None:
        """As a part of a larger change. Raises SeqTaken or ClientIdTaken, after which the change cannot go on."""
        try:
            await self._messages.insert_one(document, session=session)
        except DuplicateKeyError as error:
            raise (SeqTaken if "place" in (error.details or {}).get("keyPattern", {}) else ClientIdTaken) from error

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
                failure = _failure(error)
                if failure is None:  # applied, but perhaps not durable
                    outcomes[first:] = [error] * (len(groups) - first)
                    break
                index, refusal = failure
                while index >= len(groups[first]):
                    index -= len(groups[first])
                    first += 1
                outcomes[first] = (index, refusal) if refusal is not None else error
                first += 1
            except Exception as error:  # applied or not, nobody may be told that it was
                outcomes[first:] = [error] * (len(groups) - first)
                break
        return outcomes

    async def find(self, identifier: str) -> Document | None:
        return next(iter(await self.find_many([identifier])), None)

    async def find_many(self, identifiers: Iterable[str]) -> list[Document]:
        places = [place(*parts) for identifier in identifiers if (parts := split_id(identifier)) is not None]
        found: list[Document] = await self._messages.find({"place": {"$in": places}}).to_list(None)
        return found

    async def find_sent(self, sender_id: str, client_id: str) -> Document | None:
        found: Document | None = await self._messages.find_one({"_id": sent_key(sender_id, client_id)})
        return found

    async def range(self, conversation_id: str, after_seq: int, up_to_seq: int) -> list[Document]:
        """Messages with after_seq < seq <= up_to_seq, rising."""
        query = {"place": {"$gt": place(conversation_id, after_seq), "$lte": place(conversation_id, up_to_seq)}}
        found: list[Document] = await self._messages.find(query).to_list(None)
        found.sort(key=lambda document: document["seq"])
        return found

    async def exist_at(self, places: dict[str, int]) -> set[str]:
        """Which of these conversations have a message at that seq: one call for many."""
        wanted = [place(conversation_id, seq) for conversation_id, seq in places.items()]
        found = await self._messages.find({"place": {"$in": wanted}}, {"conversation_id": 1}).to_list(None)
        return {document["conversation_id"] for document in found}

    async def changed_since(self, conversation_id: str, since: datetime) -> list[Document]:
        query = {"conversation_id": conversation_id, "changed_at": {"$gte": since}}
        found: list[Document] = await self._messages.find(query).to_list(None)
        found.sort(key=lambda document: document["seq"])
        return found

    async def count_own(self, conversation_id: str, user_id: str, after_seq: int, up_to_seq: int) -> int:
        query = {"place": {"$gt": place(conversation_id, after_seq), "$lte": place(conversation_id, up_to_seq)}}
        found = await self._messages.find(query, {"sender_id": 1}).to_list(None)
        return sum(document["sender_id"] == user_id for document in found)

    async def replace(self, before: Document, fields: dict[str, Any], at: datetime) -> Document | None:
        """Compare and set on `version`. The new document, or None if someone was faster."""
        fields = {**fields, "version": before["version"] + 1, "changed_at": at}
        result = await self._messages.update_one({"_id": before["_id"], "version": before["version"]}, {"$set": fields})
        return {**before, **fields} if result.modified_count else None


class WordStore:
    """Which words were said where. Written behind the messages, so a search also looks at those beyond `stored_seq`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._blocks = database.collection("message_words")

    async def add(self, messages: Sequence[Document]) -> None:
        """Indexes messages; more than once does no harm."""
        blocks: dict[str, list[Document]] = defaultdict(list)
        for message in messages:
            if message["kind"] == "text":
                blocks[_block(message)].append(message)
        if blocks:
            await self._write([UpdateOne({"_id": key}, _adding(some), upsert=True) for key, some in blocks.items()])

    async def changed(self, message: Document) -> None:
        """It says something else from here on. Its new words are not added: a block must not grow with every edit."""
        update = {
            "$setOnInsert": {"conversation_id": message["conversation_id"]},
            "$addToSet": {"words": CHANGED, "changed": message["seq"]},
        }
        await self._write([UpdateOne({"_id": _block(message)}, update, upsert=True)])

    async def _write(self, updates: list[UpdateOne]) -> None:
        for attempt in range(UPSERTS_MAX):
            try:
                await self._blocks.bulk_write(updates, ordered=False)
                return
            except BulkWriteError as error:  # two who make the same block at once: one of them tries again
                failures = error.details["writeErrors"]
                if attempt + 1 == UPSERTS_MAX or any(failure["code"] != _DUPLICATE for failure in failures):
                    raise
                updates = [updates[failure["index"]] for failure in failures]

    async def with_word(self, conversation_id: str, word: str, edited: bool) -> tuple[list[Document], set[int]]:
        """(lines of blocks that have a word beginning so, seqs of all messages that say something else by now).

        `edited`: whether there are any of those.
        """
        matches = [self._database.array_range(word, word + "\U0010ffff"), *([CHANGED] if edited else [])]
        blocks = [
            block
            for match in matches
            for block in await self._blocks.find({"conversation_id": conversation_id, "words": match}).to_list(None)
        ]
        changed = {seq for block in blocks for seq in block.get("changed", ())}
        lines = {line["seq"]: line for block in blocks for line in block.get("lines", ())}
        return [line for seq, line in lines.items() if seq not in changed], changed


def _block(message: Document) -> str:
    return f"{message['conversation_id']}.{(message['seq'] - 1) // BLOCK}"


def _adding(messages: Sequence[Document]) -> Document:
    lines = [
        {"seq": message["seq"], "words": words(message["text"]), "created_at": message["created_at"]}
        for message in messages
    ]
    new = {word: None for line in lines for word in line["words"]}
    return {
        "$setOnInsert": {"conversation_id": messages[0]["conversation_id"]},
        "$addToSet": {"words": {"$each": list(new)}},
        "$push": {"lines": {"$each": lines}},
    }


def _failure(error: BulkWriteError) -> tuple[int, Refusal | None] | None:
    """(index of the document that stopped an ordered insert, why, if the reason is one of ours).

    None if it was not the matter of one document.
    """
    failures = error.details["writeErrors"]
    if error.details["writeConcernErrors"] or not failures:
        return None
    failure = failures[0]
    if failure["code"] != _DUPLICATE:
        return failure["index"], None
    return failure["index"], "seq_taken" if "place" in failure.get("keyPattern", {}) else "client_id_taken"
