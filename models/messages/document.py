"""The message document.

    {_id: "CONVERSATION.SEQ", conversation_id, seq, sender_id, client_id, payload_hash, origin, kind, text,
     attachments, reply_to, mentions, reactions: {emoji: [user_id]}, created_at, edited_at, deleted_at, version,
     words: [token], changed_at?}

The id is made of conversation and seq, so that one unique index keeps both the id and the place in the sequence, and a
message is found by id without a search. `origin` is the connection that sent it, which needs no event; `words` is what
search looks in; `changed_at` exists once a message was edited, deleted or reacted to.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from pymongo import IndexModel

from storage.mongo import Document

INDEXES = {
    "messages": [
        IndexModel([("conversation_id", 1), ("seq", 1)], unique=True),
        IndexModel([("sender_id", 1), ("client_id", 1)], unique=True),
        IndexModel([("conversation_id", 1), ("words", 1)]),
        IndexModel([("conversation_id", 1), ("changed_at", 1)], sparse=True),
    ]
}
WORDS_MAX = 500
WORD_CHARS_MAX = 64
_WORD = re.compile(r"\w+")


def message_id(conversation_id: str, seq: int) -> str:
    return f"{conversation_id}.{seq}"


def split_id(identifier: str) -> tuple[str, int] | None:
    """(conversation_id, seq), or None for anything that is not a message id."""
    conversation_id, dot, seq = identifier.rpartition(".")
    if not dot or not seq.isascii() or not seq.isdigit() or len(seq) > 16:
        return None
    return conversation_id, int(seq)


def words(text: str) -> list[str]:
    """The distinct words of a text, folded so that case and compatibility forms do not matter."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    found = dict.fromkeys(word[:WORD_CHARS_MAX] for word in _WORD.findall(folded))
    return list(found)[:WORDS_MAX]


def payload_hash(*parts: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:24]


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
        "words": words(text) if kind == "text" else [],
    }  # fmt: skip
