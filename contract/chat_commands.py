"""/chat: the commands and events. Their payloads are in `contract.chat`."""

from __future__ import annotations

from contract.chat import (
    PAGE_PEOPLE_MAX,
    ConversationData,
    ConversationList,
    ConversationTarget,
    Create,
    Edit,
    Head,
    History,
    HistoryData,
    Join,
    JoinData,
    List,
    Mark,
    Members,
    MessageData,
    MessageList,
    MessageTarget,
    React,
    Receipt,
    ReceiptData,
    Search,
    Send,
    Sync,
    SyncData,
    Update,
)
from contract.registry import Command, Event, Rate
from contract.types import Empty

_ACCESS = ("not_found", "not_a_participant")
_READ = Rate(600, 60, 100)

CREATE = Command(
    "chat:create", "/chat", Create, ConversationData, Rate(60, 60, 30),
    "Makes a conversation of the caller and others. A direct conversation of two people exists once.",
    ("not_found", "idempotency_mismatch", "conflict", "limit_reached"), fan_out="messages",
)  # fmt: skip
LIST = Command(
    "chat:list", "/chat", List, ConversationList, _READ,
    f"The caller's conversations, newest activity first. A page is over soon after {PAGE_PEOPLE_MAX} participants too, "
    "and when enough were looked at that are not wanted: it may have few items or none and yet a next_cursor.",
)  # fmt: skip
GET = Command("chat:get", "/chat", ConversationTarget, ConversationData, _READ, "One conversation.", _ACCESS)
JOIN = Command(
    "chat:join", "/chat", Join, JoinData, _READ,
    "Opens a conversation: this connection looks at it now. Returns the latest messages, or those after since_seq.",
    _ACCESS,
)  # fmt: skip
LEAVE = Command(
    "chat:leave", "/chat", ConversationTarget, Empty, Rate(1200, 60, 200), "This connection no longer looks at it.",
)  # fmt: skip
SEND = Command(
    "chat:send", "/chat", Send, MessageData, Rate(600, 60, 60),
    "Sends a message. The acknowledgement means that it is durable; a repeat with the same client_id adds none.",
    (*_ACCESS, "idempotency_mismatch", "conflict"), overlaps=True, fan_out="messages",
)  # fmt: skip
EDIT = Command(
    "chat:edit", "/chat", Edit, MessageData, Rate(120, 60, 30), "Changes the text of the caller's own message.",
    (*_ACCESS, "forbidden", "message_deleted", "message_version_stale", "conflict"), fan_out="messages",
)  # fmt: skip
DELETE = Command(
    "chat:delete", "/chat", MessageTarget, MessageData, Rate(120, 60, 30),
    "Deletes the caller's own message; a tombstone keeps its place in the sequence.",
    (*_ACCESS, "forbidden", "conflict"), fan_out="messages",
)  # fmt: skip
REACT = Command(
    "chat:react", "/chat", React, MessageData, Rate(240, 60, 60), "Adds or takes back the caller's reaction.",
    (*_ACCESS, "message_deleted", "conflict"), fan_out="messages",
)  # fmt: skip
DELIVERED = Command(
    "chat:delivered", "/chat", Mark, ReceiptData, Rate(1200, 60, 200), "Has arrived here up to `seq`; only rises.",
    _ACCESS, fan_out="signals",
)  # fmt: skip
READ = Command(
    "chat:read", "/chat", Mark, ReceiptData, Rate(1200, 60, 200), "Has been read up to `seq`; only rises.", _ACCESS,
    fan_out="signals",
)  # fmt: skip
HISTORY = Command("chat:history", "/chat", History, HistoryData, _READ, "A page of messages by sequence.", _ACCESS)
SEARCH = Command(
    "chat:search", "/chat", Search, MessageList, Rate(60, 60, 20),
    "Messages that have all the words, each as a word or its beginning; newest first. A page is also over when it has "
    "looked at enough messages: it may have few items or none and yet a next_cursor.", _ACCESS,
)  # fmt: skip
SYNC = Command(
    "chat:sync", "/chat", Sync, SyncData, Rate(120, 60, 30),
    "All that the caller missed since the cursors. `more`: call again with the cursors moved on.",
)  # fmt: skip
MEMBERS = Command(
    "chat:members", "/chat", Members, ConversationData, Rate(60, 60, 20),
    "Adds people to a group, or removes them. Owners may remove anyone; everyone may remove themselves.",
    (*_ACCESS, "forbidden", "conflict", "limit_reached"), fan_out="messages",
)  # fmt: skip
UPDATE = Command(
    "chat:update", "/chat", Update, ConversationData, Rate(120, 60, 30),
    "Changes title and pins for all, muted and archived for the caller.", (*_ACCESS, "forbidden"),
    fan_out="messages",
)  # fmt: skip

MESSAGE_EVENT = Event("chat:message", "/chat", MessageData, "A new message, in rising seq per conversation.")
MESSAGE_UPDATED = Event(
    "chat:message_updated", "/chat", MessageData,
    "A message was edited, deleted or reacted to. May come again after a crash: the highest version is what counts.",
)  # fmt: skip
RECEIPT_EVENT = Event("chat:receipt", "/chat", Receipt, "Someone's delivered or read mark rose.")
CONVERSATION_EVENT = Event(
    "chat:conversation", "/chat", ConversationData,
    "A conversation is new to you or changed. May come again after a crash, as it is then.",
)  # fmt: skip
HEAD_EVENT = Event("chat:head", "/chat", Head, "You may have missed messages up to last_seq: fetch what you lack.")
