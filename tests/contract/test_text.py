"""The one rule for human text: what it refuses, what it keeps, and that every field is under it."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, inspect

from contract import chat, identity, offers
from contract.catalogue import COMMANDS, ENDPOINTS
from contract.errors import ParleyError
from contract.text import LINE_MARKS_MAX, Kind, canonical_emoji, clean, excerpt
from contract.types import parse
from models.users.document import email_key
from tests.contract.human import BLANK, NOT_A_LINE, NOT_A_TEXT, human, strings

PAYLOADS = {command.payload for command in COMMANDS.values()} | {one.payload for one in ENDPOINTS.values()}
KINDS: list[Kind] = ["line", "line?", "text", "text?", "emoji", "address", "opaque"]
# Characters with a role in the rule, so that random texts are made of more than letters.
SPECIAL = (
    "".join(BLANK) + "".join(NOT_A_LINE) + "\u202a\u202b\u202d\u2067\u2068\u2069\u202c\r\n❤️👍🏽👩‍🚀1️⃣©é가각\u1100\u1161"
)
anything = st.text(st.one_of(st.sampled_from(SPECIAL), st.characters()), max_size=60)


def kept(kind: Kind, value: str) -> str | None:
    try:
        return clean(kind, value)
    except ValueError:
        return None


def test_every_string_of_every_payload_says_what_it_holds() -> None:
    """Whoever adds a field says whether people write it; without a word of that it would be under no rule."""
    silent = {
        f"{payload.__name__}.{path}"
        for payload in PAYLOADS
        for path, declared in strings(inspect.type_info(payload))
        if declared is None
    }
    assert not silent


def test_the_fields_that_people_write_are_under_the_rule() -> None:
    found = {f"{payload.__name__}.{path[-1]}" for payload in PAYLOADS for path, _ in human(payload)}
    assert found >= {
        "Create.title", "Update.title", "Send.text", "Edit.text", "Search.query", "React.emoji", "CreateOffer.title",
        "CreateOffer.sku", "CreateOffer.unit", "CreateOffer.terms", "CreateOffer.note", "RespondOffer.title",
        "RespondOffer.terms", "RespondOffer.note", "FulfilOffer.note", "CancelOffer.note", "SetRule.sku",
        "SetRule.title", "SetRule.unit",
        "Refund.reason", "OpenDispute.reason", "SetCreditLimit.reason", "SetStatus.text", "Register.name",
        "Register.business", "Register.email", "MeUpdate.name", "MeUpdate.business", "Login.name", "Login.platform",
    }  # fmt: skip


@pytest.mark.parametrize("value", BLANK, ids=ascii)
def test_what_shows_nothing_is_blank(value: str) -> None:
    assert kept("line", value) is None
    assert kept("text", value) is None
    assert kept("emoji", value) is None
    assert (kept("line?", value), kept("text?", value)) == ("", "")


@pytest.mark.parametrize("value", NOT_A_LINE, ids=ascii)
def test_a_line_hides_nothing(value: str) -> None:
    assert kept("line", value) is None
    assert kept("line?", value) is None


@pytest.mark.parametrize("value", NOT_A_TEXT, ids=ascii)
def test_a_text_has_no_controls_and_no_towers_of_marks(value: str) -> None:
    assert kept("text", value) is None
    assert kept("text?", value) is None


@pytest.mark.parametrize(
    "name",
    ["Ada", "Zoë", "Nguyễn Thị Ánh", "Ольга", "李小龍", "葛\U000e0100城", "김철수", "علی‌رضا", "മലയാള‍ം അനില്‍", "ශ්‍රී ලංකා",
     "שָׁלוֹם", "ประเทศไทย", "བོད་ཡིག", "O’Neill-Smith, Jr.", "Tea & Co. ☕️", "👩🏽‍🚀 Inc", "🏳️‍🌈", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "1️⃣ First", "❤️‍🔥",
     "½ kg", "m²", "№ 5", "\U0001fae9 new"],
    ids=ascii,
)  # fmt: skip
def test_names_in_any_script_and_emoji_are_lines(name: str) -> None:
    assert kept("line", name) == unicodedata.normalize("NFC", name)


def test_a_line_is_kept_trimmed_with_single_blanks_in_nfc() -> None:
    assert kept("line", "  Ada \u00a0\t Lovelace\u3000\n") == "Ada Lovelace"
    assert kept("line", "Zoe\u0308") == "Zoë"
    assert kept("line?", "   ") == ""


def test_a_text_keeps_its_lines() -> None:
    assert kept("text", "\r\n  a\r\n\tb\rc\x0bd\u2028e\x85f \n") == "\n  a\n\tb\nc\nd\ne\nf \n"
    assert kept("text", "Zoe\u0308 👩‍🚀 علی‌رضا") == "Zoë 👩‍🚀 علی‌رضا"


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("pay \u202egpj.exe\u202c now", "pay gpj.exe now"),
        ("a \u202bb\nc", "a \u202bb\u202c\nc"),
        ("a \u2067b", "a \u2067b\u2069"),
        ("\u2067a\u202bb\u2069 c\u202c", "\u2067a\u202bb\u2069 c"),
        ("a\u2069\u202c", "a"),
        ("\u2068שלום\u2069, \u200fok", "\u2068שלום\u2069, \u200fok"),
        ("\u202b" * 40 + "x", "\u202b" * 16 + "x" + "\u202c" * 16),
    ],
    ids=ascii,
)
def test_directions_do_not_reach_beyond_the_text(sent: str, stored: str) -> None:
    assert kept("text", sent) == stored


def open_directions(text: str) -> bool:
    """Whether what follows the text, or its next line, is shown in a direction that the text began."""
    for line in text.split("\n"):
        ends: list[str] = []
        for char in line:
            if char in "\u202a\u202b\u202d\u202e":
                ends.append("\u202c")
            elif char in "\u2066\u2067\u2068":
                ends.append("\u2069")
            elif char == "\u202c" and ends[-1:] == ["\u202c"]:
                ends.pop()
            elif char == "\u2069" and "\u2069" in ends:
                while ends.pop() != "\u2069":
                    pass
        if ends:
            return True
    return False


@given(anything, st.sampled_from(KINDS))
def test_what_is_kept_is_kept_as_it_is_the_next_time(value: str, kind: Kind) -> None:
    once = kept(kind, value)
    if once is not None:
        assert kept(kind, once) == once
        if kind not in ("opaque", "address"):
            assert unicodedata.is_normalized("NFC", once)


@given(anything)
def test_a_line_has_nothing_that_acts_on_what_surrounds_it(value: str) -> None:
    line = kept("line", value)
    if line is not None:
        assert not {unicodedata.category(char) for char in line} & {"Cc", "Cs", "Co", "Zl", "Zp"}
        assert not set(line) & set(
            "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c\u200b\ufeff"
        )
        assert line == line.strip()
        marks = "".join("m" if unicodedata.category(char)[0] == "M" else " " for char in line)
        assert "m" * (LINE_MARKS_MAX + 1) not in marks


@given(anything, st.integers(1, 50))
def test_a_text_and_its_beginning_leave_no_direction_open(value: str, chars: int) -> None:
    text = clean_or_empty(value)
    assert not open_directions(text)
    assert not set(text) & set("\u202d\u202e")
    assert not open_directions(excerpt(text, chars))


def clean_or_empty(value: str) -> str:
    return kept("text?", value) or ""


def test_a_beginning_does_not_cut_a_letter_or_an_emoji() -> None:
    assert excerpt("Hello there", 5) == "Hello"
    assert excerpt("ab" + "x\u0331\u0332", 4) == "ab"
    assert excerpt("ab👩‍🚀", 4) == "ab"
    assert excerpt("ab👍🏽", 3) == "ab"
    assert excerpt("a \u2067bcd\u2069", 4) == "a \u2067b\u2069"


@pytest.mark.parametrize(
    "forms",
    [("👍", "👍\ufe0f", "👍\ufe0e"), ("❤️", "❤", "❤\ufe0e"), ("☝🏽", "☝️🏽"), ("1️⃣", "1⃣"), ("🏳️‍🌈", "🏳‍🌈"),
     ("👩‍❤️‍👨", "👩‍❤‍👨"), ("👁️‍🗨️", "👁‍🗨", "👁️‍🗨"), ("🧔🏽‍♂️", "🧔🏽‍♂")],
    ids=ascii,
)  # fmt: skip
def test_an_emoji_is_one_however_it_is_qualified(forms: tuple[str, ...]) -> None:
    assert {kept("emoji", form) for form in forms} == {forms[0]}
    assert {canonical_emoji(form) for form in forms} == {forms[0]}


def test_skin_tones_and_names_of_emoji_stay_what_they_are() -> None:
    assert len({kept("emoji", emoji) for emoji in ("👍", "👍🏻", "👍🏿", "+1", ":tea:")}) == 5
    for bad in ("👍\u202e", "👍\u200b", "👍 👍", "👍\x00", "\ufe0f", "🏻\u0336" + "\u0336" * 9):
        with pytest.raises(ParleyError) as refused:
            parse(chat.React, {"message_id": "c_1.1", "emoji": bad, "on": True})
        assert refused.value.code == "validation_failed"


@pytest.mark.parametrize("email", ["ada\u200b@example.test", "ada@exam\u00adple.test", "\u202eada@example.test",
                                   "ada\u3164@example.test", "ada@example.te\ufe0fst"], ids=ascii)  # fmt: skip
def test_an_address_hides_nothing(email: str) -> None:
    fields = {"email": email, "password": "correct horse battery", "name": "Ada"}
    with pytest.raises(ParleyError, match="email"):
        parse(identity.Register, fields)
    assert parse(identity.Register, {**fields, "email": "Jörg@bücher.example"}).email == "Jörg@bücher.example"
    assert email_key("Jörg@bücher.example") == "jörg@bücher.example"


def test_a_refusal_names_the_field_and_says_why() -> None:
    item = {"title": "Tea", "quantity": 1, "unit_price": {"amount": 1, "currency": "USD"}}
    fields = {"conversation_id": "c_1", "client_id": "one", "side": "buy", "settlement": "none"}
    with pytest.raises(ParleyError) as refused:
        parse(offers.CreateOffer, {**fields, "items": [item, {**item, "unit": "k\u200bg"}]})
    assert refused.value.message == "items[1].unit: has a hidden character, U+200B ZERO WIDTH SPACE"
    offer = parse(offers.CreateOffer, {**fields, "items": [{**item, "sku": " T  1 "}], "note": "\u200b", "terms": None})
    assert (offer.items[0].sku, offer.note, offer.terms) == ("T 1", "", None)
    assert parse(chat.Update, {"conversation_id": "c_1"}).title is UNSET
