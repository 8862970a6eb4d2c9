"""Positions: whatever is lost on the way is noticed, sent again and handed on in order, each once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from realtime.relay import streams
from realtime.relay.streams import Sent, Stream


def entry(offset: int) -> bytes:
    return b"%d" % offset


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.permutations(range(40)), st.integers(1, 7))
def test_what_was_lost_is_asked_for_and_handed_on_in_order(lost: list[bool], order: list[int], answer: int) -> None:
    """A publisher sends entries, some are lost, some come late; the subscriber hears positions and asks."""
    sent, stream, handed, at = Sent(), Stream[bytes](), [], 100.0
    stream.announced(0, at)
    for offset in range(1, len(lost) + 1):
        assert sent.next_offset("1") == offset
        sent.add("1", (entry(offset), b""), at)
    for index in sorted(range(len(lost)), key=lambda index: order[index] // 8):  # a little out of order
        if not lost[index]:
            handed += stream.arrive(index + 1, entry(index + 1), 1, at)
    stream.announced(sent.positions()["1"], at)
    assert stream.behind is (len(handed) < len(lost))
    for _ in range(len(lost) + 1):
        at += streams.ASK_AGAIN_S
        assert not stream.hopeless(at)
        wanted = stream.wanted(at)
        if wanted is None:
            break
        assert stream.wanted(at) is None, "asked twice for the same"
        start, entries = sent.since("1", wanted)
        assert start == wanted
        for number, (head, body) in enumerate(entries[:answer]):  # the rest of it is lost as well
            handed += stream.arrive(start + number, head + body, 1, at)
    assert handed == [entry(offset) for offset in range(1, len(lost) + 1)]
    assert not stream.behind


def test_nothing_is_asked_for_before_what_is_only_late_had_its_time() -> None:
    stream = Stream[bytes]()
    assert stream.arrive(7, entry(7), 1, 10.0) == [entry(7)], "it listens from here on"
    assert stream.arrive(9, entry(9), 1, 10.0) == []
    assert stream.wanted(10.0 + streams.GRACE_S / 2) is None
    assert stream.arrive(8, entry(8), 1, 10.1) == [entry(8), entry(9)]
    assert stream.wanted(20.0) is None


def test_a_gap_that_nobody_fills_is_given_up() -> None:
    stream = Stream[bytes]()
    stream.announced(3, 10.0)
    stream.announced(5, 10.0)
    assert stream.arrive(8, entry(8), 1, 11.0) == []
    assert not stream.hopeless(12.9)
    assert stream.hopeless(10.0 + streams.GIVE_UP_S)
    assert stream.give_up(13.0) == [entry(8)]
    assert not stream.behind
    assert stream.arrive(5, entry(5), 1, 13.1) == [], "what comes after all is too late"
    assert stream.arrive(9, entry(9), 1, 13.1) == [entry(9)]


def test_too_much_held_is_given_up_at_once() -> None:
    stream = Stream[bytes]()
    stream.announced(0, 10.0)
    for offset in range(2, streams.HELD_MAX + 3):
        stream.arrive(offset, b"x", 1, 10.0)
    assert stream.full
    assert len(stream.give_up(10.0)) == streams.HELD_MAX + 1


def test_progress_postpones_giving_up() -> None:
    stream = Stream[bytes]()
    stream.announced(0, 10.0)
    stream.announced(100, 10.0)
    for offset in range(1, 100):
        assert not stream.hopeless(10.0 + offset)
        stream.arrive(offset, entry(offset), 1, 10.0 + offset)
    assert stream.behind


def test_what_is_kept_is_bounded_by_bytes_and_by_age() -> None:
    sent = Sent(bytes_max=1_000)
    for number in range(100):
        sent.add(str(number % 2), (b"head", b"b" * 96), 10.0 + number)
    assert sent.bytes <= 1_000
    assert sent.positions() == {"0": 50, "1": 50}
    start, entries = sent.since("0", 1)
    assert (start, len(entries)) == (46, 5)
    assert sent.since("0", 49) == (49, [(b"head", b"b" * 96)] * 2)
    sent.expire(109.0 + streams.SENT_AGE_S + 1)
    assert sent.bytes == 0
    assert sent.since("0", 1) == (51, [])
    assert sent.next_offset("0") == 51


def test_what_is_gone_is_skipped() -> None:
    stream = Stream[bytes]()
    stream.announced(0, 10.0)
    assert stream.arrive(2, entry(2), 1, 10.0) == []
    assert stream.arrive(5, entry(5), 1, 10.0) == []
    assert stream.skip_to(5, 10.1) == [entry(5)]
    assert not stream.behind


def test_what_is_sent_again_at_once_is_bounded() -> None:
    sent = Sent()
    for _ in range(streams.AGAIN_MAX + 5):
        sent.add("few", (b"h", b"b"), 1.0)
    for _ in range(5):
        sent.add("large", (b"h", b"b" * (streams.AGAIN_BYTES_MAX // 2)), 1.0)
    assert len(sent.since("few", 1)[1]) == streams.AGAIN_MAX
    assert len(sent.since("large", 1)[1]) == 1
    assert len(sent.since("large", 5)[1]) == 1
