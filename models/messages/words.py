"""Which words a text has, for search: the same function folds what was said and what is looked for.

Case, compatibility forms, decimal digits of other scripts and joiners do not matter, nor do diacritics where they are
additions to a letter (Latin, Greek, Cyrillic stress and ё, Arabic harakat, Hebrew niqqud). The vowel signs of Indic and
Southeast Asian scripts are letters of their words and stay.

A *word* is a run of letters, digits and marks, found by its beginning. What an apostrophe joins is one word (`don't`,
`l'eau`), and so is what a decimal point does; each part after the first is a word as well. A *run* is what stands
between two spaces or signs in a script that writes no spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese, Tibetan),
or emoji: found by any part of it, through an index of its pairs of characters. Numbers directly before such a character
belong to its run (`3月`).

All patterns are linear in the text: their parts are possessive and exclude each other.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

import regex

# Of a text, before and after folding; what comes later is not found.
CHARS_MAX = 10_000
# Of what compatibility forms are taken apart to: Hangul becomes three times as long, and one sign of Arabic eighteen.
_APART_MAX = 4 * CHARS_MAX
# Of one message. A text of CHARS_MAX in a language with spaces has about half as many.
WORDS_MAX = 2_000
WORD_CHARS_MAX = 64
# Words as people count them, and what they come to: an address is one of the former and several of the latter.
QUERY_WORDS_MAX = 10
QUERY_TERMS_MAX = 40

# Marks that are additions to a letter, and characters that only say how others are shown: joiners, directions,
# variation selectors, skin tones, the lengthening of Arabic letters, apostrophes that Unicode counts as letters. Not
# among them are the voicing marks of Japanese, which make another letter. U+200B separates words.
_IGNORED = regex.compile(
    r"""(?V1)[
        [[\p{Mn}\p{Me}]&&[\p{Inherited}\p{Common}\p{Latin}\p{Greek}\p{Cyrillic}\p{Arabic}\p{Hebrew}\p{Syriac}]]
        \p{Default_Ignorable_Code_Point}\p{Emoji_Modifier}\u0640\u02b9-\u02bf
        --[\u3099\u309a\u200b]
    ]++""".replace("\n", "").replace(" ", "")
)
# Letters of their own that only look like another with a mark.
_KEPT = {"и\u0306": "й", "у\u0306": "ў", "і\u0308": "ї", "г\u0301": "ѓ", "к\u0301": "ќ"}
# Letters with a part that Unicode does not take off, and the same letter on Arabic, Persian and Urdu keyboards.
_LETTERS = str.maketrans(
    {
        "ı": "i", "ł": "l", "đ": "d", "ð": "d", "ħ": "h", "ŧ": "t", "ø": "o", "æ": "ae", "œ": "oe", "þ": "th",
        "ی": "ي", "ى": "ي", "ک": "ك", "ٱ": "ا",
    }
)  # fmt: skip
_DIGITS = regex.compile(r"(?V1)[\p{Nd}--[0-9]]")

_UNSPACED = r"[[\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Tibetan}\p{LB=SA}&&[\p{L}\p{M}\p{Nl}\p{So}]]"
_UNSPACED += r"\u30fc\p{Extended_Pictographic}\p{Regional_Indicator}--\p{Nd}]"
_LETTER = rf"[[\p{{L}}\p{{N}}\p{{M}}]--{_UNSPACED}]"
_JOINED = r"(?<=[\p{L}\p{M}])['’‘‛\u00b7\u055a](?=\p{L})"
_JOINED += r"|(?<=\p{Hebrew})[\"\u05f4](?=\p{Hebrew})|(?<=[0-9])[.,](?=[0-9])"
# U+200B and the Tibetan U+0F0B separate words or syllables that not everyone separates.
_PIECE = regex.compile(
    rf"(?V1)((?:[0-9]++(?={_UNSPACED}))?+{_UNSPACED}(?:[{_UNSPACED}\p{{M}}\u200b\u0f0b]++|[0-9]++(?={_UNSPACED}))*+)"
    rf"|({_LETTER}++(?:(?:{_JOINED}){_LETTER}++)*+)"
)
_ASCII_WORD = re.compile(r"[a-z0-9]++(?:(?:'(?=[a-z])(?<=[a-z].)|[.,](?=[0-9])(?<=[0-9].))[a-z0-9]++)*+")
_SEPARATOR = re.compile("['’‘‛·\u055a\"\u05f4.,]")
_GROUPED = re.compile(r"(\d{1,3}(?:([.,])\d{2,3}(?:\2\d{2,3})*+)?)(?:(?!\2)[.,](\d+))?")
_NUMBER = re.compile("[0-9]+")
_NO_BREAK = str.maketrans("", "", "\u200b\u0f0b")


class Said(NamedTuple):
    """`pieces`: the distinct words and runs of a text, which tell whether it matches; `tokens`: what finds it."""

    pieces: list[str]
    tokens: list[str]


class Query(NamedTuple):
    """What is looked for: a text matches that has words beginning with these, and these within its runs."""

    words: list[str]
    runs: list[str]

    @property
    def token(self) -> str:
        """The term that fewest texts have, most likely: index entries that begin so lead to all that match."""
        pairs = [pair for run in self.runs for pair in _pairs(run)[: max(1, len(run) - 1)]]
        word = max(self.words, key=len, default="")
        # Two characters of Chinese are about as rare as five Latin letters.
        return word if not pairs or len(word) > 5 else max(pairs, key=len)

    def matches(self, pieces: list[str]) -> bool:
        return all(any(piece.startswith(word) for piece in pieces) for word in self.words) and all(
            any(run in piece for piece in pieces) for run in self.runs
        )


def fold(text: str) -> str:
    if text.isascii():
        return text[:CHARS_MAX].lower()
    apart = unicodedata.normalize("NFKD", text[:CHARS_MAX])[:_APART_MAX]
    folded = unicodedata.normalize("NFKD", apart.casefold())
    for spelled, letter in _KEPT.items():
        folded = folded.replace(spelled, letter)
    folded = _IGNORED.sub("", folded).translate(_LETTERS)
    folded = _DIGITS.sub(lambda found: str(unicodedata.decimal(found[0], found[0])), folded)
    return unicodedata.normalize("NFC", folded)[:CHARS_MAX]


def said(text: str) -> Said:
    folded = fold(text)
    runs: list[str] = []
    if folded.isascii():
        words = _ASCII_WORD.findall(folded)
    else:
        found = _pieces(folded)
        runs = [run for run, _ in found if run]
        words = [word for _, word in found if word] + [number for run in runs for number in _NUMBER.findall(run)]
    if not "".join(words).isalnum():
        words = [one for word in words for one in ([word] if word.isalnum() else _spellings(word))]
    words = list(dict.fromkeys([word[:WORD_CHARS_MAX] for word in words]))
    if not runs:
        return Said(words[:WORDS_MAX], words[:WORDS_MAX])
    pieces = list(dict.fromkeys(runs + words))[:WORDS_MAX]
    return Said(pieces, list(dict.fromkeys([pair for run in runs for pair in _pairs(run)] + words)))


def parse(text: str) -> Query | None:
    """None if it has no words, or more than QUERY_WORDS_MAX."""
    words: dict[str, None] = {}
    runs: dict[str, None] = {}
    count = 0
    for chunk in fold(text).split():
        found = _pieces(chunk)
        count += bool(found)
        for run, word in found:
            if run:
                runs[run] = None
            else:
                words[_spellings(word)[0][:WORD_CHARS_MAX]] = None
    if not 0 < count <= QUERY_WORDS_MAX or len(words) + len(runs) > QUERY_TERMS_MAX:
        return None
    return Query(list(words), list(runs))


def _pieces(folded: str) -> list[tuple[str, str]]:
    """Either a run or a word each."""
    if folded.isascii():
        return [("", word) for word in _ASCII_WORD.findall(folded)]
    return [(run.translate(_NO_BREAK), word) for run, word in _PIECE.findall(folded)]


def _pairs(run: str) -> list[str]:
    """Every two characters that follow each other, and the last one: so each character begins one of them."""
    return [pair for first in range(len(run)) if not (pair := run[first : first + 2]).isdigit()]


def _spellings(word: str) -> list[str]:
    """How it is looked for, and what else finds it."""
    parts = _SEPARATOR.split(word)
    if len(parts) == 1:
        return [word]
    if not parts[0][-1].isdigit() or not parts[1][0].isdigit():
        return ["".join(parts), *(part for part in parts[1:] if len(part) > 1)]
    return [*dict.fromkeys((_number(word, parts), ".".join(parts), *parts[1:]))]


def _number(word: str, parts: list[str]) -> str:
    """1,234,567.50 and 1.234.567,50 as 1234567.50; what has another form as it is, with points."""
    found = _GROUPED.fullmatch(word)
    if found is None or found[2] is None or len(parts[-1 if found[3] is None else -2]) != 3:
        return ".".join(parts)
    whole = found[1].replace(found[2], "")
    return whole if found[3] is None else f"{whole}.{found[3]}"
