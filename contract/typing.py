"""/typing: who is writing right now. Nothing here is stored."""

from __future__ import annotations

from contract.registry import USER, Event, Operation, Rate
from contract.types import Empty, Id, Payload, Resource

EXPIRES_MS = 6_000
REPEAT_MS = 2_000


class Typing(Payload):
    conversation_id: Id


class TypingChanged(Resource):
    """`expires_in_ms` is 0 for a stop."""

    conversation_id: str
    user_id: str
    expires_in_ms: int


_ACCESS = ("not_found", "not_a_participant")
START = Operation(
    "typing:start",
    Typing,
    Empty,
    USER,
    Rate(600, 60, 30),
    "The caller is writing. Repeat while it lasts; others hear of it at most every 2 s and it expires after 6 s.",
    _ACCESS,
    namespace="/typing",
    fan_out="signals",
)
STOP = Operation(
    "typing:stop", Typing, Empty, USER, Rate(600, 60, 30), "The caller stopped writing.", _ACCESS, namespace="/typing"
)
_LATEST = ("conversation_id", "user_id")
STARTED = Event(
    "typing:start", "/typing", TypingChanged, "Someone writes in a conversation this connection joined.", _LATEST
)
STOPPED = Event(
    "typing:stop", "/typing", TypingChanged, "They stopped, or nothing more was heard of it for 6 s.", _LATEST
)
