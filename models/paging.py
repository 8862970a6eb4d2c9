"""Opaque cursors: what a list needs to go on where it stopped."""

from __future__ import annotations

import base64
from typing import Any, TypeVar

import msgspec

from contract.errors import invalid

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
