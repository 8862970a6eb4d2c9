"""Which words search sees in a text: scripts, folding, what a query finds, and bounds on hostile input."""

from __future__ import annotations

import asyncio
import random

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.context import now
from models.messages.document import BLOCK, BLOCK_WORDS_MAX, adding, draft, placed, rebuilt
from models.messages.words import CHARS_MAX, QUERY_WORDS_MAX, WORDS_MAX, fold, parse, said
from storage.mongo import Document

FOUND = [
    ("हिन्दी", "मुझे हिन्दी में लिखें"),
    ("हिन्दी में बात करना और लिखना बहुत अच्छा लगता है", "उसे हिन्दी में बात करना और लिखना बहुत अच्छा लगता है"),
    ("লিখুন", "বাংলায় লিখুন"),
    ("தமிழ்", "இது தமிழ் மொழி"),
    ("తెలుగు", "తెలుగు భాష"),
    ("istanbul", "Depo İstanbul'da"),
    ("İSTANBUL", "istanbul"),
    ("istanbul", "ISTANBUL"),
    ("ıstanbul", "İstanbul"),
    ("urgent", "this is _urgent_!"),
    ("case", "snake_case"),
    ("price", "**price**: ~~40~~ 38"),
    ("don't", "they don’t know"),
    ("don’t", "they don't know"),
    ("dont", "they don't know"),
    ("eau", "l’eau minérale"),
    ("brien", "Mr O'Brien"),
    ("hauptstrasse", "Hauptstraße 5"),
    ("STRASSE", "Hauptstrasse, Straße"),
    ("Müller", "Muller & Sohn"),
    ("lodz", "Łódź"),
    ("aero", "Ærø"),
    ("ostersund", "Östersund"),
    ("duong", "con đường"),
    ("tieng viet", "Tiếng Việt"),
    ("οδος", "Οδός Αθηνάς"),
    ("αθηνασ", "ΑΘΗΝΑΣ Αθήνας"),
    ("ежик", "Ёжик в тумане"),
    ("замок", "за́мок"),
    ("محمد", "قال مُحَمَّدٌ شيئا"),
    ("كتاب", "کتاب جديد"),
    ("العربية", "اللغة العـربـية"),
    ("احمد", "أحمد هنا"),
    ("123", "الرقم ١٢٣"),
    ("١٢٣", "number 123"),
    ("שלום", "שָׁלוֹם עולם"),
    ('צה"ל', "חיילי צה״ל"),
    ("می‌خواهم", "من ميخواهم"),
    ("میخواهم", "من می‌خواهم بروم"),
    ("กรุงเทพ", "เราจะพบกันที่กรุงเทพพรุ่งนี้"),
    ("ก", "เราจะพบกัน"),
    ("ខ្មែរ", "ខ្ញុំនិយាយភាសាខ្មែរបានល្អ"),
    ("ភាសាខ្មែរ", "ភាសា\u200bខ្មែរ"),
    ("ລາວ", "ປະເທດລາວງາມ"),
    ("မြန်မာ", "ကျွန်တော်မြန်မာစကားပြောတယ်"),
    ("བོད་ཡིག", "ངས་བོད་ཡིག་བྲིས།"),
    ("东京", "我们明天去东京开会"),
    ("会", "我们明天去东京开会"),
    ("我", "我们明天去东京开会"),
    ("我们明天早上八点在东京车站见面吧", "好的，我们明天早上八点在东京车站见面吧！"),
    ("東京", "明日は東京に行きます"),
    ("ラーメン", "美味しいﾗｰﾒﾝを食べたい"),
    ("行きます", "明日は東京に行きます"),
    ("ガス", "ｶﾞｽ代"),
    ("3月", "2025年3月12日"),
    ("iphone", "买一个iPhone手机"),
    ("手机", "买一个iPhone手机"),
    ("안녕", "안녕하세요 여러분"),
    ("한국어", "\u1112\u1161\u11ab\u1100\u116e\u11a8\u110b\u1165"),
    ("ＡＢＣ", "abc１２３"),
    ("file", "ﬁle"),
    ("3.5", "about 3,5 kg"),
    ("5", "about 3.5 kg"),
    ("1200", "for 1,200.50 EUR"),
    ("1.200,50", "for 1200.50 EUR"),
    ("1,200", "for 1.200 EUR"),
    ("100000", "1,00,000 rupees"),
    ("2025", "on 12.03.2025"),
    ("example", "write to ada@example.com"),
    ("ada@example.com", "write to ada@example.com"),
    ("path", "https://example.com/a/path?q=1"),
    ("👍", "👍🏽"),
    ("👨‍👩‍👧", "the 👨‍👩‍👧 family"),
    ("🇩🇪", "to 🇩🇪"),
    ("gre tea", "Tea that is green"),
]  # fmt: skip
NOT_FOUND = [
    ("हिन्दी", "हम न दें"),
    ("দিন", "দাম নাই"),
    ("东京", "京东"),
    ("东京", "东 京"),
    ("北京东", "北京 京东 东北"),
    ("3月", "3个人，5月"),
    ("กา", "ก า"),
    ("reen", "green"),
    ("greenest", "green"),
    ("don't", "Don Tomas"),
    ("35", "3.5"),
    ("мои", "мой"),
    ("カ", "ガ"),
    ("👨‍👩‍👧", "👧 👨 👩"),
]  # fmt: skip


