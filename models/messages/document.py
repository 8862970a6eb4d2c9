"""The message document.

    {_id: "SENDER:CLIENT_ID", place: "CONVERSATION.SEQ", conversation_id, seq, sender_id, client_id, payload_hash,
     origin, kind, text, attachments, reply_to, mentions, reactions: {emoji: [user_id]}, created_at, edited_at,
     deleted_at, version, changed_at?}

`_id` makes a client_id unique per sender and `place` a seq unique per conversation: two indexes, of which the database
has the first anyway, because each costs a third of the insert. `place` pads the seq to PLACE_DIGITS, so that a range of
places is a range of messages. What clients call a message's id is made of the same two parts, unpadded. `origin` is the
connection that sent it, which needs no event; `changed_at` exists once a message was edited, deleted or reacted to.

What search looks in is kept apart, for BLOCK messages of a conversation together, because an index entry for each word
of each message cost more than all the rest of a send:

    {_id: "CONVERSATION.NUMBER", conversation_id, words: [token], lines: [{seq, words: [token], created_at}],
     changed: [seq]}

A line is what a message said when it was indexed, perhaps twice after a crash. `changed` names messages that say
something else now, which search looks at themselves; a conversation that has any is `edited`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from datetime import datetime

from pymongo import IndexModel

from storage.mongo import Document

INDEXES = {
    "messages": [
        IndexModel([("place", 1)], unique=True),
        IndexModel([("conversation_id", 1), ("changed_at", 1)], sparse=True),
    ],
    "message_words": [IndexModel([("conversation_id", 1), ("words", 1)])],
}
BLOCK = 64
PLACE_DIGITS = 16
WORDS_MAX = 500
WORD_CHARS_MAX = 64
_WORD = re.compile(r"\w+")


def message_id(conversation_id: str, seq: int) -> str:
    """As clients know it."""
    return f"{conversation_id}.{seq}"


def place(conversation_id: str, seq: int) -> str:
    return f"{conversation_id}.{seq:0{PLACE_DIGITS}}"


def sent_key(sender_id: str, client_id: str) -> str:
    return f"{sender_id}:{client_id}"


def placed(conversation_id: str, seq: int, made: Document) -> Document:
    """The message that a draft becomes at this place."""
    return {
        "_id": sent_key(made["sender_id"], made["client_id"]), "place": place(conversation_id, seq),
        "conversation_id": conversation_id, "seq": seq, **made,
    }  # fmt: skip


def split_id(identifier: str) -> tuple[str, int] | None:
    """(conversation_id, seq), or None for anything that is not a message id."""
    conversation_id, dot, seq = identifier.rpartition(".")
    if not dot or not seq.isascii() or not seq.isdigit() or seq.startswith("0") or len(seq) > PLACE_DIGITS:
        return None
    return conversation_id, int(seq)


def words(text: str) -> list[str]:
    """The distinct words of a text, folded so that case and compatibility forms do not matter."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    found = dict.fromkeys(word[:WORD_CHARS_MAX] for word in _WORD.findall(folded))
    return list(found)[:WORDS_MAX]


def draft(
    sender_id: str,
    client_id: str,
    kind: str,
    text: str,
    created_at: datetime,
    *,
    origin: str | None = None,
    reply_to: str | None = None,
    mentions: Sequence[str] = (),
    fingerprint: str = "",
) -> Document:
    """A message without its place in a conversation, which the log gives it."""
    return {
        "sender_id": sender_id, "client_id": client_id, "payload_hash": fingerprint, "origin": origin, "kind": kind,
        "text": text, "attachments": [], "reply_to": reply_to, "mentions": list(mentions), "reactions": {},
        "created_at": created_at, "edited_at": None, "deleted_at": None, "version": 1,
    }  # fmt: skip
