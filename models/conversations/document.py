"""The conversation document.

    {_id, type, title, direct_key?, create_key, create_hash, brought?, participant_ids: [user_id],
     members: {user_id: {name, role, joined_seq, delivered_seq, read_seq, sent, sent_at_read, muted, archived,
     weight?}}, last_seq, last_message, pinned_message_ids, created_at, updated_at, touched_at, changed_at?,
     edited_at?, edited?}

`members` is a map so that one person's marks change with one atomic `$max`. `last_seq` and `last_message` move on
together, a moment behind the messages (`moving`). `sent` counts a member's own messages and `sent_at_read` how many of
them their read mark covers, so that unread = messages after the mark − own messages after the mark, without counting.
`updated_at` is the last activity people see, `touched_at` moves with any change at all; `changed_at` with one of the
conversation itself, marks excepted, and `edited_at` with one of a message (`edited`: some text is not the first any
more). `create_key` begins with its maker's id; `brought` counts people whom the maker has put into a group. Who is in
`participant_ids` is in the conversation: `members` may keep a stub of someone who left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from msgspec import UNSET
from pymongo import IndexModel

from contract.chat import Conversation, Message, OfferStep, Participant, Receipt
from contract.money import Money
from contract.text import canonical_emoji
from contract.types import format_time
from storage.mongo import Document

INDEXES = {
    "conversations": [
        IndexModel([("participant_ids", 1), ("updated_at", -1)]),
        IndexModel([("direct_key", 1)], unique=True, partialFilterExpression={"direct_key": {"$type": "string"}}),
        IndexModel([("create_key", 1)], unique=True),
    ]
}


def new_member(name: str, role: str, joined_seq: int, weight: int = 1) -> dict[str, Any]:
    """Someone who joins has missed nothing of what was said before. `weight`: see `Limits`."""
    return {
        "name": name, "role": role, "joined_seq": joined_seq, "delivered_seq": joined_seq, "read_seq": joined_seq,
        "sent": 0, "sent_at_read": 0, "muted": False, "archived": False, "weight": weight,
    }  # fmt: skip


def removal(document: Document, removed: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(query, change): it matches while all whom it concerns are in the conversation."""
    members, concerned = document["members"], list(removed)
    stay = [user_id for user_id in document["participant_ids"] if user_id not in removed]
    change: dict[str, Any] = {
        "$pull": {"participant_ids": {"$in": list(removed)}},
        "$unset": {f"members.{user_id}": "" for user_id in removed},
    }
    if stay and not any(members[user_id]["role"] == "owner" for user_id in stay):
        change["$set"] = {f"members.{stay[0]}.role": "owner"}
        concerned.append(stay[0])
    return {"_id": document["_id"], "participant_ids": {"$all": concerned}}, change


def direct_key(one: str, other: str) -> str:
    return ":".join(sorted((one, other)))


def maker_of(document: Document) -> str:
    maker_id: str = document["create_key"].partition(":")[0]
    return maker_id


def unread(document: Document, user_id: str) -> int:
    member = document["members"][user_id]
    after_mark: int = document["last_seq"] - member["read_seq"]
    own_after_mark: int = member["sent"] - member["sent_at_read"]
    return max(0, after_mark - own_after_mark)


def id_of(message: Document) -> str:
    """As clients know it, see `models.messages.document`."""
    return f"{message['conversation_id']}.{message['seq']}"


def seq_of(identifier: str) -> int:
    """Of a message's id."""
    return int(identifier.rpartition(".")[2])


def to_message(document: Document) -> Message:
    return Message(
        id=id_of(document),
        conversation_id=document["conversation_id"],
        seq=document["seq"],
        sender_id=document["sender_id"],
        client_id=document["client_id"],
        kind=document["kind"],
        text=document["text"],
        attachments=document["attachments"],
        reply_to=document["reply_to"],
        mentions=document["mentions"],
        reactions=merged(document["reactions"]),
        created_at=format_time(document["created_at"]),
        edited_at=format_time(document["edited_at"]) if document["edited_at"] else None,
        deleted_at=format_time(document["deleted_at"]) if document["deleted_at"] else None,
        version=document["version"],
        offer=_to_offer_step(document["offer"]) if document["kind"] == "offer" else UNSET,
    )


def merged(reactions: dict[str, list[str]]) -> dict[str, list[str]]:
    """Who reacted how. What was stored under two spellings of one emoji, before there was a rule, is one here."""
    found: dict[str, list[str]] = {}
    for emoji, users in reactions.items():
        one = found.setdefault(canonical_emoji(emoji), [])
        one += [user_id for user_id in users if user_id not in one]
    return found


def _to_offer_step(step: Document) -> OfferStep:
    return OfferStep(
        offer_id=step["offer_id"],
        version=step["version"],
        action=step["action"],
        status=step["status"],
        total=Money(amount=step["total"]["amount"], currency=step["total"]["currency"]),
    )


class View(NamedTuple):
    """What of a conversation is not the same for everyone who sees it."""

    last_message: bool
    unread: int
    muted: bool
    archived: bool
    pinned: tuple[str, ...]


def view(document: Document, viewer_id: str) -> View:
    """Someone just removed still gets a last look, without marks of their own."""
    if viewer_id not in document["participant_ids"]:
        return View(False, 0, False, False, ())
    own, last = document["members"][viewer_id], document["last_message"]
    visible = last is not None and last["seq"] > own["joined_seq"]
    pinned = tuple(each for each in document["pinned_message_ids"] if seq_of(each) > own["joined_seq"])
    return View(visible, unread(document, viewer_id), own["muted"], own["archived"], pinned)


def to_conversation(document: Document, viewer_id: str) -> Conversation:
    """As the viewer sees it; of messages after they joined. See `Conversations.show`."""
    seen, last = view(document, viewer_id), document["last_message"]
    return Conversation(
        id=document["_id"],
        type=document["type"],
        title=document["title"],
        participants=[_participant(user_id, document["members"][user_id]) for user_id in document["participant_ids"]],
        last_seq=document["last_seq"],
        last_message=to_message(last) if seen.last_message else None,
        unread=seen.unread,
        muted=seen.muted,
        archived=seen.archived,
        pinned_message_ids=list(seen.pinned),
        created_at=format_time(document["created_at"]),
        updated_at=format_time(document["updated_at"]),
    )


def _participant(user_id: str, member: dict[str, Any]) -> Participant:
    return Participant(
        user_id=user_id,
        name=member["name"],
        role=member["role"],
        joined_seq=member["joined_seq"],
        delivered_seq=member["delivered_seq"],
        read_seq=member["read_seq"],
    )


def to_receipt(document: Document, user_id: str) -> Receipt:
    member = document["members"][user_id]
    return Receipt(
        conversation_id=document["_id"],
        user_id=user_id,
        delivered_seq=member["delivered_seq"],
        read_seq=member["read_seq"],
    )