def finds(query: str, text: str) -> bool:
    parsed = parse(query)
    assert parsed is not None
    pieces, tokens = said(text)
    matches = parsed.matches(pieces)
    if matches:
        assert any(token.startswith(parsed.token) for token in tokens), "the index does not lead to it"
    return matches


@pytest.mark.parametrize(("query", "text"), FOUND)
def test_found(query: str, text: str) -> None:
    assert finds(query, text)
    assert finds(query.upper(), text)  # case does not matter in any script that has it


@pytest.mark.parametrize(("query", "text"), NOT_FOUND)
def test_not_found(query: str, text: str) -> None:
    assert not finds(query, text)


@pytest.mark.parametrize(
    ("query", "good"),
    [
        ("एक दो तीन चार पाँच छह सात आठ नौ दस", True),
        ("एक दो तीन चार पाँच छह सात आठ नौ दस ग्यारह", False),
        ("一 二 三 四 五 六 七 八 九 十", True),
        ("我们明天早上八点在东京车站见面，带上合同的原件", True),
        (" ".join(["ada@example.com"] * 10), True),
        (" ".join(f"{number}@{number}.com" for number in range(10)), True),
        ("- one – two — three / four & five + six, seven; eight: nine. ten!", True),
        ("one two three four five six seven eight nine ten eleven", False),
        ("!?", False),
        ("\u0301\u200d", False),
        (".".join("abcdefghijklmnopqrstuvwxyz" * 3), True),
        (" ".join(".".join(f"{number}{letter}" for letter in "abcdefgh") for number in range(8)), False),
    ],
)
def test_a_query_has_as_many_words_as_people_count(query: str, good: bool) -> None:
    assert (parse(query) is not None) == good
    assert QUERY_WORDS_MAX == 10


TEXTS = st.text(max_size=60) | st.text("aB1.,'’_ İıßéи\u0306́東京ーก\u0e34\u200b\u200d्हन👍🏽א״한\u1112", max_size=40)


