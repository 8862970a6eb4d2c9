"""Reading a conversation: open it, page through it, catch up after being away.

Everyone sees messages after their own `joined_seq` and none before.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from contract import chat
from contract.errors import invalid
from contract.types import format_time, parse_time
from models.context import Context, now
from models.conversations.actions import Conversations
from models.conversations.document import to_message
from models.messages.store import MessageStore
from models.paging import decode_cursor, encode_cursor
from storage.mongo import Document

JOIN_LATEST = 50
PAGE_MAX = 200
SYNC_CONVERSATIONS_PER_CALL = 50
SYNC_MESSAGES_PER_CALL = 1_000
CHANGED_MAX = 500
# How much a later sync looks back over: clocks of processes differ, and a change is stamped before it is stored.
SYNC_OVERLAP = timedelta(seconds=10)


class Reading:
    def __init__(self, store: MessageStore, conversations: Conversations) -> None:
        self._store = store
        self._conversations = conversations

    async def join(self, context: Context, payload: chat.Join) -> chat.JoinData:
        document = await self._conversations.require(context.user_id, payload.conversation_id)
        if payload.since_seq is None:
            page = await self._before(document, context.user_id, document["last_seq"] + 1, JOIN_LATEST)
        else:
            page = await self._after(document, context.user_id, payload.since_seq, PAGE_MAX)
        return chat.JoinData(
            conversation=await self._conversations.show_one(document, context.user_id),
            messages=page.messages,
            has_more=page.has_more,
        )

    async def may_look(self, context: Context, conversation_id: str) -> bool:
        """Whether the caller is in it, for one who looked at it a moment ago."""
        document = await self._conversations.recent(conversation_id)
        return document is not None and context.user_id in document["participant_ids"]

    async def still_may_look(self, context: Context, conversation_id: str) -> bool:
        """The same as the database has it, when someone has just left."""
        document = await self._conversations.find(conversation_id)
        return document is not None and context.user_id in document["participant_ids"]

    async def history(self, context: Context, payload: chat.History) -> chat.HistoryData:
        if payload.before_seq is not None and payload.after_seq is not None:
            raise invalid("before_seq", "give before_seq or after_seq, not both")
        document = await self._conversations.require(context.user_id, payload.conversation_id)
        if payload.after_seq is not None:
            return await self._after(document, context.user_id, payload.after_seq, payload.limit)
        before = document["last_seq"] + 1 if payload.before_seq is None else payload.before_seq
        return await self._before(document, context.user_id, min(before, document["last_seq"] + 1), payload.limit)

    async def history_page(self, context: Context, payload: chat.HistoryPage) -> chat.MessageList:
        """The same as a REST list: `next_cursor` goes on in the direction the first page had."""
        onward = payload.after_seq is not None
        before, after = payload.before_seq, payload.after_seq
        if payload.cursor is not None:
            direction, seq = decode_cursor(payload.cursor, tuple[str, int])
            onward = direction == "after"
            before, after = (None, seq) if onward else (seq, None)
        page = await self.history(
            context,
            chat.History(
                conversation_id=payload.conversation_id, before_seq=before, after_seq=after, limit=payload.limit
            ),
        )
        cursor = None
        if page.has_more and page.messages:
            position = ["after", page.messages[-1].seq] if onward else ["before", page.messages[0].seq]
            cursor = encode_cursor(position)
        return chat.MessageList(items=page.messages, next_cursor=cursor)

    async def _before(self, document: Document, user_id: str, before_seq: int, limit: int) -> chat.HistoryData:
        floor = document["members"][user_id]["joined_seq"]
        low = max(floor, before_seq - 1 - limit)
        found = await self._store.range(document["_id"], low, before_seq - 1) if before_seq - 1 > low else []
        return chat.HistoryData(messages=[to_message(message) for message in found], has_more=low > floor)

    async def _after(self, document: Document, user_id: str, after_seq: int, limit: int) -> chat.HistoryData:
        floor = max(document["members"][user_id]["joined_seq"], after_seq)
        up_to = min(floor + limit + 1, document["last_seq"])
        found = await self._store.range(document["_id"], floor, up_to) if up_to > floor else []
        return chat.HistoryData(
            messages=[to_message(message) for message in found[:limit]], has_more=len(found) > limit
        )

    async def sync(self, context: Context, payload: chat.Sync) -> chat.SyncData:
        """All that was missed: conversations with news, and with `changed_since` those touched in any way meanwhile.

        News are bounded per call (`more`); `touched_at` moves with every message, mark, edit and update.
        """
        synced_at = now() - SYNC_OVERLAP
        try:
            since = parse_time(payload.changed_since) if payload.changed_since else None
        except ValueError:
            raise invalid("changed_since", "is not a moment in time") from None
        outlines = await self._conversations.outlines(context.user_id)
        missed: list[chat.ConversationMissed] = []
        budget, more = SYNC_MESSAGES_PER_CALL, False
        for outline in outlines:
            cursor = payload.cursors.get(outline["_id"], 0)
            floor = max(cursor, outline["members"][context.user_id]["joined_seq"])
            news = outline["last_seq"] > floor or outline["_id"] not in payload.cursors
            touched = since is not None and outline["touched_at"] >= since
            if news and (budget <= 0 or len(missed) >= SYNC_CONVERSATIONS_PER_CALL):
                more, news = True, False
            if not news and not touched:
                continue
            document = next(iter(await self._conversations.whole(context.user_id, [outline["_id"]])), None)
            if document is None:
                continue
            limit = min(PAGE_MAX, budget) if news else 0
            page = await self._after(document, context.user_id, cursor, limit)
            budget -= len(page.messages)
            missed.append(
                chat.ConversationMissed(
                    conversation=await self._conversations.show_one(document, context.user_id), messages=page.messages,
                    changed=await self._changed(document, context.user_id, since, cursor) if since else [],
                    has_more=page.has_more,
                )
            )  # fmt: skip
        mine = {outline["_id"] for outline in outlines}
        gone = [conversation_id for conversation_id in payload.cursors if conversation_id not in mine]
        return chat.SyncData(conversations=missed, gone=gone, more=more, synced_at=format_time(synced_at))

    async def _changed(self, document: Document, user_id: str, since: datetime, cursor: int) -> list[chat.Message]:
        floor = document["members"][user_id]["joined_seq"]
        found = await self._store.changed_since(document["_id"], since)
        return [to_message(message) for message in found if floor < message["seq"] <= cursor][:CHANGED_MAX]
