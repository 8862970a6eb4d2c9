"""The sequencer: whatever the order of arrival, clients of this process see a conversation in order and each once."""

from __future__ import annotations

import asyncio

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realtime.ordering import HOLD_S, Sequencer
from tests.models.sequenced import KEY, THERE, Client, Others, run

Arrival = tuple[int, bool]


@st.composite
def arrivals(draw: st.DrawFn) -> list[Arrival]:
    """All of a stretch in any order. `settled` is only said of one whose predecessor came before it, as it must be."""
    first = draw(st.sampled_from([1, 40]))  # a new conversation, or one that is only new to this process
    seqs = range(first, first + draw(st.integers(1, 9)))
    order = draw(st.permutations(seqs))
    flags = draw(st.lists(st.booleans(), min_size=len(order), max_size=len(order)))
    came: set[int] = set()
    result = []
    for seq, flag in zip(order, flags, strict=True):
        result.append((seq, flag and (seq - 1 in came or seq == first)))
        came.add(seq)
    return result


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
@given(arrivals(), st.lists(st.booleans(), min_size=9, max_size=9))
def test_any_order_of_arrival_is_delivered_once_and_in_order(given_arrivals: list[Arrival], pauses: list[bool]) -> None:
    async def check() -> None:
        client = Client(Sequencer(THERE))
        for (seq, settled), pause in zip(given_arrivals, pauses, strict=False):
            client.hear(seq, settled)
            if pause:
                await asyncio.sleep(HOLD_S / 20)
        await asyncio.sleep(10 * HOLD_S)
        assert client.seen == sorted(seq for seq, _ in given_arrivals)
        assert client.sequencer.gaps <= (0 if 1 in client.seen else 1)  # what came before 40 may have been waited for

    run(check())


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
@given(arrivals(), st.sets(st.sampled_from([2, 3, 5, 40, 41, 43])), st.lists(st.floats(0, 1), min_size=9, max_size=9))
def test_nothing_is_lost_or_repeated_when_some_never_come_and_some_come_late(
    given_arrivals: list[Arrival], lost: set[int], pauses: list[float]
) -> None:
    async def check() -> None:
        client, heard = Client(Sequencer(THERE)), []
        for (seq, settled), pause_s in zip(given_arrivals, pauses, strict=False):
            if seq not in lost:
                heard.append(seq)
                client.hear(seq, settled)
                await asyncio.sleep(pause_s)
        await asyncio.sleep(20 * HOLD_S)
        assert client.seen == sorted(client.seen)
        assert sorted(client.seen + client.late) == sorted(heard)
        assert not client.sequencer._tracks or not client.sequencer._tracks[KEY].held

    run(check())


def test_a_gap_is_given_up_after_the_hold_and_counted_once() -> None:
    async def check() -> None:
        client = Client(Sequencer(THERE, hold_s=0.3))
        client.hear(1)
        for seq in (3, 4, 6):
            client.hear(seq)
        await asyncio.sleep(0.29)
        assert client.seen == [1]
        await asyncio.sleep(0.02)
        assert client.seen == [1, 3, 4]  # 6 has a gap of its own before it
        await asyncio.sleep(0.3)
        assert client.seen == [1, 3, 4, 6]
        assert client.sequencer.gaps == 2

    run(check())


def test_a_gap_is_not_given_up_while_something_is_known_to_be_on_its_way() -> None:
    async def check() -> None:
        others = Others()
        others.behind = True
        client = Client(Sequencer(others, hold_s=0.3))
        client.hear(1)
        client.hear(3)
        await asyncio.sleep(2)
        assert client.seen == [1]
        others.behind = False
        await asyncio.sleep(0.31)
        assert client.seen == [1, 3]

    run(check())


