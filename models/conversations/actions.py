"""What people can do with a conversation: open, update and manage who is in it (`making` makes, `lists` lists them).

Invariants: a direct conversation of two people exists once (`direct_key`); a group always has an owner while it has
anyone; who is not in `participant_ids` neither sees nor hears anything of it.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from contract import chat, chat_commands
from contract.errors import ParleyError, invalid
from contract.registry import FAN_OUT_FREE
from contract.rooms import user_room
from contract.types import PARTICIPANTS_MAX
from models.context import Context, now
from models.conversations.document import View, maker_of, new_member, removal, to_conversation, view
from models.conversations.limits import Limits
from models.conversations.store import ConversationStore
from models.jobs.actions import Jobs
from models.users.actions import Users
from realtime.publisher import Publisher
from storage.mongo import Document

log = logging.getLogger("parley.conversations")

RENAME = "conversations.rename"
RENAMED_AT_ONCE = 20
# A name that is changed again by then spreads only as it is then.
RENAMED_AFTER_S = 1.0
REMOVALS_MAX = 20


def _check_size(document: Document, added: Sequence[str]) -> None:
    if len(document["participant_ids"]) + len(added) > PARTICIPANTS_MAX:
        raise invalid("add", f"a conversation has at most {PARTICIPANTS_MAX} participants")


class Conversations:
    def __init__(
        self, store: ConversationStore, users: Users, limits: Limits, jobs: Jobs, publisher: Publisher
    ) -> None:
        self._store = store
        self._users = users
        self.limits = limits
        self._jobs = jobs
        self._publisher = publisher
        store.mover.tell = self.tell_head

    # Access

    async def require(self, user_id: str, conversation_id: str) -> Document:
        """The conversation as the database has it, if the user is in it."""
        return self._check(user_id, await self._store.find(conversation_id))

    async def require_recent(self, user_id: str, conversation_id: str) -> Document:
        """The same from memory where that is fresh; for the path of a message, of marks and of typing."""
        return self._check(user_id, await self._store.recent(conversation_id))

    @staticmethod
    def _check(user_id: str, document: Document | None) -> Document:
        if document is None:
            raise ParleyError("not_found", "There is no such conversation.")
        if user_id not in document["participant_ids"]:
            raise ParleyError("not_a_participant")
        return document

    async def find(self, conversation_id: str) -> Document | None:
        return await self._store.find(conversation_id)

    async def recent(self, conversation_id: str) -> Document | None:
        return await self._store.recent(conversation_id)

    async def find_stored(self, conversation_id: str) -> Document | None:
        """Without a look at messages beyond its stored head: for what is done of these."""
        return await self._store.find_stored(conversation_id)

    async def audience(self, conversation_id: str, seq: int | None = None) -> Sequence[str]:
        """The rooms of everyone in it, or of everyone who may see this message."""
        return await self._store.audience(conversation_id, seq)

    async def joined_at(self, user_id: str, conversation_ids: Iterable[str]) -> dict[str, int]:
        """Of these conversations those that the user is in → the `seq` after which they see messages."""
        return await self._store.listing.joined_at(user_id, conversation_ids)

    async def show(self, documents: Sequence[Document], user_id: str) -> list[chat.Conversation]:
        """Conversations as this person sees them, with their messages as they are now."""
        current = await self._store.as_messages_are(documents)
        return [to_conversation(document, user_id) for document in current]

    async def show_one(self, document: Document, user_id: str) -> chat.Conversation:
        return (await self.show([document], user_id))[0]

    async def pinned(self, document: Document) -> list[str]:
        """Messages that are pinned in it, those that some of its people cannot see included."""
        pinned: list[str] = (await self._store.as_messages_are([document]))[0]["pinned_message_ids"]
        return pinned

    # The head and the marks, as the messages noun moves them

    def note(self, message: Document) -> None:
        """A message of this conversation is durable."""
        self._store.note(message)

    def unsure(self, conversation_id: str) -> None:
        """A message of this conversation may be durable or not."""
        self._store.unsure(conversation_id)

    def outrun(self, conversation_id: str) -> None:
        """Another process has written to it."""
        self._store.outrun(conversation_id)

    def untold(self, conversation_id: str, last_seq: int) -> None:
        """A durable message could not be told of: its people hear of it as soon as they can be found."""
        self._store.mover.tell_later(conversation_id, last_seq)

    async def tell_head(
        self, conversation_id: str, last_seq: int, rooms: Sequence[str] | None = None, local: bool = False
    ) -> None:
        """Messages up to here may have reached nobody: their process died before it could tell. None: all rooms."""
        if rooms is None:
            rooms = await self.audience(conversation_id)
        head = chat.Head(conversation_id=conversation_id, last_seq=last_seq)
        await self._publisher.publish(chat_commands.HEAD_EVENT, rooms, head, local=local)

    def before_moving(self, work: Callable[[Sequence[Document]], Awaitable[None]]) -> None:
        """What is done of every message, perhaps several times, before the head says that all was."""
        self._store.mover.before = work

    async def stop(self) -> None:
        await self._store.mover.stop()

    async def changing(self, document: Document, text: bool) -> None:
        """A message of this conversation is about to be changed; `text`: to say something else.

        Search has to know, and so does everyone who asks what was changed: before, because who changes it may die.
        """
        await self._store.touch(document["_id"])
        if text and not document.get("edited"):
            await self._store.change({"_id": document["_id"]}, {"$set": {"edited": True}})

    async def changed_message(self, message: Document) -> None:
        """A message of this conversation was changed. A deleted one is not pinned any more, which everyone is told."""
        await self._store.follow(message)
        if message["deleted_at"] is not None and await self._store.unpin(message):
            document = await self._store.find(message["conversation_id"])
            if document is not None:
                await self.announce(document, None)

    async def mark(self, document: Document, user_id: str, marks: dict[str, int]) -> None:
        """Raises a participant's high-water marks."""
        await self._store.mark(document["_id"], user_id, marks, now())

    async def outlines(self, user_id: str) -> list[Document]:
        """All that the user is in, newest activity first; with nothing about others."""
        return await self._store.listing.outlines(user_id)

    def falling(self, user_id: str, before: datetime | None) -> AsyncIterator[list[Document]]:
        """The same from `before` on, some at a time."""
        return self._store.listing.falling(user_id, before, self._store.moved(user_id))

    async def made_between(self, low: str, high: str) -> list[tuple[str, int]]:
        """(id, stored last seq) of all that people with ids in [low, high) made: to go through all in bounded steps."""
        return await self._store.listing.made_between(low, high)

    async def shared(self, user_id: str, others: list[str]) -> set[str]:
        return await self._store.listing.shared(user_id, others)

    async def whole(self, user_id: str, conversation_ids: Sequence[str]) -> list[Document]:
        """Those of which there are outlines, in this order; without any that the user has left since."""
        return await self._store.listing.whole(user_id, conversation_ids)

    # Commands

    async def get(self, context: Context, payload: chat.ConversationTarget) -> chat.ConversationData:
        document = await self.require(context.user_id, payload.conversation_id)
        return chat.ConversationData(conversation=await self.show_one(document, context.user_id))

    # Changes, used by the messages noun, which adds the system messages that tell of them

    async def set_own(self, user_id: str, document: Document, fields: dict[str, Any]) -> None:
        """What concerns the caller alone: muted, archived."""
        changes = {f"members.{user_id}.{name}": value for name, value in fields.items()}
        await self._store.change({"_id": document["_id"], "participant_ids": user_id}, {"$set": changes})

    async def set_shared(self, user_id: str, document: Document, fields: dict[str, Any]) -> None:
        """What concerns all: title and pins."""
        query = {"_id": document["_id"], "participant_ids": user_id}
        if not await self._store.change(query, {"$set": fields}):
            raise ParleyError("not_a_participant")

    async def admit(self, by_user_id: str, document: Document, user_ids: list[str]) -> tuple[dict[str, str], int]:
        """These people may be added: their names, and what was counted for each of them. Raises if they may not."""
        names = await self._users.names(user_ids)
        _check_size(document, user_ids)
        weight = await self.limits.add(by_user_id, document, user_ids)
        return {user_id: names[user_id] for user_id in user_ids}, weight

    async def add_members(self, by_user_id: str, document: Document, names: dict[str, str], weight: int) -> Document:
        """Adds people who join after the present head: the conversation with them. Loses to a concurrent change of the
        same people. What it raises as ParleyError has added nobody."""
        user_ids = list(names)
        _check_size(document, user_ids)
        joined = {user_id: new_member(name, "member", document["last_seq"], weight) for user_id, name in names.items()}
        members = {f"members.{user_id}": member for user_id, member in joined.items()}
        brought = len(user_ids) if by_user_id == maker_of(document) else 0
        # What someone wrote before they left must be counted before they start again from nothing.
        await self._store.mover.settle(document["_id"])
        changed = await self._store.change(
            {"_id": document["_id"], "participant_ids": {"$nin": user_ids}},
            {"$set": members, "$push": {"participant_ids": {"$each": user_ids}}, "$inc": {"brought": brought}},
        )
        if not changed:
            raise ParleyError("conflict")
        everyone = [*document["participant_ids"], *user_ids]
        return {**document, "participant_ids": everyone, "members": {**document["members"], **joined}}

    async def remove_members(self, conversation_id: str, user_ids: list[str]) -> list[str]:
        """Removes those who are in it, and returns them. If no owner is left, whoever has been there longest is one."""
        for _ in range(REMOVALS_MAX):
            document = await self._store.find(conversation_id)
            there = document["participant_ids"] if document is not None else []
            removed = [user_id for user_id in there if user_id in user_ids]
            if document is None or not removed:
                return []
            if await self._store.change(*removal(document, removed)):
                try:
                    await self.limits.left(document, removed)
                except Exception as error:  # they are out, which must be told; the count is mended when it matters
                    log.warning("%s counts for those who left it until a recount: %s", conversation_id, error)
                return removed
        raise ParleyError("conflict")

    async def rename_member(self, user_id: str, name: str) -> None:
        """A participant has a new name: a few conversations have it at once; the rest, and large ones, by a job."""
        await self.rename_later(user_id)  # first: this process may die
        for conversation_id in (await self._store.listing.named_otherwise(user_id, name))[:RENAMED_AT_ONCE]:
            document = await self._store.recent(conversation_id)
            if document is None or len(document["participant_ids"]) <= FAN_OUT_FREE:
                await self.rename_in(conversation_id, user_id, name)
        if (await self._users.get(user_id))["name"] != name:  # another change was faster, and was written over
            await self.rename_later(user_id)

    async def rename_later(self, user_id: str, wait_s: float = RENAMED_AFTER_S) -> None:
        """See `renaming`."""
        await self._jobs.ensure(f"rename:{user_id}", RENAME, {"user_id": user_id}, now() + timedelta(seconds=wait_s))

    async def rename_in(self, conversation_id: str, user_id: str, name: str) -> int:
        """Their new name in one of them, told to all who see it: how many that are."""
        if not await self._store.rename_member(conversation_id, user_id, name):
            return 0
        document = await self._store.find(conversation_id)
        if document is None:
            return 0
        await self.announce(document, None)
        return len(document["participant_ids"])

    async def named_otherwise(self, user_id: str, name: str) -> list[str]:
        """Conversations in which this participant has another name."""
        return await self._store.listing.named_otherwise(user_id, name)

    async def announce(
        self, document: Document, origin: str | None, whom: Sequence[str] | None = None, local: bool = False
    ) -> None:
        """Tells each participant, or `whom`, the conversation as they see it; `local`: those on this process.

        It names all participants, so in a large group whoever sees the same is told by the same packet.
        """
        (document,) = await self._store.as_messages_are([document])
        viewers: dict[View, list[str]] = defaultdict(list)
        for user_id in document["participant_ids"] if whom is None else whom:
            viewers[view(document, user_id)].append(user_id)
        for user_ids in viewers.values():
            data = chat.ConversationData(conversation=to_conversation(document, user_ids[0]))
            rooms = [user_room(user_id) for user_id in user_ids]
            await self._publisher.publish(
                chat_commands.CONVERSATION_EVENT, rooms, data, origin=origin, local=local,
                everywhere=document["type"] == "group", whole=document["_id"],
            )  # fmt: skip

    async def changed(
        self, document: Document, origin: str | None, also: Sequence[str] = (), only: str | None = None
    ) -> Document:
        """Reads it afresh after a change, tells everyone (and `also`, who just left), or one alone, and returns it."""
        fresh = await self._store.find(document["_id"])
        if fresh is None:
            raise ParleyError("not_found")
        await self.announce(fresh, origin, [*fresh["participant_ids"], *also] if only is None else [only])
        return fresh
