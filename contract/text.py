"""Human text: what people may write, and what they may call themselves and their things. Rules go by Unicode category.

- A *line* is a name, a title or a status: visible, on one line, and made of nothing that cannot be seen. Two lines
  that look alike because one of them hides a character must not both exist, so hidden characters are refused. Those
  that letters and emoji need (joiners, variation selectors, the tags of a flag) are accepted in their places alone.
  Blanks at the ends are dropped, runs of blanks become one.
- A *text* is a message, terms or a reason: it keeps its lines and blanks. Controls are refused; direction overrides are
  dropped and other direction controls closed at the end of their line, so that none reaches what is shown around it.
- An *emoji* is a line, with or without the variation selectors that say "show me as a picture": it is kept with them,
  as keyboards send it, so that both spellings are one reaction.
- An *address* is looked at like a line and kept as it is; what is *opaque* is not looked at, since nobody reads it.

Lines, texts and emoji are kept in normal form NFC. Lengths are limits of what is sent, in code points; what is kept may
be longer, by closed direction controls and by the few characters that NFC takes apart.

A field says which kind it is by the `Meta` that these functions make; `contract.types.parse` applies the rule.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Callable
from typing import Literal

from msgspec import Meta

Kind = Literal["line", "line?", "text", "text?", "emoji", "address", "opaque"]
KIND = "parley:text"

# Marks in a row: biblical Hebrew has five on a letter; Unicode's stream-safe format allows thirty.
LINE_MARKS_MAX = 5
TEXT_MARKS_MAX = 30
DIRECTIONS_MAX = 16
_PLANES = range(0, 0x110000, 0x10000)

BLANK = "must have something that can be seen"


# How a field declares what it holds, and what its documentation says of it

_LINE_RULE = "control, direction and other hidden characters are refused, blanks are trimmed; kept in NFC"
_TEXT_RULE = "control characters are refused, direction overrides dropped, line breaks become \\n; kept in NFC"


def line(chars: int) -> Meta:
    """One line that has to say something."""
    about = f"one line; has something visible, {_LINE_RULE}"
    return Meta(min_length=1, max_length=chars, description=about, extra={KIND: "line"})


def line_or_blank(chars: int) -> Meta:
    """One line that may be left empty; one of blanks only is kept as empty."""
    about = f"one line; blanks alone are empty, {_LINE_RULE}"
    return Meta(max_length=chars, description=about, extra={KIND: "line?"})


def text(chars: int, about: str = "text") -> Meta:
    """Text of several lines that has to say something."""
    about = f"{about}; has something visible, {_TEXT_RULE}"
    return Meta(min_length=1, max_length=chars, description=about, extra={KIND: "text"})


def text_or_blank(chars: int) -> Meta:
    """Text that may be left empty; one of blanks only is kept as empty."""
    about = f"text; blanks alone are empty, {_TEXT_RULE}"
    return Meta(max_length=chars, description=about, extra={KIND: "text?"})


def opaque(chars: int, about: str, least: int = 1) -> Meta:
    """What no person reads, and nobody is shown: a password, a token, an id that a client made."""
    return Meta(min_length=least, max_length=chars, description=about, extra={KIND: "opaque"})


def clean(kind: Kind, value: str) -> str:
    """The value as it is kept. Raises ValueError with the reason, in words, if it breaks the rule of its kind."""
    return _RULES[kind](value)


# Classes of characters


def _by_category() -> dict[str, str]:
    """Unicode category → its characters, as the inside of a regular expression's [...].

    Of the first two planes: beyond are only ideographs and what is listed by hand below.
    """
    found: dict[str, str] = {}
    for category, run in itertools.groupby(range(0x20000), lambda point: unicodedata.category(chr(point))):
        points = list(run)
        span = f"{re.escape(chr(points[0]))}-{re.escape(chr(points[-1]))}"
        found[category] = found.get(category, "") + span
    return found


_OF = _by_category()
_MARKS = _OF["Mn"] + _OF["Mc"] + _OF["Me"] + "\U000e0100-\U000e01ef"
_NONCHARACTERS = "\ufdd0-\ufdef" + "".join(f"{chr(plane + 0xFFFE)}-{chr(plane + 0xFFFF)}" for plane in _PLANES)
_PRIVATE = "\ue000-\uf8ff\U000f0000-\U000ffffd\U00100000-\U0010fffd"
# Letters, symbols, marks and unassigned characters that show nothing: fillers, the braille blank, selectors, tags.
_FILLERS = (
    "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufffc\U00016fe4"
    "\U0001d159\U000e0000-\U000e0fff"
)
_HIDDEN = "".join(_OF[category] for category in ("Cc", "Cf", "Cs", "Zl", "Zp")) + _FILLERS + _NONCHARACTERS
_SEEN = re.compile(f"[^\\s{_HIDDEN}{_MARKS}]")

# Where hidden characters have work to do: joiners within scripts that join, selectors after pictures and ideographs.
_JOINING = "\u0600-\u0dff\u1000-\u109f\u1780-\u18af\u1a20-\u1c4f\ua800-\uabff\U00010a00-\U00011fff"
_VIRAMA = "".join(re.escape(chr(point)) for point in range(0x0900, 0x12000) if unicodedata.combining(chr(point)) == 9)
_PICTURE = "©®‼⁉™ℹ\u2190-\u2bff〰〽㊗㊙\U0001f000-\U0001faff"
_IDEOGRAPHS = "\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_AT_WORK = re.compile(
    f"(?<=[{_JOINING}])[\u200c\u200d](?=[{_JOINING}])"
    f"|(?<=[{_VIRAMA}])[\u200c\u200d](?![\u200c\u200d])"
    f"|(?<=[{_PICTURE}\ufe0f])\u200d(?=[{_PICTURE}])"
    f"|(?<=[{_PICTURE}])[\ufe0e\ufe0f]|(?<=[0-9#*])\ufe0f(?=\u20e3)"
    f"|(?<=[{_IDEOGRAPHS}])[\ufe00-\ufe0f\U000e0100-\U000e01ef]"
    "|(?<=[\u1820-\u18aa])[\u180b-\u180d\u180f]"
    "|(?<=\U0001f3f4)[\U000e0020-\U000e007e]{1,8}\U000e007f"
)
_LINE_UNFIT = re.compile(f"[{_HIDDEN}{_PRIVATE}]")
_LINE_BLANKS = re.compile("[\t" + _OF["Zs"] + "]+")
_LINE_BREAKS = frozenset("\n\r\v\f\x85\u2028\u2029")

_TEXT_BREAKS = re.compile("\r\n|[\r\v\f\x85\u2028\u2029]")
_TEXT_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")

_DIRECTIONS = re.compile("[\u202a-\u202e\u2066-\u2069]")
_POP_EMBEDDING, _POP_ISOLATE = "\u202c", "\u2069"
# What ends each; an override is dropped, and what ends it too.
_CLOSED_BY = {
    **dict.fromkeys("\u202a\u202b", _POP_EMBEDDING), **dict.fromkeys("\u2066\u2067\u2068", _POP_ISOLATE),
    **dict.fromkeys("\u202d\u202e", ""),
}  # fmt: skip

# Emoji that are shown as text unless U+FE0F follows (Emoji without Emoji_Presentation, Unicode 17).
_SHOWN_AS_TEXT = (
    "©®‼⁉™ℹ↔-↙↩↪⌨⏏⏭-⏯⏱⏲⏸-⏺Ⓜ▪▫▶◀◻◼☀-☄☎☑☘☝☠☢☣☦☪☮☯☸-☺♀♂♟♠♣♥♦♨♻♾⚒⚔-⚗⚙⚛⚜⚠⚧⚰⚱⛈⛏⛑⛓⛩⛰⛱⛴⛷-⛹✂✈✉✌✍✏✒✔✖✝✡✳✴❄❇❣❤➡"
    "⤴⤵⬅-⬇〰〽㊗㊙🅰🅱🅾🅿🈂🈷🌡🌤-🌬🌶🍽🎖🎗🎙-🎛🎞🎟🏋-🏎🏔-🏟🏳🏵🏷🐿👁📽🕉🕊🕯🕰🕳-🕹🖇🖊-🖍🖐🖥🖨🖱🖲🖼🗂-🗄🗑-🗓🗜-🗞🗡🗣🗨🗯🗳🗺🛋🛍-🛏"
    "🛠-🛥🛩🛰🛳"
)
_SELECTORS = re.compile("[\ufe0e\ufe0f]")
_SELECTED = re.compile(f"[{_SHOWN_AS_TEXT}](?![\U0001f3fb-\U0001f3ff])|[0-9#*](?=\u20e3)")


# The rules


def _line(value: str) -> str:
    value = _line_or_blank(value)
    if not value:
        raise ValueError(BLANK)
    return value


def _line_or_blank(value: str) -> str:
    if value.isascii() and value.isprintable():
        return " ".join(value.split())
    if not _SEEN.search(value):
        return ""
    value = _LINE_BLANKS.sub(" ", value.strip())
    unfit = _LINE_UNFIT.search(_AT_WORK.sub("", value))
    if unfit is not None:
        raise ValueError("must be one line" if unfit[0] in _LINE_BREAKS else f"has {_named(unfit[0])}")
    if _piled(value, LINE_MARKS_MAX):
        raise ValueError(f"has more than {LINE_MARKS_MAX} marks on one letter")
    return unicodedata.normalize("NFC", value)


def _text(value: str) -> str:
    value = _text_or_blank(value)
    if not value:
        raise ValueError(BLANK)
    return value


def _text_or_blank(value: str) -> str:
    if value.isascii() and value.isprintable():
        return "" if value.isspace() else value
    if not value.isprintable():
        value = _TEXT_BREAKS.sub("\n", value)
        if (unfit := _TEXT_UNFIT.search(value)) is not None:
            raise ValueError(f"has {_named(unfit[0])}")
        value = _closed(value)
    if not _SEEN.search(value):
        return ""
    if not value.isascii():
        if _piled(value, TEXT_MARKS_MAX):
            raise ValueError(f"has more than {TEXT_MARKS_MAX} marks on one letter")
        value = unicodedata.normalize("NFC", value)
    return value


def _emoji(value: str) -> str:
    return canonical_emoji(_line(_SELECTORS.sub("", value)))


def _address(value: str) -> str:
    if not value.isascii() and (unfit := _LINE_UNFIT.search(value)) is not None:
        raise ValueError(f"has {_named(unfit[0])}")
    return value


def _opaque(value: str) -> str:
    return value


_RULES: dict[Kind, Callable[[str], str]] = {
    "line": _line,
    "line?": _line_or_blank,
    "text": _text,
    "text?": _text_or_blank,
    "emoji": _emoji,
    "address": _address,
    "opaque": _opaque,
}


def canonical_emoji(value: str) -> str:
    """An emoji with the variation selectors that its fully-qualified form has, and no others."""
    if value.isascii():
        return value
    return _SELECTED.sub("\\g<0>\ufe0f", _SELECTORS.sub("", value))


def excerpt(value: str, chars: int) -> str:
    """The beginning of a text, not cut within a letter and its marks or within an emoji, nor between directions."""
    if len(value) <= chars:
        return value
    end = chars
    while end > max(0, chars - TEXT_MARKS_MAX) and _belongs_to_the_last(value, end):
        end -= 1
    return _closed(value[: end or chars].rstrip())


def _belongs_to_the_last(value: str, at: int) -> bool:
    here = value[at]
    hangs_on = unicodedata.category(here)[0] == "M" or here == "\u200d" or "\U0001f3fb" <= here <= "\U0001f3ff"
    return hangs_on or value[at - 1] == "\u200d"


def _piled(value: str, most: int) -> bool:
    """Whether more than `most` marks follow each other: such a run covers one of every `most` + 1 places."""
    for at in range(most, len(value), most + 1):
        first = last = at
        while first >= 0 and last - first <= most and unicodedata.category(value[first])[0] == "M":
            first -= 1
        while last < len(value) and last - first <= most + 1 and unicodedata.category(value[last])[0] == "M":
            last += 1
        if last - first - 1 > most:
            return True
    return False


def _closed(value: str) -> str:
    """Without direction overrides, and with every embedding and isolate ended before its line does."""
    if not _DIRECTIONS.search(value):
        return value
    return "\n".join(_closed_line(each) if _DIRECTIONS.search(each) else each for each in value.split("\n"))


def _closed_line(value: str) -> str:
    """What ends nothing, and what is nested deeper than DIRECTIONS_MAX, is dropped too."""
    kept: list[str] = []
    ends: list[str] = []
    isolates = 0  # how many of them end one
    for char in value:
        if char in _CLOSED_BY:
            end = _CLOSED_BY[char] if len(ends) < DIRECTIONS_MAX else ""
            ends.append(end)
            isolates += end == _POP_ISOLATE
            kept.append(char if end else "")
        elif char == _POP_EMBEDDING:
            kept.append(ends.pop() if ends and ends[-1] != _POP_ISOLATE else "")
        elif char == _POP_ISOLATE:
            if isolates:
                isolates -= 1
                while ends.pop() != _POP_ISOLATE:  # the end of an isolate ends what began within it
                    pass
                kept.append(char)
        else:
            kept.append(char)
    return "".join((*kept, *reversed(ends)))


def _named(char: str) -> str:
    what = {"Cc": "a control character", "Co": "a private-use character", "Cs": "half of a surrogate pair"}
    name = unicodedata.name(char, "")
    return f"{what.get(unicodedata.category(char), 'a hidden character')}, U+{ord(char):04X}{' ' if name else ''}{name}"
