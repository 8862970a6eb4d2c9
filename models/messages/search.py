"""Search by words and their beginnings, in what the caller may see.

A query is folded into words; a message matches when it has, for each, a word beginning so. The longest word is looked
up in the index of each conversation and the rest are checked on the hits; messages that the index does not have yet, or
has as they were before an edit, are looked at themselves. Conversations are searched in batches, the
youngest first; within a batch hits are newest first, so for up to BATCH conversations the whole result is.
"""

from __future__ import annotations

import asyncio

from contract import chat
from contract.errors import invalid
from models.context import Context
from models.conversations.actions import Conversations
from models.conversations.document import to_message
from models.messages.document import message_id, words
from models.messages.store import MessageStore, WordStore
from models.paging import decode_cursor, encode_cursor
from storage.mongo import Document

BATCH = 100
CONCURRENT = 8
QUERY_WORDS_MAX = 10


class Search:
    def __init__(self, store: MessageStore, index: WordStore, conversations: Conversations) -> None:
        self._store = store
        self._index = index
        self._conversations = conversations

    async def search(self, context: Context, payload: chat.Search) -> chat.MessageList:
        wanted = words(payload.query)
        if not wanted or len(wanted) > QUERY_WORDS_MAX:
            raise invalid("query", f"must have one to {QUERY_WORDS_MAX} words")
        if payload.conversation_id is not None:
            scope = [await self._conversations.require(context.user_id, payload.conversation_id)]
        else:
            scope = await self._conversations.of_user(context.user_id)
            # A fixed order, so that new activity between two pages moves nothing from one batch to another.
            scope.sort(key=lambda document: (document["created_at"], document["_id"]), reverse=True)
        batch, skip_key = 0, ""
        if payload.cursor is not None:
            batch, skip_key = decode_cursor(payload.cursor, tuple[int, str])
            if batch < 0:
                raise invalid("cursor", "is not one this list gave")
        return await self._page(context.user_id, scope, wanted, batch, skip_key, payload.limit)

    async def _page(
        self, user_id: str, scope: list[Document], wanted: list[str], batch: int, below: str, limit: int
    ) -> chat.MessageList:
        """Fills one page, from as many batches as it takes. `below`: the last key shown of the first batch."""
        picked: list[str] = []
        cursor: str | None = None
        while batch * BATCH < len(scope):
            hits = await self._hits(user_id, scope[batch * BATCH : (batch + 1) * BATCH], wanted)
            hits = [hit for hit in hits if not below or hit < below]
            room = limit - len(picked)
            picked += [hit.split(" ")[1] for hit in hits[:room]]
            if len(hits) > room:
                cursor = encode_cursor([batch, hits[room - 1] if room else below])
                break
            batch, below = batch + 1, ""
            if len(picked) == limit and batch * BATCH < len(scope):
                cursor = encode_cursor([batch, ""])
                break
        found = {message.id: message for message in map(to_message, await self._store.find_many(picked))}
        items = [found[identifier] for identifier in picked if identifier in found]
        return chat.MessageList(items=items, next_cursor=cursor)

    async def _hits(self, user_id: str, scope: list[Document], wanted: list[str]) -> list[str]:
        """Sort keys "TIME ID" of all matches in these conversations, newest first."""
        gate = asyncio.Semaphore(CONCURRENT)
        longest = max(wanted, key=len)

        async def one(conversation: Document) -> list[str]:
            async with gate:
                lines = await self._lines(conversation, longest)
            floor = conversation["members"][user_id]["joined_seq"]
            return [
                _key(conversation["_id"], line)
                for line in lines
                if line["seq"] > floor
                and all(any(word.startswith(prefix) for word in line["words"]) for prefix in wanted)
            ]

        results = await asyncio.gather(*[one(conversation) for conversation in scope])
        return sorted((key for keys in results for key in keys), reverse=True)

    async def _lines(self, conversation: Document, word: str) -> list[Document]:
        """(seq, words, created_at) of messages that may match."""
        conversation_id = conversation["_id"]
        last: int = conversation["last_seq"]
        stored: int = conversation.get("stored_seq", last)
        lines, changed = await self._index.with_word(conversation_id, word, conversation.get("edited", False))
        lines = [line for line in lines if line["seq"] <= stored]
        others = await self._store.range(conversation_id, stored, last) if last > stored else []
        again = [message_id(conversation_id, seq) for seq in changed if seq <= stored]
        others += await self._store.find_many(again) if again else []
        for message in others:
            said = words(message["text"]) if message["kind"] == "text" else []
            lines.append({"seq": message["seq"], "words": said, "created_at": message["created_at"]})
        return lines


def _key(conversation_id: str, line: Document) -> str:
    return f"{line['created_at'].isoformat(timespec='milliseconds')} {message_id(conversation_id, line['seq'])}"
