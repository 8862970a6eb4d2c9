"""The REST mirrors of /chat. Each runs the same action as its command and is broadcast the same way."""

from __future__ import annotations

from contract import chat, chat_commands
from contract.registry import Command, Endpoint

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


def _mirror(method: str, path: str, command: Command, returns: str | None = None, status: int = 200) -> Endpoint:
    return Endpoint(method, path, command.doc, "chat", command=command, returns=returns, status=status)  # type: ignore[arg-type]


MIRRORS = (
    _mirror("GET", _CONVERSATIONS, chat_commands.LIST),
    _mirror("POST", _CONVERSATIONS, chat_commands.CREATE, "conversation", 201),
    _mirror("GET", _ONE, chat_commands.GET, "conversation"),
    _mirror("PATCH", _ONE, chat_commands.UPDATE, "conversation"),
    _mirror("POST", f"{_ONE}/members", chat_commands.MEMBERS, "conversation"),
    _mirror("POST", f"{_ONE}/messages", chat_commands.SEND, "message", 201),
    _mirror("POST", f"{_ONE}/delivered", chat_commands.DELIVERED, "receipt"),
    _mirror("POST", f"{_ONE}/read", chat_commands.READ, "receipt"),
    _mirror("PATCH", _MESSAGE, chat_commands.EDIT, "message"),
    _mirror("DELETE", _MESSAGE, chat_commands.DELETE, "message"),
    _mirror("POST", f"{_MESSAGE}/reactions", chat_commands.REACT, "message"),
    _mirror("GET", "/api/v1/chat/search", chat_commands.SEARCH),
    _mirror("POST", "/api/v1/chat/sync", chat_commands.SYNC),
)
