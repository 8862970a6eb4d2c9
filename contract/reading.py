"""JSON that a client may legally write and our decoder cannot read: it must end as an error, not as a lost connection.

JavaScript writes half of a surrogate pair when a text is cut in the middle of an emoji (`"👍".slice(0, 1)`), and other
languages' clients write numbers of any size and nest as deeply as they like. The fast decoder refuses all of that
without saying where. Here the standard library's reads it, and the first field that cannot be used is named. Pure.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

INT_DIGITS_MAX = 300  # as many as a float can have; beyond them a number is read as infinite
PATH_CHARS_MAX = 200
_HALF_PAIR = re.compile("[\ud800-\udfff]")


Step = str | int


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
    if (reason := _fault(value)) is not None:
        return Unreadable("payload", reason)
    path: list[Step] = []
    within = [_parts(value)]
    while within:
        for step, part in within[-1]:
            if (reason := _fault(part)) is not None:
                return Unreadable(_written([*path, step]), reason)
            if isinstance(part, dict | list):
                path.append(step)
                within.append(_parts(part))
                break
        else:
            within.pop()
            if path:
                path.pop()
    return None


def _fault(part: Any) -> str | None:
    if isinstance(part, str) and _HALF_PAIR.search(part):
        return HALF_PAIR
    if isinstance(part, float) and not math.isfinite(part):
        return NOT_FINITE
    if isinstance(part, dict) and any(map(_HALF_PAIR.search, part)):
        return f"has a field whose name {HALF_PAIR}"
    return None


def _parts(value: Any) -> Iterator[tuple[Step, Any]]:
    return iter(value.items()) if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ())


def _written(path: Sequence[Step]) -> str:
    """Cut after PATH_CHARS_MAX: a path is as long as the sender likes, and is said in the error several times."""
    written = ""
    for step in path:
        written += f"[{step}]" if isinstance(step, int) else f"{'.' if written else ''}{step[: PATH_CHARS_MAX + 1]}"
        if len(written) > PATH_CHARS_MAX:
            return f"{written[:PATH_CHARS_MAX]}…"
    return written


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= INT_DIGITS_MAX else math.inf
