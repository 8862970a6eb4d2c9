"""Where conversations end: what this process knows of messages beyond the stored head.

A message is in its conversation as soon as it is durable under its unique place. The conversation's own `last_seq`,
`last_message` and counts follow a moment later, many messages in one step, because moving them with each message would
cost every send a second write. Whoever reads a conversation brings it up to date by the messages beyond its stored
head: from memory where this process wrote them, else from the messages themselves.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Any, Protocol

from storage.mongo import Document

KNOWN_MAX = 50_000
TAIL_MAX = 1_000
PLACES_MAX = 1_000


class Tail(Protocol):
    """What the heads ask of the messages."""

    async def range(self, conversation_id: str, after_seq: int, up_to_seq: int) -> list[Document]: ...
    async def exist_at(self, places: dict[str, int]) -> set[str]: ...


def advance(messages: Sequence[Document]) -> Document:
    """The update that moves a stored head over these messages, which follow it without a gap."""
    last = messages[-1]
    sent = Counter(message["sender_id"] for message in messages)
    latest = max(message["created_at"] for message in messages)
    return {
        "$set": {"last_seq": last["seq"], "last_message": last},
        "$max": {"updated_at": latest, "touched_at": latest},
        "$inc": {f"members.{sender_id}.sent": count for sender_id, count in sent.items()},
    }


def apply(document: Document, messages: Sequence[Document]) -> None:
    """The same to a document in memory, where `stored_seq` keeps what the database has."""
    document.setdefault("stored_seq", document["last_seq"])
    for message in messages:
        document["last_seq"], document["last_message"] = message["seq"], message
        for name in ("updated_at", "touched_at"):
            document[name] = max(document[name], message["created_at"])
        member = document["members"].get(message["sender_id"])
        if member is not None:  # of someone who left there may be a stub
            member["sent"] = member.get("sent", 0) + 1


def contiguous(after_seq: int, messages: Sequence[Document]) -> list[Document]:
    """Those that follow `after_seq` without a gap."""
    found: list[Document] = []
    for message in messages:
        if message["seq"] != after_seq + 1 + len(found):
            break
        found.append(message)
    return found


class Heads:
    """`alone`: no other process writes, so what this one knows of a conversation is all there is."""

    def __init__(self, tail: Tail, alone: bool) -> None:
        self._tail = tail
        self._alone = alone
        self._known: OrderedDict[str, int] = OrderedDict()
        self.pending: dict[str, list[Document]] = {}

    def note(self, message: Document) -> None:
        """This process has made the message durable."""
        self.pending.setdefault(message["conversation_id"], []).append(message)
        self._know(message["conversation_id"], message["seq"])

    def forget(self, conversation_id: str) -> None:
        """A write may or may not have happened: the database is asked again."""
        self._known.pop(conversation_id, None)

    def settle(self, conversation_id: str, up_to_seq: int) -> None:
        """The stored head is there now."""
        left = [message for message in self.pending.get(conversation_id, ()) if message["seq"] > up_to_seq]
        if left:
            self.pending[conversation_id] = left
        else:
            self.pending.pop(conversation_id, None)

    async def bring_up(self, documents: Sequence[Document]) -> dict[str, list[Document]]:
        """Brings documents up to date, in place. Returns, by conversation, messages that this process did not write."""
        unsure = [document for document in documents if not self._from_memory(document)]
        if len(unsure) > 1:
            ahead = await self._ahead({document["_id"]: document["last_seq"] for document in unsure})
            for document in unsure:
                if document["_id"] not in ahead:
                    self._know(document["_id"], document["last_seq"])
            unsure = [document for document in unsure if document["_id"] in ahead]
        strange: dict[str, list[Document]] = {}
        for document in unsure:
            conversation_id = document["_id"]
            # Alone, what was known before this look is ours, though it may be settled by now.
            familiar = self._known.get(conversation_id, 0) if self._alone else 0
            messages = await self._beyond(conversation_id, document["last_seq"])
            apply(document, messages)
            own = {message["seq"] for message in self.pending.get(conversation_id, ())}
            others = [message for message in messages if message["seq"] > familiar and message["seq"] not in own]
            if others:
                strange[conversation_id] = others
        for document in unsure:  # only now: what a look that failed halfway has found must be strange to the next one
            self._know(document["_id"], document["last_seq"])
        return strange

    async def ends_beyond(self, heads: dict[str, int]) -> dict[str, int]:
        """Conversation → its last seq, for those with messages beyond the given seq."""
        ends: dict[str, int] = {}
        for conversation_id in await self._ahead(heads):
            ends[conversation_id] = (await self._beyond(conversation_id, heads[conversation_id]))[-1]["seq"]
        return ends

    async def _ahead(self, heads: dict[str, int]) -> set[str]:
        """Those that have messages beyond the given seq."""
        found: set[str] = set()
        places = [(conversation_id, seq + 1) for conversation_id, seq in heads.items()]
        for first in range(0, len(places), PLACES_MAX):
            found |= await self._tail.exist_at(dict(places[first : first + PLACES_MAX]))
        return found

    async def _beyond(self, conversation_id: str, stored: int) -> list[Document]:
        messages: list[Document] = []
        while True:
            seq = stored + len(messages)
            found = contiguous(seq, await self._tail.range(conversation_id, seq, seq + TAIL_MAX))
            messages += found
            if len(found) < TAIL_MAX:
                return messages

    def _from_memory(self, document: Document) -> bool:
        """True if the document is up to date now without a look into the database."""
        known = self._known.get(document["_id"])
        if known is None or not self._alone:
            return False
        missing = known - document["last_seq"]
        if missing <= 0:
            return True
        pending = self.pending.get(document["_id"], ())
        messages = contiguous(
            document["last_seq"], [message for message in pending if message["seq"] > document["last_seq"]]
        )
        if len(messages) != missing:
            return False
        apply(document, messages)
        return True

    def _know(self, conversation_id: str, seq: int) -> None:
        known: Any = self._known
        known[conversation_id] = max(seq, known.get(conversation_id, 0))
        known.move_to_end(conversation_id)
        if len(known) > KNOWN_MAX:
            known.popitem(last=False)
