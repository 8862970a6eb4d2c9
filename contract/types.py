"""Base classes and the constrained types payloads are made of. Every string, list and number has a limit here."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta

TEXT_CHARS_MAX = 10_000
PARTICIPANTS_MAX = 1_024
PAGE_MAX = 200
# In Python `$` also matches before a last newline; this ends a pattern for good there and in JavaScript.
END = r"$(?!\n)"

Id = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.:-]+" + END)]
ClientId = Annotated[
    str, Meta(min_length=1, max_length=64, description="made by the client; makes the command safe to repeat")
]
Timestamp = Annotated[
    str,
    Meta(
        max_length=40,
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)" + END,
        extra_json_schema={"format": "date-time"},
        description="RFC 3339, UTC, milliseconds",
    ),
]
Seq = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Limit = Annotated[int, Meta(ge=1, le=PAGE_MAX)]
Cursor = Annotated[str, Meta(min_length=1, max_length=512, description="opaque; from next_cursor of the last page")]
MessageText = Annotated[str, Meta(max_length=TEXT_CHARS_MAX)]
Title = Annotated[str, Meta(min_length=1, max_length=120)]
PersonName = Annotated[str, Meta(min_length=1, max_length=80)]
Emoji = Annotated[str, Meta(min_length=1, max_length=16, pattern=r"^[^\s.$\x00-\x1f]+" + END)]
Email = Annotated[
    str,
    Meta(
        min_length=3,
        max_length=254,
        pattern=r"^[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f.]+(\.[^@\s\x00-\x1f.]+)+" + END,
        extra_json_schema={"format": "email"},
    ),
]
Phone = Annotated[str, Meta(pattern=r"^\+[1-9][0-9]{6,14}" + END, description="E.164")]


class Payload(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What a client sends. Unknown fields are refused, so that a typo is an error and not a silence."""


class Resource(msgspec.Struct, kw_only=True):
    """What the server sends. Fields are always present; absent values are null."""


class Empty(Payload):
    """A command without particulars, or an acknowledgement without data."""


_FIELD_AT = re.compile(r"^(?P<reason>.*?) - at (?:`key` in )?`(?P<path>[^`]*)`$", re.DOTALL)
_FIELD_NAMED = re.compile(r"`(?P<name>[^`]+)`")


def explain(error: msgspec.ValidationError) -> tuple[str, str]:
    """Splits msgspec's one-line message into (field, reason): ("text", "Expected `str`, got `int`")."""
    match = _FIELD_AT.match(str(error))
    reason = match["reason"] if match else str(error)
    path = match["path"].removeprefix("$").removeprefix(".") if match else ""
    if "unknown field" in reason or "missing required field" in reason:
        named = _FIELD_NAMED.search(reason)
        if named:
            path = f"{path}.{named['name']}" if path else named["name"]
    return path or "payload", reason


def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds: 2026-11-22T02:41:37.959Z."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def parse_time(text: str) -> datetime:
    """The inverse of `format_time`; any RFC 3339 offset is taken. Raises ValueError."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except OverflowError as error:  # the first and last days of the calendar, seen from another time zone
        raise ValueError(str(error)) from None
