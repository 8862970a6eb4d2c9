"""Which fields of a payload hold human text, and examples of what such text may and may not be."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import inspect

from contract.text import KIND

Path = tuple[str | int, ...]

BLANK = ["\u200b", "\u3164", "\u2800", "\u00ad", "\n", " \t ", "\u2028", "\ufeff\u00a0", "\u115f\u1160", "\uffa0",
         "\u034f", "\u180e", "\u17b4", "\ufe0f", "\U000e0041", "\u202e\u202c", "\u0301", "\u3000"]  # fmt: skip
# Each looks like another name, or like none that a screen can show.
NOT_A_LINE = ["Ada\u202eneB", "Ada\u200b", "\u200eAda", "A\u200dda", "Ad\u034fa", "Ada\u3164", "Ada\ufe0f", "Ada\u2800",
              "Ada\nBen", "Ada\u2029Ben", "Ada\u2066", "\u061cAda", "Ada\x07", "Ada\x9f", "\ufeffAda", "A\u00adda",
              "Ada\ue000", "Ada\ufffe", "Ada\U000e0061", "\U0001d173Ada", "a" + "\u0336" * 6, "ก" + "\u0e47" * 6,
              "中\u200d国"]  # fmt: skip
NOT_A_TEXT = ["Ada\x00", "\x1b[2J", "Ada\x9f", "a" + "\u0336" * 31, "😀" + "\u0489" * 40]


def strings(declared: inspect.Type, path: Path = (), extra: dict[str, Any] | None = None) -> Iterator[tuple[Path, Any]]:
    """(path, how it is declared) of every string in a payload: a kind, "pattern", "enum" or None."""
    if isinstance(declared, inspect.Metadata):
        yield from strings(declared.type, path, {**(extra or {}), **(declared.extra or {})})
    elif isinstance(declared, inspect.StrType):
        yield path, (extra or {}).get(KIND) or ("pattern" if declared.pattern else None)
    elif isinstance(declared, inspect.UnionType):
        for option in declared.types:
            yield from strings(option, path, extra)
    elif isinstance(declared, inspect.ListType):
        yield from strings(declared.item_type, (*path, 0))
    elif isinstance(declared, inspect.DictType):
        yield from strings(declared.key_type, (*path, "key"))
        yield from strings(declared.value_type, (*path, "value"))
    elif isinstance(declared, inspect.StructType):
        for field in declared.fields:
            yield from strings(field.type, (*path, field.encode_name))


def human(payload: type[msgspec.Struct]) -> list[tuple[Path, str]]:
    """The strings in a payload that people write and read."""
    kinds = ("line", "line?", "text", "text?", "emoji", "address")
    return [(path, kind) for path, kind in strings(inspect.type_info(payload)) if kind in kinds]


def put(example: Any, path: Path, value: str) -> Any:
    """The example with this value at that place."""
    spoilt = copy.deepcopy(example)
    inside = spoilt
    for step in path[:-1]:
        inside = inside[step]
    inside[path[-1]] = value
    return spoilt


def name_of(path: Path) -> str:
    """As an error names the field: items[0].title."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")
