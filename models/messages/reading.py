"""Reading a conversation: open it, page through it, catch up after being away.

Everyone sees messages after their own `joined_seq` and none before.
"""

from __future__ import annotations

from collections.abc import Sequence
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
# Ten of the largest groups are 1.5 MB.
SYNC_READ_AT_ONCE = 10
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
        if not limit:
            return chat.HistoryData(messages=[], has_more=document["last_seq"] > floor)
        up_to = min(floor + limit + 1, document["last_seq"])
        found = await self._store.range(document["_id"], floor, up_to) if up_to > floor else []
        return chat.HistoryData(
            messages=[to_message(message) for message in found[:limit]], has_more=len(found) > limit
        )

    async def sync(self, context: Context, payload: chat.Sync) -> chat.SyncData:
        """All that was missed: conversations with news, and with `changed_since` those touched in any way meanwhile.

        News are bounded per call (`more`); `touched_at` moves with every message, mark, edit and update. What was only
        touched is not: nothing in the next call could say how far this one came. It is read some at a time.
        """
        synced_at = now() - SYNC_OVERLAP
        try:
            since = parse_time(payload.changed_since) if payload.changed_since else None
        except ValueError:
            raise invalid("changed_since", "is not a moment in time") from None
        outlines = await self._conversations.outlines(context.user_id)

        def has_news(outline: Document) -> bool:
            floor = max(payload.cursors.get(outline["_id"], 0), outline["members"][context.user_id]["joined_seq"])
            return outline["last_seq"] > floor or outline["_id"] not in payload.cursors

        def is_touched(outline: Document) -> bool:
            return since is not None and outline["touched_at"] >= since

        missed: list[chat.ConversationMissed] = []
        budget, more = SYNC_MESSAGES_PER_CALL, False
        left = [outline for outline in outlines if has_news(outline) or is_touched(outline)]
        while left:
            some, left = left[:SYNC_READ_AT_ONCE], left[SYNC_READ_AT_ONCE:]
            for outline, document, shown, changed in await self._read(context.user_id, some, since):
                news, room = has_news(outline), len(missed) < SYNC_CONVERSATIONS_PER_CALL
                limit = min(PAGE_MAX, budget) if news and room else 0
                if news and not limit:
                    more = True
                    if not is_touched(outline):
                        continue
                cursor = payload.cursors.get(outline["_id"], 0)
                page = await self._after(document, context.user_id, cursor, limit)
                budget -= len(page.messages)
                older = [to_message(message) for message in changed if message["seq"] <= cursor][:CHANGED_MAX]
                missed.append(
                    chat.ConversationMissed(
                        conversation=shown, messages=page.messages, changed=older, has_more=page.has_more
                    )
                )
            if budget <= 0 or len(missed) >= SYNC_CONVERSATIONS_PER_CALL:
                more = more or any(map(has_news, left))
                left = list(filter(is_touched, left))
        mine = {outline["_id"] for outline in outlines}
        gone = [conversation_id for conversation_id in payload.cursors if conversation_id not in mine]
        return chat.SyncData(conversations=missed, gone=gone, more=more, synced_at=format_time(synced_at))

    async def _read(
        self, user_id: str, outlines: Sequence[Document], since: datetime | None
    ) -> list[tuple[Document, Document, chat.Conversation, list[Document]]]:
        """(outline, the conversation, as it is shown, what was changed in it), of those that they are in still."""
        by_id = {outline["_id"]: outline for outline in outlines}
        documents = await self._conversations.whole(user_id, list(by_id))
        found: list[tuple[Document, Document, chat.Conversation, list[Document]]] = []
        for document, shown in zip(documents, await self._conversations.show(documents, user_id), strict=True):
            changed = await self._changed(document, user_id, since) if since is not None else []
            found.append((by_id[document["_id"]], document, shown, changed))
        return found

    async def _changed(self, document: Document, user_id: str, since: datetime) -> list[Document]:
        # Its stamp is of a moment before the message's own, by the same clock.
        if "edited_at" not in document or document["edited_at"] < since - SYNC_OVERLAP:
            return []
        floor = document["members"][user_id]["joined_seq"]
        return [each for each in await self._store.changed_since(document["_id"], since) if each["seq"] > floor]
