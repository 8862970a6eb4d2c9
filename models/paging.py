"""Opaque cursors: what a list needs to go on where it stopped."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from contract.errors import invalid
from contract.types import parse_time

Shape = TypeVar("Shape")


def encode_cursor(position: Any) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


def decode_cursor(cursor: str, shape: type[Shape]) -> Shape:
    """Raises validation_failed for anything this server did not make."""
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        return msgspec.json.decode(raw, type=shape)
    except (ValueError, msgspec.DecodeError):
        raise invalid("cursor", "is not one this list gave") from None


def encode_place(at: datetime, identifier: str) -> str:
    """The place after a document in a list that is ordered by (time, id), newest first."""
    return encode_cursor([at.isoformat(), identifier])


def decode_place(cursor: str | None) -> tuple[datetime, str] | None:
    """The inverse; None is the top of the list."""
    if cursor is None:
        return None
    moment, identifier = decode_cursor(cursor, tuple[str, str])
    try:
        return parse_time(moment), identifier
    except ValueError:
        raise invalid("cursor", "is not one this list gave") from None
