"""Pages of somebody's conversations: looked at in outline, a stretch of time after the other, and read if shown.

The order is that of the activity that is stored, and of what this process has written since. What others have written
moves a conversation up a moment later, when its stored head follows (`moving`); its clients were told of it by then.
"""

from __future__ import annotations

from collections.abc import Sequence

from contract import chat
from models.context import Context
from models.conversations.actions import Conversations
from models.paging import decode_place, encode_place
from storage.mongo import Document

# Ten of the largest groups are 1.5 MB.
READ_AT_ONCE = 10
# A page for which so many were looked at and did not fit is over.
LOOKED_MAX = 1_000


class Lists:
    def __init__(self, conversations: Conversations) -> None:
        self._conversations = conversations

    async def list_mine(self, context: Context, payload: chat.List) -> chat.ConversationList:
        before = decode_place(payload.cursor)
        outlines: list[Document] = []
        lowest: Document | None = None
        looked = 0
        async for some in self._conversations.falling(context.user_id, before[0] if before else None):
            outlines += [
                outline
                for outline in some
                if (before is None or (outline["updated_at"], outline["_id"]) < before)
                and payload.archived in (None, outline["members"][context.user_id]["archived"])
                and payload.type in (None, outline["type"])
            ]
            looked += len(some)
            if len(outlines) > payload.limit or looked >= LOOKED_MAX:
                lowest = some[-1]
                break
        page, done = await self._read(context.user_id, outlines[: payload.limit])
        last = outlines[done - 1] if len(outlines) > done else lowest
        return chat.ConversationList(
            items=await self._conversations.show(page, context.user_id),
            next_cursor=encode_place(last["updated_at"], last["_id"]) if last else None,
        )

    async def _read(self, user_id: str, outlines: Sequence[Document]) -> tuple[list[Document], int]:
        """(the conversations, of how many of these): a page of large groups is shorter."""
        page: list[Document] = []
        people = 0
        for start in range(0, len(outlines), READ_AT_ONCE):
            batch = [outline["_id"] for outline in outlines[start : start + READ_AT_ONCE]]
            page += (found := await self._conversations.whole(user_id, batch))
            people += sum(len(document["participant_ids"]) for document in found)
            if people > chat.PAGE_PEOPLE_MAX:
                return page, start + len(batch)
        return page, len(outlines)
