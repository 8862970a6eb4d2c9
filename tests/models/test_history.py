"""What was delivered lately: whoever returns gets exactly what it missed, or nothing at all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from realtime import history as module
from realtime.history import History
from realtime.packets import Outgoing

NAMESPACE = "/chat"


def text(number: int) -> bytes:
    return b'42/chat,["event",{"n":%d}]' % number


@given(
    st.lists(st.tuples(st.sets(st.sampled_from("abcd"), min_size=1), st.sampled_from([None, "me", "you"]))),
    st.sets(st.sampled_from("abcd")), st.lists(st.integers(0, 30), max_size=4),
)  # fmt: skip
def test_it_gives_what_went_to_the_rooms_since(
    deliveries: list[tuple[set[str], str | None]], rooms: set[str], looks: list[int]
) -> None:
    log, expected = History("t-"), []
    for number, (to, skip) in enumerate(deliveries, 1):
        log.add(NAMESPACE if number % 5 else "/system", sorted(to), skip, Outgoing(text(number)), None)
        if number % 5 and to & rooms and skip != "me":
            expected.append(number)
        if number in looks:  # an index that was made earlier is brought up to date
            log.since(NAMESPACE, rooms, "me", 0)
    for after in (*looks, 0, len(deliveries)):
        found = log.since(NAMESPACE, rooms, "me", after)
        if after > len(deliveries):
            assert found is None
        else:
            assert found is not None
            assert [entry.number for entry in found] == [number for number in expected if number > after]


def test_what_is_too_old_or_too_much_is_not_given_in_part() -> None:
    log = History("t-", bytes_max=10 * module._size(Outgoing(text(10))))
    for number in range(10, 40):
        log.add(NAMESPACE, ["a"], None, Outgoing(text(number)), None)
    assert log.since(NAMESPACE, ["a"], "me", 19) is None
    kept = log.since(NAMESPACE, ["a"], "me", 20)
    assert kept is not None
    assert [entry.packet.text for entry in kept] == [text(number) for number in range(30, 40)]
    log._log[-2].at -= module.KEPT_S + 1
    for entry in list(log._log)[:-2]:
        entry.at -= module.KEPT_S + 1
    log.add(NAMESPACE, ["a"], None, Outgoing(text(40)), None)
    assert log.since(NAMESPACE, ["a"], "me", 28) is None
    rest = log.since(NAMESPACE, ["a"], "me", 29)
    assert rest is not None
    assert len(rest) == 2


def test_an_index_nobody_uses_holds_nothing_of_the_past() -> None:
    log = History("t-", bytes_max=37 * module._size(Outgoing(text(10))))
    for number in range(10, 30):
        log.add(NAMESPACE, [f"room {number}"], None, Outgoing(text(number)), None)
    assert log.since(NAMESPACE, ["room 29"], "me", log.number) == []
    assert log._index
    for number in range(30, 99):
        log.add(NAMESPACE, ["another"], None, Outgoing(text(number)), None)
    assert not log._index


def test_an_offset_is_behind_the_payload_and_belongs_to_its_process() -> None:
    log, packet = History("t-"), Outgoing(text(1))
    for _ in range(30):
        log.add(NAMESPACE, ["a"], None, Outgoing(text(0)), None)
    log.add(NAMESPACE, ["a"], None, packet, None)
    assert packet.text_with_offset == b'42/chat,["event",{"n":1},"t-1f"]'
    assert packet.text == text(1)
    assert log.number_of("t-1f") == 31
    assert log.number_of("u-1f") is None
    assert log.number_of("t-zz") is None
