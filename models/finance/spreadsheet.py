"""Tables as CSV that a spreadsheet shows as text and numbers, and never runs.

A spreadsheet takes a cell for a formula by how it begins, and each has its own idea of what it skips before it looks
(blanks, line ends, characters that nobody sees) and of what is a sign (full-width ones too, for Japanese and Chinese).
One that expects another separator than the comma splits a quoted cell in the middle, and each piece begins a cell. So
an apostrophe goes before every such beginning: spreadsheets read it as "this is text".
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Sequence

# Without it Excel reads UTF-8 in the code page of the computer, and names come out wrong.
BYTE_ORDER_MARK = "\ufeff"
_SIGNS = frozenset("=+-@\N{MINUS SIGN}")
_ENDS = re.compile(r"([,;|\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]+)")  # of cells or lines, to some spreadsheet
_FILLERS = frozenset("\u115f\u1160\u2800\u3164\uffa0")  # blank, though letters by their category


def to_csv(columns: Sequence[str], rows: Iterable[Sequence[str | int]]) -> str:
    """Every cell is quoted; texts are made harmless, numbers stay numbers."""
    text = io.StringIO()
    text.write(BYTE_ORDER_MARK)
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerow(columns)
    writer.writerows([harmless(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    return text.getvalue()


def harmless(text: str) -> str:
    """The same text, with an apostrophe before whatever a spreadsheet could take for the beginning of a formula."""
    first, *rest = _ENDS.split(text)
    safe = first + "".join(f"'{piece}" if _begins_formula(piece) else piece for piece in rest)
    return f"'{safe}" if _begins_formula(text) or unicodedata.category(text[:1] or "a") == "Cc" else safe


def _begins_formula(text: str) -> bool:
    for character in text:
        if not _is_skipped(character):
            return unicodedata.normalize("NFKC", character)[:1] in _SIGNS
    return False


def _is_skipped(character: str) -> bool:
    """Quotes, blanks of every width, control and format characters, combining marks, and what is not assigned."""
    return character == '"' or character in _FILLERS or unicodedata.category(character)[0] in "ZCM"