def test_nothing_waits_for_what_cannot_come() -> None:
    async def check() -> None:
        others = Others()
        client = Client(Sequencer(others, hold_s=0.3))
        client.hear(1)
        client.hear(3)
        others.away = True
        await asyncio.sleep(0.31)
        assert client.seen == [1, 3]
        client.hear(5)
        async with client.sequencer.turn(KEY, 8, settled=False):
            client.seen.append(8)
        assert client.seen == [1, 3, 5, 8]

    run(check())


def test_one_that_comes_after_its_gap_was_given_up_is_known_to_be_late() -> None:
    async def check() -> None:
        client = Client(Sequencer(THERE, hold_s=0.3))
        client.hear(1)
        client.hear(3)
        await asyncio.sleep(0.5)
        client.hear(2)
        assert (client.seen, client.late) == ([1, 3], [2])
        async with client.sequencer.turn(KEY, 2, settled=True) as in_order:
            assert not in_order
        client.hear(4)
        assert client.seen == [1, 3, 4]

    run(check())


def test_the_predecessor_ends_the_hold_before_its_time() -> None:
    async def check() -> None:
        client = Client(Sequencer(THERE, hold_s=0.3))
        client.hear(1)
        client.hear(3)
        await asyncio.sleep(0.1)
        client.hear(2)
        await asyncio.sleep(0.001)
        assert client.seen == [1, 2, 3]
        assert client.at[3] < 0.2
        assert client.sequencer.gaps == 0

    run(check())


def test_an_acknowledgement_comes_before_the_next_message() -> None:
    """The code after `accept` of 2 acknowledges it: 3, held until now, must not overtake that."""

    async def check() -> None:
        client = Client(Sequencer(THERE))
        client.hear(1)
        client.hear(3)
        client.sequencer.accept(KEY, 2, False, client.deliver(2))
        assert client.seen == [1, 2]  # here the acknowledgement goes out
        await asyncio.sleep(0.001)
        assert client.seen == [1, 2, 3]

    run(check())


def test_a_conversation_that_is_new_here_waits_only_for_what_may_still_come() -> None:
    async def check() -> None:
        client = Client(Sequencer(THERE, hold_s=0.3))
        client.hear(70, settled=True)
        assert client.seen == [70]
        other = Client(client.sequencer)
        other.hear(70, key="c_2")
        other.hear(69, key="c_2")
        assert other.seen == []  # 68 may be on its way as well
        await asyncio.sleep(0.31)
        assert other.seen == [69, 70]
        third = Client(client.sequencer)
        third.hear(70, key="c_3")
        third.hear(69, settled=True, key="c_3")
        await asyncio.sleep(0.001)
        assert third.seen == [69, 70]

    run(check())


def test_conversations_do_not_wait_for_each_other() -> None:
    async def check() -> None:
        sequencer = Sequencer(THERE)
        one, other = Client(sequencer), Client(sequencer)
        one.hear(1, key="c_1")
        one.hear(3, key="c_1")
        other.hear(1, key="c_2")
        other.hear(2, key="c_2")
        assert (one.seen, other.seen) == ([1], [1, 2])

    run(check())


def test_a_delivery_that_fails_does_not_hold_up_the_ones_after_it() -> None:
    def fail(in_order: bool) -> None:
        raise RuntimeError("this room cannot be reached")

    async def check() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        client = Client(Sequencer(THERE, hold_s=0.3))
        client.hear(1)
        client.sequencer.accept(KEY, 3, False, fail)
        client.hear(4)
        await asyncio.sleep(3)
        assert client.seen == [1, 4]

    run(check())


def test_tracks_are_bounded_and_a_waiting_one_is_kept() -> None:
    async def check() -> None:
        sequencer = Sequencer(THERE, tracked_max=3)
        waiting = Client(sequencer)
        waiting.hear(1, key="waiting")
        waiting.hear(3, key="waiting")
        for number in range(10):
            Client(sequencer).hear(1, key=f"c_{number}")
        assert len(sequencer._tracks) <= 4
        waiting.hear(2, key="waiting")
        await asyncio.sleep(0.001)
        assert waiting.seen == [1, 2, 3]

    run(check())
