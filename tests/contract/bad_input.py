"""What the tests of bad input share: a small scene, a valid example of every command, and ways to spoil it.

The spoilt values are made from the JSON Schema that the documents publish, so a limit that is published and not kept
fails, and a new field is covered without a new line here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec

from contract.catalogue import COMMANDS
from contract.registry import Operation
from tests.contract.stage import ITEM, Stage

Json = dict[str, Any]
ERROR_KEYS = {"code", "message", "details", "retryable", "retry_after_ms", "request_id"}


Example = Callable[[Stage], Json]

# One row for each command: a payload that succeeds however often it is sent, with every field that has a limit.
EXAMPLES: dict[str, Example] = {
    "auth:refresh": lambda s: {"token": s.token},
    "chat:create": lambda s: {"type": "group", "participant_ids": [s.ben_id], "client_id": "example", "title": "Tea"},
    "chat:list": lambda s: {"limit": 5, "archived": False, "type": "group"},
    "chat:get": lambda s: {"conversation_id": s.group},
    "chat:join": lambda s: {"conversation_id": s.group, "since_seq": 0},
    "chat:leave": lambda s: {"conversation_id": s.group},
    "chat:send": lambda s: {"conversation_id": s.group, "client_id": "example", "text": "Hello", "reply_to": s.own},
    "chat:edit": lambda s: {"message_id": s.own, "text": "mine, better"},
    "chat:delete": lambda s: {"message_id": s.deleted},
    "chat:react": lambda s: {"message_id": s.own, "emoji": "👍", "on": True},
    "chat:delivered": lambda s: {"conversation_id": s.group, "seq": 1},
    "chat:read": lambda s: {"conversation_id": s.group, "seq": 1},
    "chat:history": lambda s: {"conversation_id": s.group, "after_seq": 0, "limit": 5},
    "chat:search": lambda s: {"query": "mine", "conversation_id": s.group, "limit": 5},
    "chat:sync": lambda s: {"cursors": {s.group: 0}, "changed_since": "2026-01-01T00:00:00.000Z"},
    "chat:members": lambda s: {"conversation_id": s.group, "add": [s.ben_id]},
    "chat:update": lambda s: {"conversation_id": s.group, "title": "Tea", "muted": False, "pinned_message_ids": []},
    "finance:account": lambda s: {"currency": "USD", "purpose": "payable"},
    "finance:statement": lambda s: {
        "currency": "USD",
        "purpose": "payable",
        "from": "2026-01-01T00:00:00.000Z",
        "to": "2100-01-01T00:00:00.000Z",
        "limit": 5,
    },
    "finance:summary": lambda s: {
        "currency": "USD",
        "purpose": "payable",
        "by": "week",
        "from": "2026-01-01T00:00:00.000Z",
        "to": "2026-12-01T00:00:00.000Z",
    },
    "finance:pay": lambda s: {
        "client_id": "paid",
        "amount": {"amount": 100, "currency": "USD"},
        "method": "console",
    },
    "finance:refund": lambda s: {"transfer_id": s.taken, "client_id": "back", "amount": 10, "reason": "Wet"},
    "finance:dispute": lambda s: {"transfer_id": s.given, "client_id": "no", "reason": "Wet"},
    "notification:list": lambda s: {"limit": 5, "kind": "mention", "unread": True},
    "notification:preferences": lambda s: {"muted_kinds": ["mention"]},
    "notification:read": lambda s: {"ids": ["n_1"]},
    "offer:create": lambda s: {
        "conversation_id": s.group,
        "client_id": "an offer",
        "side": "sell",
        "to_user_id": s.ben_id,
        "items": [ITEM],
        "terms": "Cash",
        "note": "Hi",
        "expires_in_s": 3600,
        "settlement": "none",
    },
    "offer:respond": lambda s: {
        "offer_id": s.offer,
        "version": 1,
        "client_id": "a counter",
        "action": "counter",
        "items": [ITEM],
        "terms": "Cash",
        "note": "Hi",
        "expires_in_s": 3600,
    },
    "offer:fulfil": lambda s: {
        "offer_id": s.deal,
        "version": 2,
        "client_id": "fulfilled",
        "note": "Done",
        "amount": 250,
    },
    "offer:cancel": lambda s: {"offer_id": s.dead_deal, "version": 2, "client_id": "cancelled", "note": "Sorry"},
    "offer:get": lambda s: {"offer_id": s.offer},
    "offer:list": lambda s: {"status": "pending", "conversation_id": s.group, "limit": 5},
    "offer:figures": lambda s: {"days": 30},
    "offer:rules": lambda s: {},
    "offer:set_rule": lambda s: {
        "currency": "USD",
        "accept_at": 100,
        "title": "Firewood",
        "sku": "F-2",
        "unit": "pack",
        "quantity_min": 1,
        "quantity_max": 20,
        "settlement": "any",
        "terms": False,
        "decline_below": 10,
        "rounds": 2,
        "enabled": True,
        "counter": {"kind": "step", "step": 5, "ask": 200, "floor": 100},
    },
    "offer:delete_rule": lambda s: {"rule_id": "r_1"},
    "presence:set": lambda s: {"status": "away", "text": "Lunch"},
    "presence:subscribe": lambda s: {"user_ids": [s.ben_id]},
    "presence:unsubscribe": lambda s: {"user_ids": [s.ben_id]},
    "typing:start": lambda s: {"conversation_id": s.group},
    "typing:stop": lambda s: {"conversation_id": s.group},
}

COMMAND_NAMES = sorted(COMMANDS)


def where(command: Operation) -> str:
    assert command.namespace is not None
    return "/system" if command.namespace == "*" else command.namespace


class Bad(NamedTuple):
    """A field with a value it must not have.

    `kind` is type, limit, form (pattern or enum), newline (after a value that has a pattern) or shape (of an object).
    """

    kind: str
    field: str
    value: Any


def bad_values(payload: type[msgspec.Struct], example: Json) -> Iterator[Bad]:
    schema = msgspec.json.schema(payload)
    defs: Json = schema["$defs"]
    for field, shape in defs[payload.__name__]["properties"].items():
        for kind, value in _bad(shape, defs, example.get(field), nullable=False):
            yield Bad(kind, field, value)


def required(payload: type[msgspec.Struct]) -> list[str]:
    names: list[str] = msgspec.json.schema(payload)["$defs"][payload.__name__].get("required", [])
    return names


def _bad(shape: Json, defs: Json, example: Any, nullable: bool) -> Iterator[tuple[str, Any]]:
    if "$ref" in shape:
        shape = defs[shape["$ref"].rsplit("/", 1)[-1]]
    if "anyOf" in shape:
        options = [option for option in shape["anyOf"] if option != {"type": "null"}]
        assert len(options) == 1, "a union of several types needs a rule here"
        yield from _bad(options[0], defs, example, nullable=len(options) < len(shape["anyOf"]))
        return
    if not nullable and None not in shape.get("enum", ()):
        yield "type", None
    if "enum" in shape:
        yield from (("type", 7), ("type", ["x"]), ("form", "nonsense"), ("form", ""))
        return
    spoil = {"string": _bad_string, "integer": _bad_integer, "boolean": _bad_boolean, "array": _bad_array}
    yield from spoil.get(shape["type"], _bad_object)(shape, defs, example)


def _bad_string(shape: Json, defs: Json, example: Any) -> Iterator[tuple[str, Any]]:
    yield from (("type", wrong) for wrong in (7, True, 1.5, ["x"], {"x": "y"}))
    if "maxLength" in shape:
        yield "limit", "x" * (shape["maxLength"] + 1)
    if shape.get("minLength"):
        yield "limit", ""
    if "pattern" in shape:
        yield "form", " "
        yield "form", "x y"
        if isinstance(example, str):
            yield "newline", f"{example}\n"


def _bad_integer(shape: Json, defs: Json, example: Any) -> Iterator[tuple[str, Any]]:
    yield from (("type", wrong) for wrong in ("7", True, 1.5, [7], {"x": 7}))
    if "maximum" in shape:
        yield "limit", shape["maximum"] + 1
        yield "limit", 10**30
    if "minimum" in shape:
        yield "limit", shape["minimum"] - 1
        yield "limit", -(10**30)


def _bad_boolean(shape: Json, defs: Json, example: Any) -> Iterator[tuple[str, Any]]:
    yield from (("type", wrong) for wrong in ("yes", 1, [True], {"x": True}))


def _bad_array(shape: Json, defs: Json, example: Any) -> Iterator[tuple[str, Any]]:
    yield from (("type", wrong) for wrong in ("x", 7, True, {"0": "x"}))
    item = example[0] if example else "c_1" if shape["items"].get("type") == "string" else "mention"
    if "maxItems" in shape:
        yield "limit", [item] * (shape["maxItems"] + 1)
    if shape.get("minItems"):
        yield "limit", []
    for kind, value in _bad(shape["items"], defs, item, nullable=False):
        yield kind, [value]


def _bad_object(shape: Json, defs: Json, example: Any) -> Iterator[tuple[str, Any]]:
    yield from (("type", wrong) for wrong in ("x", 7, True, ["x"]))
    if "maxProperties" in shape:
        yield "limit", {f"c_{number}": 1 for number in range(shape["maxProperties"] + 1)}
    if "propertyNames" in shape:
        for kind, key in _bad_string(shape["propertyNames"], defs, "c_1"):
            if isinstance(key, str):
                yield kind, {key: 1}  # JSON has no other keys
    if isinstance(shape.get("additionalProperties"), dict):
        for kind, value in _bad(shape["additionalProperties"], defs, None, nullable=False):
            yield kind, {"c_1": value}
    for name, inner in shape.get("properties", {}).items():
        for kind, value in _bad(inner, defs, (example or {}).get(name), nullable=False):
            yield kind, {**(example or {}), name: value}
    if shape.get("additionalProperties") is False:
        yield "shape", {**(example or {}), "colour": "red"}


def check_error(error: Json, codes: tuple[str, ...], code: str) -> None:
    """The error object is whole, its code is the one expected, and declared."""
    assert set(error) == ERROR_KEYS
    assert error["code"] == code, error
    assert error["code"] in codes, f"{error['code']} is not declared: {codes}"
    assert isinstance(error["message"], str)
    assert error["message"]
    assert isinstance(error["retryable"], bool)
    assert error["request_id"]
    if code == "validation_failed":
        assert error["details"], error
        assert all(set(detail) == {"field", "reason"} for detail in error["details"])


def brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:50]}… ({len(text)} characters)"
