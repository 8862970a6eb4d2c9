"""The messages and their words. Ranges have both bounds: the embedded database does not push a limit down."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal

from pymongo import UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

from contract.errors import ParleyError
from models.messages.document import (
    FIRST_CHANGED,
    VERSION,
    adding,
    block_id,
    block_number,
    number_of,
    place,
    sent_key,
    split_id,
)
from storage.batch import Batches
from storage.mongo import Database, Document, Transaction

Refusal = Literal["seq_taken", "client_id_taken"]

_DUPLICATE = 11000


class SeqTaken(Exception):
    """Another message has that place."""


class ClientIdTaken(Exception):
    """Its sender used that client_id before."""


UPSERTS_MAX = 5
BLOCKS_AT_ONCE = 64
# Reads and writes of blocks for one call: enough for all that is ever moved at once, and for many who write the same.
ADDS_MAX = 100


class MessageStore:
    def __init__(self, database: Database) -> None:
        self._messages = database.collection("messages")
        self._appends = Batches(self._append_groups, size=len)

    async def append(self, documents: list[Document]) -> tuple[int, Refusal | None]:
        """Inserts messages that follow each other in one conversation; goes together with other appends of the moment.

        Returns how many of them are durable, from the first on, and why the next one is not.
        """
        return await self._appends.submit(documents)

    async def insert(self, document: Document, tx: Transaction) -> None:
        """As a part of a larger change. Raises SeqTaken or ClientIdTaken, after which the change cannot go on."""
        try:
            await self._messages.insert_one(document, session=tx)
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
    """Which words were said where. Written behind the messages, so a search also looks at those beyond `stored_seq`.

    Every write of a block raises its `revision`, and one that depends on what the block has names the revision it saw.
    On the embedded database an update costs as much as the block has tokens, and `$addToSet` their square: hence a read
    before, and as few writes as possible.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._blocks = database.collection("message_words")

    async def add(self, messages: Sequence[Document]) -> None:
        """Indexes messages that are not; a line that is there stays, for it may be younger than what is given here."""
        blocks: dict[str, list[Document]] = defaultdict(list)
        for message in messages:
            if message["kind"] == "text":
                blocks[block_id(message["conversation_id"], block_number(message["seq"]))].append(message)
        waiting = list(blocks)
        for _ in range(ADDS_MAX):
            if not waiting:
                return
            some = waiting[:BLOCKS_AT_ONCE]
            fields = {"words": 1, "revision": 1, "more": 1, "lines.seq": 1}
            seen = {found["_id"]: found for found in await self._find({"_id": {"$in": some}}, fields)}
            updates = {key: await adding(seen.get(key, {}), blocks[key]) for key in some}
            refused = await self._write(
                {key: _update(key, seen.get(key), update) for key, update in updates.items() if update is not None}
            )
            waiting = waiting[BLOCKS_AT_ONCE:] + refused
        raise ParleyError("conflict")

    async def mark(self, message: Document, mark: str, at: datetime) -> None:
        """This message is about to say something else: until `write` takes the mark away, search looks at it itself."""
        conversation_id, seq = message["conversation_id"], message["seq"]
        update = {
            "$setOnInsert": {"conversation_id": conversation_id, "version": VERSION},
            "$set": {"look": conversation_id},
            "$addToSet": {"changing": {"seq": seq, "mark": mark}},
            "$max": {"marked_at": at},
            "$inc": {"revision": 1},
        }
        key = block_id(conversation_id, block_number(seq))
        for attempt in range(UPSERTS_MAX):
            try:
                await self._blocks.update_one({"_id": key}, update, upsert=True)
                return
            except DuplicateKeyError:  # two who make the same block at once: one of them tries again
                if attempt + 1 == UPSERTS_MAX:
                    raise

    async def block(self, key: str) -> Document | None:
        """What `write` has to know of it."""
        return next(iter(await self._find({"_id": key}, {"revision": 1, "changing": 1, "marked_at": 1})), None)

    async def write(self, key: str, before: Document | None, update: Document) -> bool:
        """False if the block is not as it was any more."""
        return not await self._write({key: _update(key, before, update)})

    async def marked_before(self, at: datetime) -> list[Document]:
        """Some of the blocks whose last mark is older: (_id, conversation_id)."""
        query = {"marked_at": {"$lt": at}}
        found = self._blocks.find(query, {"conversation_id": 1}).limit(BLOCKS_AT_ONCE)
        blocks: list[Document] = await found.to_list(None)
        return blocks

    async def to_look_at(self, conversation_ids: Sequence[str]) -> set[str]:
        """Which of these conversations have blocks whose tokens do not tell all."""
        found = await self._find({"look": {"$in": list(conversation_ids)}}, {"conversation_id": 1})
        return {block["conversation_id"] for block in found}

    async def with_token(self, conversation_id: str, tokens: Iterable[str], look: bool) -> set[int]:
        """Numbers of blocks, of any version, with a token that begins so; `look`: and of others to look at.

        The latter first: one that is rebuilt meanwhile has its new words before it is no longer one to look at.
        """
        queries: list[Document] = [{"look": conversation_id}] if look else []
        queries += [
            {"conversation_id": conversation_id, "words": self._database.array_range(token, token + "\U0010ffff")}
            for token in tokens
        ]
        return {number_of(block["_id"]) for query in queries for block in await self._find(query, {"_id": 1})}

    async def read(self, keys: Sequence[str]) -> list[Document]:
        """Those of these blocks that are there, with what they say."""
        fields = {"version": 1, "lines": 1, "changing": 1, "changed": 1}
        return await self._find({"_id": {"$in": list(keys)}}, fields)

    # Blocks of the first version: written by processes of before, and read until migration 1 has rebuilt them

    async def first_version(self, keys: Sequence[str]) -> dict[str, Document]:
        """Those of these blocks that are there, with what `remove` compares."""
        found = await self._find({"_id": {"$in": list(keys)}}, {"lines.seq": 1, "changed": 1})
        return {block["_id"]: block for block in found}

    async def first_version_changed(self, conversation_id: str) -> set[int]:
        """Numbers of blocks with messages that say something else by now."""
        query = {"conversation_id": conversation_id, "words": FIRST_CHANGED}
        return {number_of(block["_id"]) for block in await self._find(query, {"_id": 1})}

    async def remove(self, block: Document) -> bool:
        """False if someone has written to it since it was read."""
        same: Document = {"_id": block["_id"]}
        same["lines"] = {"$size": len(block["lines"])} if "lines" in block else {"$exists": False}
        same["changed"] = block.get("changed", {"$exists": False})
        return bool((await self._blocks.delete_one(same)).deleted_count)

    async def _find(self, query: Document, fields: Document) -> list[Document]:
        found: list[Document] = await self._blocks.find(query, fields).to_list(None)
        return found

    async def _write(self, updates: dict[str, UpdateOne]) -> list[str]:
        """The ids of blocks that were not as they had been seen."""
        try:
            if updates:
                await self._blocks.bulk_write(list(updates.values()), ordered=False)
        except BulkWriteError as error:
            failures = error.details["writeErrors"]
            if error.details["writeConcernErrors"] or any(failure["code"] != _DUPLICATE for failure in failures):
                raise
            return [list(updates)[failure["index"]] for failure in failures]
        return []


def _update(key: str, seen: Document | None, update: Document) -> UpdateOne:
    """An upsert that is refused as a duplicate when the block is not as it was seen."""
    update = {**update, "$inc": {"revision": 1}}
    return UpdateOne({"_id": key, "revision": seen["revision"] if seen is not None else 0}, update, upsert=True)


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
