"""No cell of a CSV becomes a formula, whatever people wrote and however a spreadsheet splits it."""

from __future__ import annotations

import csv
import io
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models.finance.spreadsheet import BYTE_ORDER_MARK, harmless, to_csv

FORMULA = "=HYPERLINK(1)"
SIGNS = ["=", "+", "-", "@", "＝", "＋", "－", "＠", "﹦", "﹢", "﹣", "﹫", "−"]
BEFORE = [
    "", " ", "\t", "\r", "\n", "\r\n", "\u00a0", "\u3000", "\u2003", "\u200b", "\u200e", "\ufeff", "\u2060", "\u00ad",
    "\x00", "\x1f", "\x7f", "\u2028", "\u3164", "\u0301", '"', ' \t\n"', "\ufeff\n ",
]  # fmt: skip
SPLIT = [";", ",", "\t", "|", "\n", "\r", "\r\n", "\v", "\f", "\u2028", "\x85"]
PLAIN = [
    "", "Thanks", "2 boxes - one lid; 50% off, as agreed", "a = b + c", "ada@example.test", "Zoë, 山田さん, Дарья",
    "first line\nsecond line", "it's fine", '"quoted"', "5-10 kg; 3 x 4",
]  # fmt: skip


def seen(text: str) -> str:
    """From the first character that somebody sees."""
    for index, character in enumerate(text):
        if character != '"' and unicodedata.category(character)[0] not in "ZCM" and character != "\u3164":
            return unicodedata.normalize("NFKC", text[index:])
    return ""


@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("before", BEFORE, ids=ascii)
def test_a_sign_at_the_beginning_is_text(sign: str, before: str) -> None:
    text = f"{before}{sign}HYPERLINK(1)"
    assert harmless(text).startswith("'")
    assert harmless(text).replace("'", "") == text, "it is no longer readable"


@pytest.mark.parametrize("split", SPLIT, ids=ascii)
@pytest.mark.parametrize("before", ["", " ", "\u3000", "\ufeff", '"'], ids=ascii)
def test_a_sign_after_what_may_split_the_cell_is_text(split: str, before: str) -> None:
    assert harmless(f"paid{split}{before}{FORMULA}") == f"paid{split}'{before}{FORMULA}"


@pytest.mark.parametrize("text", PLAIN, ids=ascii)
def test_what_is_no_formula_stays_as_it_is(text: str) -> None:
    assert harmless(text) == text


PIECES = st.sampled_from([*SIGNS, *SPLIT, "a", "1", "'", " ", '"', "\u200b", "\ufeff", "\u3000"])


@given(st.lists(PIECES, max_size=12).map("".join))
@example('";=1')
@example('a";"=1')
def test_no_reader_finds_a_formula(text: str) -> None:
    written = to_csv(["note"], [[text]]).removeprefix(BYTE_ORDER_MARK)
    for delimiter in ",;\t|":
        for quotes in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE):
            source = io.StringIO(written, newline="" if quotes == csv.QUOTE_MINIMAL else None)
            for row in csv.reader(source, delimiter=delimiter, quoting=quotes):
                for cell in row:
                    assert seen(cell)[:1] not in ("=", "+", "-", "@", "−"), (delimiter, quotes, cell)


def test_numbers_stay_numbers_and_every_cell_is_quoted() -> None:
    assert to_csv(["a", "b"], [["x", -5], ['say "hi"', 0]]) == '\ufeff"a","b"\r\n"x","-5"\r\n"say ""hi""","0"\r\n'
