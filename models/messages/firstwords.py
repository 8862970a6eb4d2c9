"""How the first version of search's index split texts, for as long as blocks of it may be there (migration 1)."""

from __future__ import annotations

import re
import unicodedata

_WORD = re.compile(r"\w+")
_WORD_CHARS_MAX = 64


def first_words(text: str) -> list[str]:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return list(dict.fromkeys(word[:_WORD_CHARS_MAX] for word in _WORD.findall(folded)))
