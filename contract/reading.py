"""JSON that a client may legally write and our decoder cannot read: it must end as an error, not as a lost connection.

JavaScript writes half of a surrogate pair when a text is cut in the middle of an emoji (`"👍".slice(0, 1)`), and other
languages' clients write numbers of any size and nest as deeply as they like. The fast decoder refuses all of that
without saying where. Here the standard library's reads it, and the first field that cannot be used is named. Pure.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any

INT_DIGITS_MAX = 300  # as many as a float can have; beyond them a number is read as infinite
_HALF_PAIR = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A field of a message, and why it cannot be used. `field` is a path such as `items[0].title`."""

    field: str
    reason: str


HALF_PAIR = "has half of a surrogate pair: the text was cut in the middle of a character"
NOT_FINITE = "is not a finite number, or too large for one"
TOO_DEEP = "is nested too deeply"


def read(text: str, *, constants: bool = True) -> Any:
    """Any JSON value, lone surrogates and infinite numbers included. Raises ValueError for what is not JSON.

    `constants`: NaN and Infinity too, which are not JSON and which Python's encoder writes all the same.
    RecursionError means that it is nested too deeply to tell.
    """
    return json.loads(text, parse_int=_whole, parse_constant=None if constants else _refuse)


def find_unreadable(value: Any) -> Unreadable | None:
    """The first part of a value from `read` that cannot be stored or sent again. None: there is none."""
    pending: list[tuple[str, Any]] = [("", value)]
    while pending:
        path, part = pending.pop()
        if isinstance(part, str):
            if _HALF_PAIR.search(part):
                return Unreadable(path or "payload", HALF_PAIR)
        elif isinstance(part, float):
            if not math.isfinite(part):
                return Unreadable(path or "payload", NOT_FINITE)
        elif isinstance(part, dict):
            for name in part:
                if _HALF_PAIR.search(name):
                    return Unreadable(path or "payload", f"has a field whose name {HALF_PAIR}")
            pending += reversed([(f"{path}.{name}" if path else name, inner) for name, inner in part.items()])
        elif isinstance(part, list):
            pending += reversed([(f"{path}[{index}]", inner) for index, inner in enumerate(part)])
    return None


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= INT_DIGITS_MAX else math.inf
