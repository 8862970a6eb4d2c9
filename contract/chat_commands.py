"""/chat: the operations and events. Their payloads are in `contract.chat`."""

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
    HistoryPage,
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
from contract.registry import USER, Event, Operation, Rate, Route
from contract.types import Empty

_READ = Rate(600, 60, 100)

_CONVERSATIONS = "/api/v1/chat/conversations"
_ONE = f"{_CONVERSATIONS}/{{conversation_id}}"
_MESSAGE = "/api/v1/chat/messages/{message_id}"
_ACCESS = ("not_found", "not_a_participant")
CREATE = Operation(
    "chat:create",
    Create,
    ConversationData,
    USER,
    Rate(60, 60, 30),
    "Makes a conversation of the caller and others. A direct conversation of two people exists once.",
    ("not_found", "idempotency_mismatch", "conflict", "limit_reached"),
    namespace="/chat",
    routes=(Route("POST", _CONVERSATIONS, "chat", returns="conversation", status=201),),
    fan_out="messages",
)
LIST = Operation(
    "chat:list",
    List,
    ConversationList,
    USER,
    _READ,
    f"The caller's conversations, newest activity first. A page is over soon after {PAGE_PEOPLE_MAX} participants too, "
    "and when enough were looked at that are not wanted: it may have few items or none and yet a next_cursor.",
    namespace="/chat",
    routes=(Route("GET", _CONVERSATIONS, "chat"),),
)
GET = Operation(
    "chat:get",
    ConversationTarget,
    ConversationData,
    USER,
    _READ,
    "One conversation.",
    _ACCESS,
    namespace="/chat",
    routes=(Route("GET", _ONE, "chat", returns="conversation"),),
)
JOIN = Operation(
    "chat:join",
    Join,
    JoinData,
    USER,
    _READ,
    "Opens a conversation: this connection looks at it now. Returns the latest messages, or those after since_seq.",
    _ACCESS,
    namespace="/chat",
)
LEAVE = Operation(
    "chat:leave",
    ConversationTarget,
    Empty,
    USER,
    Rate(1200, 60, 200),
    "This connection no longer looks at it.",
    namespace="/chat",
)
SEND = Operation(
    "chat:send",
    Send,
    MessageData,
    USER,
    Rate(600, 60, 60),
    "Sends a message. The acknowledgement means that it is durable; a repeat with the same client_id adds none.",
    (*_ACCESS, "idempotency_mismatch", "conflict"),
    namespace="/chat",
    routes=(Route("POST", f"{_ONE}/messages", "chat", returns="message", status=201),),
    overlaps=True,
    fan_out="messages",
)
EDIT = Operation(
    "chat:edit",
    Edit,
    MessageData,
    USER,
    Rate(120, 60, 30),
    "Changes the text of the caller's own message.",
    (*_ACCESS, "forbidden", "message_deleted", "message_version_stale", "conflict"),
    namespace="/chat",
    routes=(Route("PATCH", _MESSAGE, "chat", returns="message"),),
    fan_out="messages",
)
DELETE = Operation(
    "chat:delete",
    MessageTarget,
    MessageData,
    USER,
    Rate(120, 60, 30),
    "Deletes the caller's own message; a tombstone keeps its place in the sequence.",
    (*_ACCESS, "forbidden", "conflict"),
    namespace="/chat",
    routes=(Route("DELETE", _MESSAGE, "chat", returns="message"),),
    fan_out="messages",
)
REACT = Operation(
    "chat:react",
    React,
    MessageData,
    USER,
    Rate(240, 60, 60),
    "Adds or takes back the caller's reaction.",
    (*_ACCESS, "message_deleted", "conflict"),
    namespace="/chat",
    routes=(Route("POST", f"{_MESSAGE}/reactions", "chat", returns="message"),),
    fan_out="messages",
)
DELIVERED = Operation(
    "chat:delivered",
    Mark,
    ReceiptData,
    USER,
    Rate(1200, 60, 200),
    "Has arrived here up to `seq`; only rises.",
    _ACCESS,
    namespace="/chat",
    routes=(Route("POST", f"{_ONE}/delivered", "chat", returns="receipt"),),
    fan_out="signals",
)
READ = Operation(
    "chat:read",
    Mark,
    ReceiptData,
    USER,
    Rate(1200, 60, 200),
    "Has been read up to `seq`; only rises.",
    _ACCESS,
    namespace="/chat",
    routes=(Route("POST", f"{_ONE}/read", "chat", returns="receipt"),),
    fan_out="signals",
)
HISTORY = Operation(
    "chat:history", History, HistoryData, USER, _READ, "A page of messages by sequence.", _ACCESS, namespace="/chat"
)
HISTORY_PAGE = Operation(
    "chat:history_page",
    HistoryPage,
    MessageList,
    USER,
    _READ,
    "A page of messages by sequence.",
    _ACCESS,
    routes=(Route("GET", f"{_ONE}/messages", "chat"),),
)
SEARCH = Operation(
    "chat:search",
    Search,
    MessageList,
    USER,
    Rate(60, 60, 20, shared=True),
    "Messages that have all the words, each as a word or its beginning; newest first. A page is also over when it has "
    "looked at enough messages: it may have few items or none and yet a next_cursor.",
    _ACCESS,
    namespace="/chat",
    routes=(Route("GET", "/api/v1/chat/search", "chat"),),
)
SYNC = Operation(
    "chat:sync",
    Sync,
    SyncData,
    USER,
    Rate(120, 60, 30),
    "All that the caller missed since the cursors. `more`: call again with the cursors moved on.",
    namespace="/chat",
    routes=(Route("POST", "/api/v1/chat/sync", "chat"),),
)
MEMBERS = Operation(
    "chat:members",
    Members,
    ConversationData,
    USER,
    Rate(60, 60, 20),
    "Adds people to a group, or removes them. Owners may remove anyone; everyone may remove themselves.",
    (*_ACCESS, "forbidden", "conflict", "limit_reached"),
    namespace="/chat",
    routes=(Route("POST", f"{_ONE}/members", "chat", returns="conversation"),),
    fan_out="messages",
)
UPDATE = Operation(
    "chat:update",
    Update,
    ConversationData,
    USER,
    Rate(120, 60, 30),
    "Changes title and pins for all, muted and archived for the caller.",
    (*_ACCESS, "forbidden"),
    namespace="/chat",
    routes=(Route("PATCH", _ONE, "chat", returns="conversation"),),
    fan_out="messages",
)

MESSAGE_EVENT = Event("chat:message", "/chat", MessageData, "A new message, in rising seq per conversation.")
MESSAGE_UPDATED = Event(
    "chat:message_updated",
    "/chat",
    MessageData,
    "A message was edited, deleted or reacted to. May come again after a crash: the highest version is what counts.",
)
RECEIPT_EVENT = Event("chat:receipt", "/chat", Receipt, "Someone's delivered or read mark rose.")
CONVERSATION_EVENT = Event(
    "chat:conversation",
    "/chat",
    ConversationData,
    "A conversation is new to you or changed. May come again after a crash, as it is then.",
)
HEAD_EVENT = Event("chat:head", "/chat", Head, "You may have missed messages up to last_seq: fetch what you lack.")
