"""The REST mirrors of /chat. Each runs the same action as its command and is broadcast the same way."""

from __future__ import annotations

from contract import chat, chat_commands
from contract.registry import Endpoint, mirror

_CONVERSATIONS = "/api/v1/chat/conversations"
_ONE = f"{_CONVERSATIONS}/{{conversation_id}}"
_MESSAGE = "/api/v1/chat/messages/{message_id}"


HISTORY_PAGE = Endpoint(
    "GET",
    f"{_ONE}/messages",
    chat_commands.HISTORY.doc,
    "chat",
    chat.HistoryPage,
    chat.MessageList,
    errors=chat_commands.HISTORY.errors,
)


MIRRORS = (
    mirror("GET", _CONVERSATIONS, "chat", chat_commands.LIST),
    mirror("POST", _CONVERSATIONS, "chat", chat_commands.CREATE, "conversation", 201),
    mirror("GET", _ONE, "chat", chat_commands.GET, "conversation"),
    mirror("PATCH", _ONE, "chat", chat_commands.UPDATE, "conversation"),
    mirror("POST", f"{_ONE}/members", "chat", chat_commands.MEMBERS, "conversation"),
    mirror("POST", f"{_ONE}/messages", "chat", chat_commands.SEND, "message", 201),
    mirror("POST", f"{_ONE}/delivered", "chat", chat_commands.DELIVERED, "receipt"),
    mirror("POST", f"{_ONE}/read", "chat", chat_commands.READ, "receipt"),
    mirror("PATCH", _MESSAGE, "chat", chat_commands.EDIT, "message"),
    mirror("DELETE", _MESSAGE, "chat", chat_commands.DELETE, "message"),
    mirror("POST", f"{_MESSAGE}/reactions", "chat", chat_commands.REACT, "message"),
    mirror("GET", "/api/v1/chat/search", "chat", chat_commands.SEARCH, limit="search"),
    mirror("POST", "/api/v1/chat/sync", "chat", chat_commands.SYNC),
)