@given(TEXTS)
def test_folding_twice_is_folding_once(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@given(TEXTS)
def test_a_text_finds_itself(text: str) -> None:
    query = parse(text)
    if query is not None:
        assert finds(text, text)
        assert finds(text.upper(), text.upper())
    pieces, tokens = said(text)
    assert len(pieces) == len(set(pieces))
    assert len(tokens) == len(set(tokens))


@given(st.text(st.characters(max_codepoint=127), max_size=60))
def test_the_short_way_for_ascii_is_the_long_way(text: str) -> None:
    assert set(said(text).pieces) == {piece for piece in said(f"{text} é").pieces if piece != "e"} | (
        {"e"} & set(said(text).pieces)
    )


def hostile() -> dict[str, str]:
    """CHARS_MAX characters each."""
    rng = random.Random(5)
    alternating = "a'1.,東ก\u0301\u200b\"א👍\u093f_ "
    made = {
        "marks": "\u0301", "vowel signs": "a\u093f", "lone vowel signs": "\u093f", "joined emoji": "👩\u200d",
        "selectors": "❤\ufe0f", "tags": "\U000e0041", "scripts": "a東ก", "digits in a run": "1東", "digits": "1",
        "decimals": "1,", "groups": "1,11", "apostrophes": "a'", "gershayim": "א״", "ligatures": "ﷺ", "jamo": "ᄒ",
        "zero widths": "ก\u200b", "tshegs": "\u0f0b", "underscores": "a_", "half width": "ｶﾞ", "spaces": " ",
    }  # fmt: skip
    texts = {name: (unit * CHARS_MAX)[:CHARS_MAX] for name, unit in made.items()}
    texts["mixed"] = "".join(rng.choices(alternating, k=CHARS_MAX))
    texts["all of Han"] = "".join(map(chr, rng.sample(range(0x4E00, 0x9FFF), CHARS_MAX)))
    texts["rare Han"] = "".join(map(chr, rng.sample(range(0x20000, 0x2A6DF), CHARS_MAX)))
    texts["letters"] = " ".join(map(chr, rng.sample(range(0x20000, 0x2A6DF), CHARS_MAX // 2)))
    texts["short words"] = " ".join(f"{number:x}" for number in range(4096, 4096 + CHARS_MAX // 5))
    texts["long words"] = " ".join("𐐨" * 80 + str(number) for number in range(CHARS_MAX // 85))
    return texts


HOSTILE = hostile()


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_comes_to_few_words(name: str) -> None:
    """No character counts more than a few times, whatever it stands between."""
    pieces, tokens = said(HOSTILE[name])
    assert len(pieces) <= WORDS_MAX
    assert len(tokens) <= CHARS_MAX + WORDS_MAX
    assert sum(map(len, pieces)) <= 2 * CHARS_MAX
    assert sum(map(len, tokens)) <= 4 * CHARS_MAX
    parse(HOSTILE[name])


@pytest.mark.parametrize("name", ["mixed", "all of Han", "rare Han", "letters", "short words", "long words"])
async def test_a_block_of_the_longest_messages_stays_far_below_the_limit(name: str) -> None:
    message = draft("u_1", "c", "text", HOSTILE[name], now())
    messages = [placed("c_1", seq, message) for seq in range(1, BLOCK + 1)]
    changing = [{"seq": seq, "mark": "mark_0123456789abcdef01234567"} for seq in range(1, BLOCK + 1)]
    block: Document = (await rebuilt("c_1", messages, changing, now()))["$set"]
    assert len(bson.encode({"_id": "c_0123456789abcdef01234567.0.2", **block})) < 6_000_000
    assert len(block["words"]) <= BLOCK_WORDS_MAX
    assert await adding(block, messages) is None
    update = await adding({"words": block["words"], "lines": []}, messages)
    assert update is not None
    assert len(update["$push"]["words"]["$each"]) + len(block["words"]) <= BLOCK_WORDS_MAX


async def test_others_have_their_turn_between_long_texts() -> None:
    """A block of Chinese takes a third of a second, which nobody is to wait for."""
    message = draft("u_1", "c", "text", "\ufdfa" * CHARS_MAX, now())
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await rebuilt("c_1", [placed("c_1", seq, message) for seq in range(1, 9)], [], None)
    task.cancel()
    assert turns >= 8


def test_one_sign_that_stands_for_many_is_not_taken_apart_without_end() -> None:
    assert len(fold("\ufdfa" * CHARS_MAX)) == CHARS_MAX
    assert len(fold("가" * CHARS_MAX)) == CHARS_MAX
