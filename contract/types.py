"""Base classes and the constrained types payloads are made of, and `parse`, by which every door reads a payload.

Every string, list and number has a limit here. A string without a pattern says what it holds, see `contract.text`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, inspect

from contract.errors import invalid
from contract.text import KIND, clean, line, opaque, text, text_or_blank

TEXT_CHARS_MAX = 10_000
PARTICIPANTS_MAX = 1_024
PAGE_MAX = 200
# In Python `$` also matches before a last newline; this ends a pattern for good there and in JavaScript.
END = r"$(?!\n)"

Id = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.:-]+" + END)]
ClientId = Annotated[str, opaque(64, "made by the client; makes the command safe to repeat")]
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
Cursor = Annotated[str, opaque(512, "opaque; from next_cursor of the last page")]
MessageText = Annotated[str, text_or_blank(TEXT_CHARS_MAX)]
EditedText = Annotated[str, text(TEXT_CHARS_MAX)]
Title = Annotated[str, line(120)]
PersonName = Annotated[str, line(80)]
Emoji = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=16,
        pattern=r"^[^\s.$\x00-\x1f]+" + END,
        description="kept fully-qualified: with and without variation selectors it is one",
        extra={KIND: "emoji"},
    ),
]
Email = Annotated[
    str,
    Meta(
        min_length=3,
        max_length=254,
        pattern=r"^[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f.]+(\.[^@\s\x00-\x1f.]+)+" + END,
        extra_json_schema={"format": "email"},
        extra={KIND: "address"},
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


PayloadType = TypeVar("PayloadType", bound=msgspec.Struct)
_Clean = Callable[[Any, str], Any]


def parse(payload: type[PayloadType], fields: Any, strict: bool = True) -> PayloadType:
    """The payload, with its human text as it is kept. `strict` is False where numbers come as text, in a query.

    Raises validation_failed, which names the field.
    """
    try:
        parsed = msgspec.convert(fields, payload, strict=strict)
    except msgspec.ValidationError as error:
        raise invalid(*explain(error)) from None
    for name, sent_as, clean_field in _human(payload):
        before = getattr(parsed, name)
        after = clean_field(before, sent_as)
        if after is not before:
            setattr(parsed, name, after)
    return parsed


@cache
def _human(payload: type[msgspec.Struct]) -> tuple[tuple[str, str, _Clean], ...]:
    """(attribute, name on the wire, rule) of fields that hold human text, or something that does."""
    info = inspect.type_info(payload)
    assert isinstance(info, inspect.StructType)
    rules = ((field.name, field.encode_name, _rule(field.type)) for field in info.fields)
    return tuple((name, sent_as, rule) for name, sent_as, rule in rules if rule is not None)


def _rule(declared: inspect.Type) -> _Clean | None:
    """What cleans a value of this type, given its path; None if there is no human text in it."""
    if isinstance(declared, inspect.Metadata):
        kind = (declared.extra or {}).get(KIND)
        return _rule(declared.type) if kind is None else None if kind == "opaque" else _rule_of_kind(kind)
    if isinstance(declared, inspect.UnionType):
        rules = [rule for option in declared.types if (rule := _rule(option)) is not None]
        assert len(rules) <= 1, f"which of these is it? {declared}"
        return rules[0] if rules else None
    if isinstance(declared, inspect.ListType):
        return _rule_of_items(_rule(declared.item_type))
    if isinstance(declared, inspect.StructType):
        return _rule_of_struct(declared.cls) if _human(declared.cls) else None
    if isinstance(declared, inspect.DictType):
        assert _rule(declared.key_type) is None, f"human text as a key: {declared}"
        assert _rule(declared.value_type) is None, f"human text in a map: {declared}"
    return None


def _rule_of_kind(kind: Any) -> _Clean:
    def rule(value: Any, path: str) -> Any:
        if value.__class__ is not str:  # null, or not sent
            return value
        try:
            return clean(kind, value)
        except ValueError as error:
            raise invalid(path, str(error)) from None

    return rule


def _rule_of_items(item: _Clean | None) -> _Clean | None:
    if item is None:
        return None

    def rule(value: Any, path: str) -> Any:
        if value.__class__ is not list:
            return value
        return [item(each, f"{path}[{index}]") for index, each in enumerate(value)]

    return rule


def _rule_of_struct(struct: type[msgspec.Struct]) -> _Clean:
    fields = _human(struct)

    def rule(value: Any, path: str) -> Any:
        if value.__class__ is struct:
            for name, sent_as, clean_field in fields:
                setattr(value, name, clean_field(getattr(value, name), f"{path}.{sent_as}"))
        return value

    return rule


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
