"""What people can do with messages: send, edit, delete and react."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from contract import chat, chat_commands
from contract.errors import ErrorDetail, ParleyError, invalid
from contract.text import BLANK
from models.context import Context, fingerprint, new_id, now
from models.conversations.actions import Conversations
from models.conversations.document import merged, to_message
from models.messages.document import draft, placed, split_id
from models.messages.indexing import Indexing
from models.messages.log import Log
from models.messages.store import ClientIdTaken as ClientIdTaken
from models.messages.store import MessageStore
from models.notifications.actions import Notifications
from realtime.publisher import Publisher
from storage.mongo import Document, Transaction

log = logging.getLogger("parley.messages")

EDIT_ATTEMPTS_MAX = 20
# Whoever repeats a command that was not answered does so soon.
REPEATED_WITHIN = timedelta(minutes=10)
EMOJI_PER_MESSAGE_MAX = 20
Change = Callable[[Document], dict[str, Any] | None]


class Messages:
    def __init__(
        self,
        store: MessageStore,
        indexing: Indexing,
        log: Log,
        conversations: Conversations,
        notifications: Notifications,
        publisher: Publisher,
    ) -> None:
        self._store = store
        self._indexing = indexing
        self._log = log
        self._conversations = conversations
        self._notifications = notifications
        self._publisher = publisher
        conversations.before_moving(self.notify_mentioned)

    async def send(self, context: Context, payload: chat.Send) -> chat.MessageData:
        conversation = await self._conversations.require_recent(context.user_id, payload.conversation_id)
        text = payload.text or ""
        mentions = list(dict.fromkeys(payload.mentions))
        if payload.attachments:
            unknown = [ErrorDetail(f"attachments[{i}]", "no such upload") for i in range(len(payload.attachments))]
            raise ParleyError("validation_failed", "attachments: no such upload", details=unknown)
        if not text:
            raise invalid("text", BLANK)
        print_ = fingerprint(payload.conversation_id, text, payload.reply_to, mentions)
        try:
            await self._check_references(context.user_id, conversation, mentions, payload.reply_to)
            self._conversations.limits.telling(context.user_id, conversation)
            self._conversations.limits.saying(context.user_id, payload.conversation_id, text)
        except ParleyError:
            found = await self.repeated(context.user_id, payload.client_id, print_)
            if found is None:  # else people have left since it was sent, or it was the last that could be
                raise
            return chat.MessageData(message=to_message(found), duplicate=True)
        made = draft(
            context.user_id, payload.client_id, "text", text, now(), origin=context.origin,
            reply_to=payload.reply_to, mentions=mentions, fingerprint=print_,
        )  # fmt: skip
        data = await self._log.append(payload.conversation_id, made, context.placed, context.answer)
        if mentions:  # at once; and if that fails, or this process dies, when the head is moved
            try:
                await self._notify([data.message.id], self._conversations.recent)
            except Exception as error:
                log.warning("those mentioned in %s are notified a little later: %s", data.message.id, error)
        return data

    async def notify_mentioned(self, messages: Sequence[Document]) -> None:
        """Those who are mentioned in them and were not notified yet."""
        mentioning = [message for message in messages if message["mentions"]]
        untold = await self._notifications.untold(mentioning) if mentioning else []
        await self._notify(untold, self._conversations.find_stored)

    async def _notify(self, ids: Sequence[str], find: Callable[[str], Awaitable[Document | None]]) -> None:
        """Those who are mentioned in these messages, as they are now, and may see them now."""
        for document in await self._store.find_many(ids) if ids else ():
            conversation = await find(document["conversation_id"])
            if conversation is not None and document["deleted_at"] is None:
                await self._notify_of(to_message(document), conversation)

    async def _notify_of(self, message: chat.Message, conversation: Document) -> None:
        members, participants = conversation["members"], conversation["participant_ids"]
        told = [one for one in message.mentions if one in participants and members[one]["joined_seq"] < message.seq]
        await self._notifications.mentioned(message, conversation, told)

    # For other nouns, whose changes are messages too

    async def commit(self, conversation_id: str, write: Callable[[int], Awaitable[Document]]) -> Document:
        """See Log.commit."""
        return await self._log.commit(conversation_id, write)

    async def place(self, conversation_id: str, seq: int, made: Document, tx: Transaction) -> Document:
        """Makes the draft the message at that place. Raises ClientIdTaken."""
        message = placed(conversation_id, seq, made)
        await self._store.insert(message, tx)
        return message

    async def repeated(self, sender_id: str, client_id: str, print_: str) -> Document | None:
        """The message of this client_id, if there is one. Raises idempotency_mismatch if it is another's payload."""
        found = await self._store.find_sent(sender_id, client_id)
        if found is not None and found["payload_hash"] != print_:
            raise ParleyError("idempotency_mismatch")
        return found

    async def _check_references(
        self, user_id: str, conversation: Document, mentions: Sequence[str], reply_to: str | None
    ) -> None:
        """A message mentions people who are there, and answers a message that its sender can see."""
        if strangers := [one for one in mentions if one not in conversation["participant_ids"]]:
            raise invalid("mentions", f"not in this conversation: {', '.join(strangers[:5])}")
        if reply_to is None:
            return
        place = split_id(reply_to)
        there = place is not None and place[0] == conversation["_id"]
        seen = place is not None and place[1] > conversation["members"][user_id]["joined_seq"]
        if not there or not seen or await self._store.find(reply_to) is None:
            raise invalid("reply_to", "is not a message of this conversation")

    async def edit(self, context: Context, payload: chat.Edit) -> chat.MessageData:
        def change(message: Document) -> dict[str, Any] | None:
            self._require_own(context, message)
            if message["deleted_at"] is not None:
                raise ParleyError("message_deleted")
            repeated = payload.version is not None and payload.version + 1 == message["version"]
            if message["text"] == payload.text and (payload.version in (None, message["version"]) or repeated):
                return None
            if payload.version is not None and payload.version != message["version"]:
                raise ParleyError("message_version_stale", details={"message": _plain(message)})
            return {"text": payload.text, "edited_at": now()}

        return await self._change(context, payload.message_id, change)

    async def delete(self, context: Context, payload: chat.MessageTarget) -> chat.MessageData:
        def change(message: Document) -> dict[str, Any] | None:
            self._require_own(context, message)
            if message["deleted_at"] is not None:
                return None
            return {
                "text": "", "attachments": [], "mentions": [], "reactions": {}, "reply_to": None, "deleted_at": now(),
            }  # fmt: skip

        return await self._change(context, payload.message_id, change)

    async def react(self, context: Context, payload: chat.React) -> chat.MessageData:
        def change(message: Document) -> dict[str, Any] | None:
            if message["deleted_at"] is not None:
                raise ParleyError("message_deleted")
            reactions = merged(message["reactions"])
            users = reactions.setdefault(payload.emoji, [])
            if payload.on == (context.user_id in users):
                return None
            if payload.on:
                users.append(context.user_id)
            else:
                users.remove(context.user_id)
            if len(reactions) > EMOJI_PER_MESSAGE_MAX:
                raise invalid("emoji", f"a message has at most {EMOJI_PER_MESSAGE_MAX} different reactions")
            return {"reactions": {emoji: users for emoji, users in reactions.items() if users}}

        return await self._change(context, payload.message_id, change)

    @staticmethod
    def _require_own(context: Context, message: Document) -> None:
        if message["sender_id"] != context.user_id or message["kind"] != "text":
            raise ParleyError("forbidden", "Only the sender may change a message, and only one of text.")

    async def visible(self, user_id: str, identifier: str) -> tuple[Document, Document]:
        """(conversation, message), if this person may see it. Raises not_found or not_a_participant."""
        place = split_id(identifier)
        if place is None:
            raise ParleyError("not_found", "There is no such message.")
        conversation = await self._conversations.require_recent(user_id, place[0])
        message = await self._store.find(identifier)
        if message is None or message["seq"] <= conversation["members"][user_id]["joined_seq"]:
            raise ParleyError("not_found", "There is no such message.")
        return conversation, message

    async def _change(self, context: Context, identifier: str, change: Change) -> chat.MessageData:
        """Applies `change` to the newest version, again if someone was faster; tells everyone. None: nothing to do."""
        mark = new_id("mark")
        for attempt in range(EDIT_ATTEMPTS_MAX):
            conversation, message = await self.visible(context.user_id, identifier)
            fields = change(message)
            if fields is None:
                if "changed_at" in message and message["changed_at"] > now() - REPEATED_WITHIN:
                    return await self._changed(context, message)  # the first attempt may not have come to this
                return chat.MessageData(message=to_message(message))
            if attempt == 0:
                self._charge(context.user_id, conversation, fields)
            # First: a process that dies in between must not leave search with the old words.
            await self._conversations.changing(conversation, "text" in fields)
            if "text" in fields:
                await self._indexing.changing(message, mark)
            changed = await self._store.replace(message, fields, now())
            if changed is not None:
                try:
                    return await self._changed(context, changed)
                finally:
                    if "text" in fields:
                        self._indexing.changed(changed, mark)
        raise ParleyError("conflict")

    def _charge(self, user_id: str, conversation: Document, fields: dict[str, Any]) -> None:
        self._conversations.limits.telling(user_id, conversation)
        if fields.get("text"):
            self._conversations.limits.saying(user_id, conversation["_id"], fields["text"])

    async def _changed(self, context: Context, message: Document) -> chat.MessageData:
        """Tells everyone what it is now."""
        try:
            await self._conversations.changed_message(message)
        finally:
            data = await self._tell_changed(message, context.origin)
        return data

    async def _tell_changed(self, message: Document, origin: str | None, local: bool = False) -> chat.MessageData:
        # Who is in it now: nobody hears of a conversation after having been told that they left it.
        rooms = await self._conversations.audience(message["conversation_id"], message["seq"])
        data = chat.MessageData(message=to_message(message))
        await self._publisher.publish(chat_commands.MESSAGE_UPDATED, rooms, data, origin=origin, local=local)
        return data

    async def tell_changed(self, conversation_id: str, since: datetime) -> None:
        """Messages that were changed, as they are now, to those on this process. Clients keep the highest version."""
        messages = await self._store.changed_since(conversation_id, since)
        await self._conversations.find(conversation_id)  # who is in it now, which this process may not have been told
        for message in messages:
            await self._tell_changed(message, None, local=True)


def _plain(message: Document) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(to_message(message))
    return plain
