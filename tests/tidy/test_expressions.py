"""No regular expression that outsiders feed reads a text more than a few times over, whatever the text."""

from __future__ import annotations

import importlib
import pkgutil
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
import regex

PACKAGES = ("contract", "handlers", "models", "ops", "realtime", "rest", "security", "storage", "workers")
LENGTH = 32_768
ENOUGH_S = 0.4  # of this thread's own time: one that reads a text again from each of its places takes over a second
ONLY_FROM_THE_BEGINNING = {"realtime.codec._NAME"}
ATOMS = (
    "a", "0", " ", "-", ".", "'", '"', "\\", '"\\', "[", "{", "<", "\n", "\r\n", "\t", "`", "%", "=", ":", "@", "/",
    ",", "eyJ", "eyJa.a", "a.", "a.a", "a@", "a:a", "://", "://a:", "://a:a@", "token=", "0,", "0,00", "1.2,", "a'",
    "`a` - at ", "\u0300", "\u200b", "\ud83d", "\u00e9", "\u4e2d", "\u0e01", "\U0001f44d", "\ufe0f",
    "cluster_my_epoch:1", "<script>",
)  # fmt: skip


def expressions() -> Iterator[tuple[str, Any]]:
    for name in PACKAGES:
        package = importlib.import_module(name)
        found = pkgutil.walk_packages(package.__path__, f"{name}.")
        for module in [package, *(importlib.import_module(one.name) for one in found if "__main__" not in one.name)]:
            for attribute, value in vars(module).items():
                if isinstance(value, re.Pattern | regex.Pattern):
                    yield f"{module.__name__}.{attribute}", value


@pytest.mark.parametrize(("name", "expression"), [pytest.param(*one, id=one[0]) for one in expressions()])
def test_it_is_linear(name: str, expression: Any) -> None:
    for atom in ATOMS:
        for end in ("", "!"):
            text = atom * (LENGTH // len(atom)) + end
            began = time.thread_time()
            expression.match(text)
            for _ in expression.finditer(text) if name not in ONLY_FROM_THE_BEGINNING else ():
                pass
            assert time.thread_time() - began < ENOUGH_S, (name, atom, end)


def test_there_are_some() -> None:
    assert "ops.logs._SECRET" in dict(expressions())
