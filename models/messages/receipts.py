"""Delivered and read marks: high-water marks per person and conversation. They only rise; read implies delivered."""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary

from contract import chat, chat_commands
from contract.rooms import user_room
from models.context import Context
from models.conversations.actions import Conversations
from models.conversations.document import to_receipt, unread
from models.messages.store import MessageStore
from realtime.publisher import Publisher
from storage.mongo import Document


class _Locks:
    """A lock by name, for as long as someone holds or wants it."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def of(self, name: str) -> asyncio.Lock:
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = asyncio.Lock()
        return lock


class Receipts:
    def __init__(
        self,
        conversations: Conversations,
        messages: MessageStore,
        publisher: Publisher,
    ) -> None:
        self._conversations = conversations
        self._messages = messages
        self._locks = _Locks()
        self._publisher = publisher

    async def delivered(self, context: Context, payload: chat.Mark) -> chat.ReceiptData:
        return await self._mark(context, payload, ("delivered_seq",))

    async def read(self, context: Context, payload: chat.Mark) -> chat.ReceiptData:
        return await self._mark(context, payload, ("delivered_seq", "read_seq"))

    async def _mark(self, context: Context, payload: chat.Mark, names: tuple[str, ...]) -> chat.ReceiptData:
        """Raises the marks to `seq`, or to the head if that is lower; tells everyone if anything rose."""
        # The lock keeps one person's receipts in rising order on their way out of this process.
        async with self._locks.of(f"{payload.conversation_id}:{context.user_id}"):
            document = await self._conversations.require(context.user_id, payload.conversation_id)
            member = document["members"][context.user_id]
            seq = min(payload.seq, document["last_seq"])
            marks = {name: seq for name in names if member[name] < seq}
            if marks:
                self._conversations.limits.telling(context.user_id, document, "signals")
                if "read_seq" in marks:
                    marks["sent_at_read"] = await self._sent_up_to(document, context.user_id, seq)
                await self._conversations.mark(document, context.user_id, marks)
                member.update(marks)
            receipt = to_receipt(document, context.user_id)
            own = to_receipt(document, context.user_id)
            own.unread, own.last_seq = unread(document, context.user_id), document["last_seq"]
            if marks:
                others = [user_room(user_id) for user_id in document["participant_ids"] if user_id != context.user_id]
                await self._publisher.publish(chat_commands.RECEIPT_EVENT, others, receipt)
                await self._publisher.publish(
                    chat_commands.RECEIPT_EVENT, [user_room(context.user_id)], own, origin=context.origin
                )
        return chat.ReceiptData(receipt=own)

    async def _sent_up_to(self, document: Document, user_id: str, seq: int) -> int:
        """How many of the person's own messages have a seq up to this one."""
        sent: int = document["members"][user_id]["sent"]
        if seq == document["last_seq"] or sent == document["members"][user_id]["sent_at_read"]:
            return sent
        return sent - await self._messages.count_own(document["_id"], user_id, seq, document["last_seq"])
