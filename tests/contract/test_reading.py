"""What cannot be used is found and named at a cost that does not grow with the length of names."""

from __future__ import annotations

import sys
import tracemalloc
from typing import Any

import pytest

from contract.reading import PATH_CHARS_MAX, find_unreadable, read

MIB = 1_048_576
INF = float("inf")


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (INF, "payload"), ("\ud83d", "payload"), ([INF], "[0]"), ({"a": INF}, "a"), ([[1], [2, [INF]]], "[1][1][0]"),
        ({"a": {"b": [1, {"c": "\udc4d"}]}}, "a.b[1].c"), ({"a": [{}, []], "b": {"\ud83d": 1}}, "b"),
        ({"first": ["\ud83d"], "second": INF}, "first[0]"), ({"": {"": INF}}, ""),
    ],
)  # fmt: skip
def test_the_first_is_named(value: Any, field: str) -> None:
    found = find_unreadable(value)
    assert found is not None
    assert found.field == field


@pytest.mark.parametrize("value", [None, 1, "text", [], {}, {"a": [{"b": "👍"}, [1.5, None, True]]}])
def test_there_is_none(value: Any) -> None:
    assert find_unreadable(value) is None


def test_a_long_name_before_many_values_takes_no_memory() -> None:
    value = read('{"' + "A" * 120_000 + '":[' + "0," * 60_000 + "1e999]}")
    tracemalloc.start()
    try:
        found = find_unreadable(value)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MIB
    assert found is not None
    assert found.field == "A" * PATH_CHARS_MAX + "…"


def test_as_deep_as_it_can_be_read() -> None:
    depth = sys.getrecursionlimit() // 2
    found = find_unreadable(read("[" * depth + "1e999" + "]" * depth))
    assert found is not None
    assert len(found.field) == PATH_CHARS_MAX + 1
