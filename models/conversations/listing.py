"""Reads of many conversations at once, which take no more of each than they must.

A group of a thousand is a document of 150 KB and more, nearly all of it about its people. So a list that has to look at
all that somebody is in, to sort or to filter it, reads outlines; of those that are shown it reads the whole.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from models.context import now
from models.conversations.document import direct_key, maker_of
from models.conversations.moving import Mover
from storage.mongo import Collection, Document

OUTLINES_AT_ONCE = 250
# The embedded database reads all that is in a range, whatever the limit: so ranges are short first, and few in all.
SPANS = tuple(timedelta(hours=4**power) for power in range(6))
# Ends all create_keys of one maker, whose ids have no such sign: it follows the colon.
_AFTER_COLON = ";"


class Made(NamedTuple):
    """What somebody has made and is in; `people` whom they have put into these groups."""

    groups: int
    direct: int
    people: int


class Listing:
    def __init__(self, conversations: Collection, mover: Mover) -> None:
        self._conversations = conversations
        self._mover = mover

    async def outlines(self, user_id: str) -> list[Document]:
        """All of a user's conversations, newest activity first: what they have there, and nothing about others."""
        found = await self._outlines(user_id, {"participant_ids": user_id})
        found.sort(key=_activity, reverse=True)
        return found

    async def falling(
        self, user_id: str, before: datetime | None, moved: Sequence[str]
    ) -> AsyncIterator[list[Document]]:
        """The same, down from `before`: each time some more, all down to the last of them.

        The database knows of activity a moment later: `moved` are conversations in which there may be more of it.
        """
        seen: set[str] = set()
        waiting = await self._outlines(user_id, {"_id": {"$in": list(moved)}, "participant_ids": user_id})
        top = before + timedelta(milliseconds=1) if before is not None else None
        for span in (*SPANS, None):
            bottom = (top or now()) - span if span is not None else None
            window = {**({"$gte": bottom} if bottom else {}), **({"$lt": top} if top else {})}
            waiting += await self._outlines(
                user_id, {"participant_ids": user_id, **({"updated_at": window} if window else {})}
            )
            fresh = {outline["_id"]: outline for outline in waiting if outline["_id"] not in seen}
            ready = [outline for outline in fresh.values() if bottom is None or outline["updated_at"] >= bottom]
            ready.sort(key=_activity, reverse=True)
            seen.update(outline["_id"] for outline in ready)
            waiting = [outline for outline in fresh.values() if outline["_id"] not in seen]
            yield ready
            top = bottom

    async def _outlines(self, user_id: str, query: dict[str, Any]) -> list[Document]:
        fields = {
            "type": 1, "last_seq": 1, "edited": 1, "created_at": 1, "updated_at": 1, "touched_at": 1,
            f"members.{user_id}": 1,
        }  # fmt: skip
        found = await self._find(query, fields)
        await self._mover.bring_up(found)
        return found

    async def whole(self, user_id: str, conversation_ids: Sequence[str]) -> list[Document]:
        """These conversations, in this order, as far as the user is in them."""
        query = {"_id": {"$in": list(conversation_ids)}, "participant_ids": user_id}
        found: list[Document] = await self._conversations.find(query).to_list(None)
        await self._mover.bring_up(found)
        by_id = {document["_id"]: document for document in found}
        return [by_id[identifier] for identifier in conversation_ids if identifier in by_id]

    async def made_between(self, low: str, high: str) -> list[tuple[str, int]]:
        """(id, stored last seq) of those whose creators' ids are in [low, high)."""
        found = await self._find({"create_key": {"$gte": low, "$lt": high}}, {"last_seq": 1})
        return [(document["_id"], document["last_seq"]) for document in found]

    async def shared(self, user_id: str, others: Sequence[str]) -> set[str]:
        """Which of the others share a conversation with the user."""
        found = await self._find({"participant_ids": user_id}, {"participant_ids": 1})
        known = {participant for document in found for participant in document["participant_ids"]}
        return known.intersection(others)

    async def joined_at(self, user_id: str, conversation_ids: Iterable[str]) -> dict[str, int]:
        """Of these conversations those that the user is in → the `seq` they joined at."""
        query = {"_id": {"$in": list(conversation_ids)}, "participant_ids": user_id}
        found = await self._find(query, {f"members.{user_id}.joined_seq": 1})
        return {document["_id"]: document["members"][user_id]["joined_seq"] for document in found}

    async def named_otherwise(self, user_id: str, name: str) -> list[str]:
        """Conversations in which this participant does not have this name."""
        found = await self._find({"participant_ids": user_id}, {f"members.{user_id}.name": 1})
        return [document["_id"] for document in found if document["members"][user_id]["name"] != name]

    # What limits are about

    async def made_by(self, user_id: str) -> Made:
        query = {"create_key": {"$gte": f"{user_id}:", "$lt": f"{user_id}{_AFTER_COLON}"}}
        found = await self._find(query, {"type": 1, "brought": 1, "participant_ids": 1})
        here = [document for document in found if user_id in document["participant_ids"]]
        groups = [document for document in here if document["type"] == "group"]
        others = [len(group["participant_ids"]) - 1 for group in groups]
        people = sum(min(there, group.get("brought", there)) for group, there in zip(groups, others, strict=True))
        return Made(len(groups), len(here) - len(groups), people)

    async def count_joined(self, user_id: str) -> int:
        """What the groups weigh that others have put this user into."""
        own = f"members.{user_id}.weight"
        found = await self._find({"participant_ids": user_id}, {"type": 1, "create_key": 1, own: 1})
        groups = [group for group in found if group["type"] == "group" and maker_of(group) != user_id]
        return sum(group["members"][user_id].get("weight", 1) for group in groups)

    async def acquainted(self, user_id: str, others: Sequence[str]) -> list[str]:
        """Those of the others who have said something to the user between the two of them, or have begun to."""
        keys = {direct_key(user_id, other): other for other in others}
        fields = {"direct_key": 1, "create_key": 1, "members": 1, "last_seq": 1, "updated_at": 1, "touched_at": 1}
        found = await self._find({"direct_key": {"$in": list(keys)}}, fields)
        await self._mover.bring_up(found)
        talked = [(document, keys[document["direct_key"]]) for document in found]
        return [
            other
            for document, other in talked
            if maker_of(document) == other or document["members"][other].get("sent", 0)
        ]

    async def _find(self, query: dict[str, Any], fields: dict[str, Any]) -> list[Document]:
        """A batch at a time: others have their turn between two."""
        cursor = self._conversations.find(query, fields).batch_size(OUTLINES_AT_ONCE)
        found: list[Document] = await cursor.to_list(None)
        return found


def _activity(outline: Document) -> tuple[datetime, str]:
    return outline["updated_at"], outline["_id"]
