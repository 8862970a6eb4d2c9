"""The ordered, durable log of a conversation: every message, of whatever kind, gets its place here.

State of a message, and the method that moves it on:

    draft --append--> inserted (durable, has its seq) --advance--> head (conversation.last_seq) --> published

`seq` is contiguous because the only way to take n + 1 is a unique index, and nobody tries n + 1 before having seen that
n exists. The head moves one message at a time by compare-and-set, and *whoever moves it publishes the message*, so that
each is published once and in order even when a process dies between two steps: the next one to append, read or retry
finds the message beyond the head and moves it on. An acknowledgement is sent after all of this.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from datetime import timedelta
from weakref import WeakValueDictionary

from contract import chat, chat_commands
from contract.errors import ParleyError
from contract.rooms import user_room
from models.context import now
from models.conversations.actions import Conversations
from models.conversations.document import to_message
from models.messages.document import message_id
from models.messages.store import MessageStore
from ops.metrics import MESSAGES_SENT, SEQ_CONFLICTS
from realtime.publisher import Order, Publisher
from storage.mongo import Document

ATTEMPTS_MAX = 200
# A predecessor older than this has reached every process, or will be missed by it: nothing waits for it.
SETTLED_AFTER = timedelta(seconds=5)
HEADS_MAX = 50_000
HEAL_MAX = 1_000


class Log:
    def __init__(self, store: MessageStore, conversations: Conversations, publisher: Publisher) -> None:
        self._store = store
        self._conversations = conversations
        self._publisher = publisher
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._published_here: OrderedDict[str, int] = OrderedDict()

    def lock(self, conversation_id: str) -> asyncio.Lock:
        """Serialises this process's own writers, who would otherwise only collide in the database."""
        lock = self._locks.get(conversation_id)
        if lock is None:
            lock = self._locks[conversation_id] = asyncio.Lock()
        return lock

    async def append(self, conversation: Document, draft: Document) -> tuple[Document, bool]:
        """Makes the draft the next message. Returns it and whether it was there before (same client_id, same payload).

        Raises idempotency_mismatch, or conflict if other processes were faster ATTEMPTS_MAX times in a row.
        """
        conversation_id = conversation["_id"]
        async with self.lock(conversation_id):
            last = conversation["last_message"]
            head = max(conversation["last_seq"], self._published_here.get(conversation_id, 0))
            settled = last is None or (last["seq"] == head and last["created_at"] < now() - SETTLED_AFTER)
            for _ in range(ATTEMPTS_MAX):
                seq = head + 1
                document = {
                    "_id": message_id(conversation_id, seq), "conversation_id": conversation_id, "seq": seq, **draft,
                }  # fmt: skip
                outcome = await self._store.insert(document)
                if outcome == "inserted":
                    await self._advance_to(document, settled, own=True)
                    MESSAGES_SENT.labels(draft["kind"]).inc()
                    return document, False
                if outcome == "client_id_taken":
                    return await self._repeated(draft), True
                SEQ_CONFLICTS.inc()
                head, settled = await self._true_head(conversation_id, seq), False
            raise ParleyError("conflict")

    async def _true_head(self, conversation_id: str, known_seq: int) -> int:
        """The highest seq that exists, given that known_seq does."""
        fresh = await self._conversations.find(conversation_id)
        head = max(known_seq, fresh["last_seq"] if fresh else 0)
        beyond = await self._store.range(conversation_id, head, head + HEAL_MAX)
        return int(beyond[-1]["seq"]) if beyond else head

    async def _repeated(self, draft: Document) -> Document:
        found = await self._store.find_sent(draft["sender_id"], draft["client_id"])
        if found is None:
            raise ParleyError("conflict")
        if found["payload_hash"] != draft["payload_hash"]:
            raise ParleyError("idempotency_mismatch")
        # The first try may have died before it moved the head. Its conversation is this one: the hash says so.
        await self._advance_to(found)
        return found

    async def heal(self, conversation: Document) -> Document:
        """Moves the head over messages that a dead process left beyond it. Returns the conversation as it is then."""
        beyond = await self._store.range(
            conversation["_id"], conversation["last_seq"], conversation["last_seq"] + HEAL_MAX
        )
        if not beyond:
            return conversation
        async with self.lock(conversation["_id"]):
            for message in beyond:
                await self._advance_to(message)
        return await self._conversations.find(conversation["_id"]) or conversation

    async def _advance_to(self, message: Document, settled: bool = False, own: bool = False) -> None:
        """Moves the head to this message, over any others on the way; publishes what it moved over."""
        while not await self._step(message, settled, own):
            settled = False
            fresh = await self._conversations.find(message["conversation_id"])
            if fresh is None or fresh["last_seq"] >= message["seq"]:
                return  # another process moved it, and so has published it
            for earlier in await self._store.range(message["conversation_id"], fresh["last_seq"], message["seq"] - 1):
                await self._step(earlier, settled=False, own=False)

    async def _step(self, message: Document, settled: bool, own: bool) -> bool:
        if not await self._conversations.advance(message, own):
            return False
        await self._publish(message, settled)
        return True

    async def _publish(self, message: Document, settled: bool) -> None:
        """`settled`: every process that will hear of the predecessor has heard of it. See `realtime.ordering`."""
        conversation_id, seq = message["conversation_id"], message["seq"]
        conversation = await self._conversations.recent(conversation_id)
        if conversation is None:
            return
        settled = settled or seq == 1 or self._published_here.get(conversation_id) == seq - 1
        self._published_here[conversation_id] = seq
        self._published_here.move_to_end(conversation_id)
        if len(self._published_here) > HEADS_MAX:
            self._published_here.popitem(last=False)
        rooms = [user_room(user_id) for user_id in conversation["participant_ids"]]
        data = chat.MessageData(message=to_message(message))
        order = Order(conversation_id, seq, settled)
        await self._publisher.publish(chat_commands.MESSAGE_EVENT, rooms, data, origin=message["origin"], order=order)
