"""/presence: who is there. Several devices count as one person; nobody sees a stranger's presence."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from contract.registry import USER, Event, Operation, Rate
from contract.text import line_or_blank
from contract.types import Empty, Id, Payload, Resource, Timestamp

Status = Literal["online", "away", "dnd", "invisible"]
UserIds = Annotated[list[Id], Meta(min_length=1, max_length=500)]
StatusText = Annotated[str, line_or_blank(140)]


class Subscribe(Payload):
    user_ids: UserIds


class SetStatus(Payload):
    status: Status
    text: StatusText | UnsetType | None = UNSET


class Presence(Resource):
    """An invisible person is offline to others."""

    user_id: str
    status: Literal["online", "away", "dnd", "invisible", "offline"]
    text: str | None
    last_seen_at: Timestamp | None


class Presences(Resource):
    """`refused` are those the caller shares no conversation with (or who do not exist)."""

    presences: list[Presence]
    refused: list[str]


class PresenceData(Resource):
    presence: Presence


SUBSCRIBE = Operation(
    "presence:subscribe",
    Subscribe,
    Presences,
    USER,
    Rate(120, 60, 30),
    "Returns their presence now and sends user:status_change from here on to this connection.",
    namespace="/presence",
)
UNSUBSCRIBE = Operation(
    "presence:unsubscribe", Subscribe, Empty, USER, Rate(120, 60, 30), "Ends subscriptions.", namespace="/presence"
)
SET = Operation(
    "presence:set",
    SetStatus,
    PresenceData,
    USER,
    Rate(12, 60, 10),
    "Chooses how the caller appears, on all devices, until changed.",
    namespace="/presence",
)
STATUS_CHANGE = Event(
    "user:status_change", "/presence", Presence, "Someone subscribed to came, left or changed.", ("user_id",)
)
