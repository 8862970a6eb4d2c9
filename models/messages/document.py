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

    {_id: "CONVERSATION.NUMBER.VERSION", conversation_id, version, revision, words: [token],
     lines: [{seq, words: [piece], created_at}], changing?: [{seq, mark}], marked_at?, more?, look?: conversation_id}

`lines` tell what each message says, `words` find the block (see `words`). `changing` names messages that are about to
say something else: search looks at those themselves, until the block is rebuilt from its messages after the change
(see `indexing`). `more`: there are tokens that `words` has no room for. Blocks with either are found by `look`.

Sizes: a line has at most WORDS_MAX pieces of CHARS_MAX characters in all, some 64 KB; a block so at most 4 MB in its
lines and 1 MB in its tokens, where a document may have 16 MB.

The first version, which `_id` does not name, had other words, `changed: [seq]` and no revision. It is still read,
until migration 1 has rebuilt all there is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime

from pymongo import IndexModel

from models.messages.words import said
from storage.mongo import Document

INDEXES = {
    "messages": [
        IndexModel([("place", 1)], unique=True),
        IndexModel([("conversation_id", 1), ("changed_at", 1)], sparse=True),
    ],
    "message_words": [
        IndexModel([("conversation_id", 1), ("words", 1)]),
        IndexModel([("look", 1)], sparse=True),
        IndexModel([("marked_at", 1)], sparse=True),
    ],
}
PLACE_DIGITS = 16
BLOCK = 64
VERSION = 2
# Most blocks have a few hundred. An update on the embedded database takes 50 ms for every thousand.
BLOCK_WORDS_MAX = 4_000
LONG_CHARS = 500
# In the first version no word, but the mark of blocks with `changed`.
FIRST_CHANGED = "\0changed"


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


def block_number(seq: int) -> int:
    return (seq - 1) // BLOCK


def block_id(conversation_id: str, number: int, version: int = VERSION) -> str:
    return f"{conversation_id}.{number}.{version}" if version > 1 else f"{conversation_id}.{number}"


def number_of(identifier: str) -> int:
    """Of a block, of any version."""
    return int(identifier.split(".")[1])


async def adding(block: Document, messages: Sequence[Document]) -> Document | None:
    """The update that gives a block the lines of messages that it lacks. None if it has them all."""
    there = {line["seq"] for line in block.get("lines", ())}
    lines, tokens = await lines_of(message for message in messages if message["seq"] not in there)
    if not lines:
        return None
    known = set(block.get("words", ()))
    fresh = [token for token in tokens if token not in known]
    room = max(0, BLOCK_WORDS_MAX - len(known))
    conversation_id = messages[0]["conversation_id"]
    update: Document = {
        "$setOnInsert": {"conversation_id": conversation_id, "version": VERSION},
        "$push": {"words": {"$each": fresh[:room]}, "lines": {"$each": lines}},
    }
    if len(fresh) > room:
        update["$set"] = {"more": True, "look": conversation_id}
    return update


async def rebuilt(
    conversation_id: str, messages: Sequence[Document], changing: Sequence[Document], marked_at: datetime | None
) -> Document:
    """The update that makes a block of what its messages, all of them, say now; with these marks left."""
    lines, tokens = await lines_of(messages)
    fields: Document = {"words": tokens[:BLOCK_WORDS_MAX], "lines": lines}
    optional: Document = {
        "more": len(tokens) > BLOCK_WORDS_MAX, "changing": list(changing),
        "marked_at": marked_at if changing else None,
        "look": conversation_id if changing or len(tokens) > BLOCK_WORDS_MAX else None,
    }  # fmt: skip
    gone = {name: "" for name, value in optional.items() if not value}
    return {
        "$setOnInsert": {"conversation_id": conversation_id, "version": VERSION},
        "$set": fields | {name: value for name, value in optional.items() if value},
        **({"$unset": gone} if gone else {}),
    }


async def lines_of(messages: Iterable[Document]) -> tuple[list[Document], list[str]]:
    """(lines, the distinct tokens that find them). Messages that are not of text say nothing to search, nor do deleted
    ones, whose text is gone. Between long texts others have their turn: one may take ten milliseconds."""
    lines: list[Document] = []
    tokens: dict[str, None] = {}
    for message in messages:
        if message["kind"] == "text":
            pieces, found = said(message["text"])
            lines.append({"seq": message["seq"], "words": pieces, "created_at": message["created_at"]})
            tokens.update(dict.fromkeys(found))
            if len(message["text"]) > LONG_CHARS:
                await asyncio.sleep(0)
    return lines, list(tokens)


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
