"""The checker of the chaos harness finds what it is there to find, and nothing in a run in which all was well."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.chaos.calm import expected_in_calm, spans
from bench.chaos.checker import check
from bench.chaos.evidence import Change, Conversation, Evidence, Lacking, Reaction, Repeat
from bench.chaos.faults import Done
from bench.chaos.journal import Acked, Down, Essence, Handed, Head, Heard, Journal, Record, Sent, Up

ADA, BEN = "ada", "ben"
TALK = "c1"


def message(seq: int, sender: str = ADA) -> Essence:
    return Essence(seq, f"m{seq}", sender, f"id-{seq}", seq * 11)


ONE, TWO, THREE = message(1), message(2, BEN), message(3)


def ada() -> list[Record]:
    """Ada says 1, hears 2, says 3."""
    return [
        Up(0.0, 1),
        Sent(10.0, 1, TALK, "id-1"), Handed(10.1, 1, TALK, ONE, "ack"), Acked(10.1, 1, TALK, ONE, False, 10.0),
        Heard(11.1, 1, TALK, TWO), Handed(11.1, 1, TALK, TWO, "event"),
        Sent(12.0, 1, TALK, "id-3"), Handed(12.1, 1, TALK, THREE, "ack"), Acked(12.1, 1, TALK, THREE, False, 12.0),
    ]  # fmt: skip


def ben() -> list[Record]:
    """Ben hears 1, says 2, hears 3."""
    return [
        Up(0.0, 1),
        Heard(10.1, 1, TALK, ONE), Handed(10.1, 1, TALK, ONE, "event"),
        Sent(11.0, 1, TALK, "id-2"), Handed(11.1, 1, TALK, TWO, "ack"), Acked(11.1, 1, TALK, TWO, False, 11.0),
        Heard(12.1, 1, TALK, THREE), Handed(12.1, 1, TALK, THREE, "event"),
    ]  # fmt: skip


def evidence(
    of_ada: list[Record], of_ben: list[Record], stored: tuple[Essence, ...] = (ONE, TWO, THREE), last_seq: int = 3
) -> Evidence:
    journals = [Journal("ada-a", ADA), Journal("ben-a", BEN)]
    journals[0].records, journals[1].records = of_ada, of_ben
    talk = Conversation(TALK, frozenset({ADA, BEN}), last_seq, stored)
    return Evidence(journals, {TALK: talk}, [], began_at=0.0, closed_at=100.0)


def broken(given: Evidence) -> set[tuple[str, int]]:
    return {(violation.promise, violation.seq) for violation in check(given)}


def without(records: list[Record], *kinds: type, seq: int) -> list[Record]:
    return [
        record
        for record in records
        if not (isinstance(record, kinds) and getattr(record, "message", ONE).seq == seq)
    ]  # fmt: skip


def test_a_run_in_which_all_was_well() -> None:
    given = evidence(ada(), ben())
    assert check(given) == []
    expected = expected_in_calm(given)
    assert (expected.events, expected.mended) == (3, 0)  # 1 and 3 to Ben, 2 to Ada


def test_an_acknowledged_message_that_is_not_there_is_lost() -> None:
    assert ("kept", 3) in broken(evidence(ada(), without(ben(), Heard, Handed, seq=3), (ONE, TWO), 2))


def test_a_message_that_was_altered() -> None:
    other = THREE._replace(text=1)
    assert broken(evidence(ada(), ben(), (ONE, TWO, other))) == {("kept", 3), ("true", 3)}


def test_a_gap_in_the_history() -> None:
    found = broken(evidence(ada(), ben(), (ONE, THREE), 3))
    assert {("once", 3), ("kept", 2)} <= found
    assert ("kept", 3) not in found


def test_a_conversation_that_says_another_end() -> None:
    assert broken(evidence(ada(), ben(), last_seq=4)) == {("once", 4)}


@pytest.mark.parametrize("same", ["client_id", "id"])
def test_one_send_that_became_two_messages(same: str) -> None:
    four = Essence(4, "m4", ADA, "id-4", 44)._replace(**{same: getattr(THREE, same)})
    assert ("once", 4) in broken(evidence(ada(), ben(), (ONE, TWO, THREE, four), 4))


def test_an_event_that_came_twice_on_a_connection() -> None:
    assert broken(evidence(ada(), [*ben(), Heard(12.2, 1, TALK, THREE)])) == {("once", 3)}


def test_an_event_may_come_again_on_another_connection() -> None:
    again = [*ben(), Down(20.0, 1, "cut"), Up(21.0, 2), Heard(22.0, 2, TALK, THREE)]
    assert check(evidence(ada(), again)) == []


def test_events_in_the_wrong_order() -> None:
    swapped: list[Record] = [Up(0.0, 1), Heard(12.1, 1, TALK, THREE), Heard(12.2, 1, TALK, ONE)]
    assert broken(evidence(ada(), swapped)) == {("order", 1)}


def test_what_is_handed_on_is_one_two_three() -> None:
    records = ben()
    records[2] = Handed(10.1, 1, TALK, TWO, "event")
    assert ("order", 2) in broken(evidence(ada(), records))


def test_what_was_sent_after_an_acknowledgement_comes_after_it() -> None:
    records = [record if not isinstance(record, Sent) else record._replace(at=13.0) for record in ada()[:4]]
    records[3] = Acked(13.1, 1, TALK, ONE, False, 13.0)
    assert ("order", 1) in broken(evidence([*records, *ada()[4:]], ben()))


def test_what_was_sent_at_once_on_a_connection_keeps_its_order() -> None:
    both: list[Record] = [
        Up(0.0, 1), Sent(10.0, 1, TALK, "id-3"), Sent(10.0, 1, TALK, "id-1"),
        Acked(11.5, 1, TALK, ONE, False, 10.0), Acked(11.5, 1, TALK, THREE, False, 10.0),
        Heard(11.1, 1, TALK, TWO),
    ]  # fmt: skip
    assert broken(evidence(both, ben())) == {("order", 1)}


def test_someone_was_told_what_is_not_stored() -> None:
    four = message(4)
    found = broken(evidence(ada(), [*ben(), Heard(13.0, 1, TALK, four), Handed(13.0, 1, TALK, four, "event")]))
    assert found == {("true", 4)}


def test_an_end_was_told_that_is_none() -> None:
    assert check(evidence(ada(), [*ben(), Head(13.0, 1, TALK, 3)])) == []
    assert broken(evidence(ada(), [*ben(), Head(13.0, 1, TALK, 4)])) == {("true", 4)}


def test_a_stranger_was_told() -> None:
    given = evidence(ada(), ben())
    stranger = Journal("eve-a", "eve")
    stranger.records = [Up(0.0, 1), Heard(10.1, 1, TALK, ONE)]
    assert broken(replace(given, journals=[*given.journals, stranger])) == {("true", 1)}


def test_a_device_that_nobody_told_or_that_could_not_come_back() -> None:
    given = evidence(ada(), ben())
    assert broken(replace(given, lacking=[Lacking("ben-a", TALK, 2, 3)])) == {("told", 3)}
    assert broken(replace(given, offline=["ben-a"])) == {("told", 0)}


def test_a_process_that_ended_by_itself() -> None:
    assert broken(replace(evidence(ada(), ben()), ends=["web 0 ended by itself with code 1"])) == {("up", 0)}


@pytest.mark.parametrize(
    ("was_there", "answer", "duplicate", "right"),
    [
        (ONE, ONE, True, True),
        (None, THREE, False, True),
        (ONE, ONE, False, False),
        (ONE, THREE, True, False),
        (None, THREE, True, False),
        (ONE, None, False, False),
    ],
)
def test_a_repeated_send(was_there: Essence | None, answer: Essence | None, duplicate: bool, right: bool) -> None:
    repeat = Repeat(ADA, TALK, "id-1", was_there, answer, duplicate)
    found = check(replace(evidence(ada(), ben()), repeats=[repeat]))
    assert [violation.promise for violation in found] == ([] if right else ["once"])


def test_an_event_lost_in_calm_is_found_though_it_was_mended() -> None:
    mended = without(ben(), Heard, seq=1)
    mended[1] = Handed(11.5, 1, TALK, ONE, "fetch")
    given = evidence(ada(), mended)
    assert broken(given) == {("calm", 1)}
    assert expected_in_calm(given).mended == 1


@pytest.mark.parametrize(("began", "over", "excused"), [(5.0, 9.0, True), (12.0, 13.0, True), (60.0, 70.0, False)])
def test_a_fault_shortly_before_or_meanwhile_excuses_it(began: float, over: float, excused: bool) -> None:
    given = evidence(ada(), without(ben(), Heard, seq=1))
    fault = Done("redis-kill", "redis", began, over)
    assert (broken(replace(given, faults=[fault])) == set()) is excused


def test_a_fault_long_before_excuses_nothing() -> None:
    given = evidence(ada(), without(ben(), Heard, seq=1))
    assert broken(replace(given, faults=[Done("cut", "people", -60.0, -25.0)])) == {("calm", 1)}


def test_a_connection_that_was_not_up_expects_nothing() -> None:
    given = evidence(ada(), [Up(0.0, 1), Down(10.05, 1, "cut"), Up(10.2, 2), *without(ben()[1:], Heard, seq=1)])
    assert ("calm", 1) not in broken(given)


def test_another_device_of_the_sender_expects_it_too() -> None:
    given = evidence(ada(), ben())
    tablet = Journal("ada-b", ADA)
    tablet.records = [Up(0.0, 1)]
    assert broken(replace(given, journals=[*given.journals, tablet])) == {("calm", 1), ("calm", 2), ("calm", 3)}


def test_the_lives_of_a_device() -> None:
    journal = Journal("ada-a", ADA)
    journal.records = [
        Up(1.0, 1), Down(2.0, 1, "cut"),
        Up(3.0, 3), Down(4.0, 3, "cut"), Up(5.0, 4, 3), Down(6.0, 4, "cut"), Up(7.0, 6, 4),
    ]  # fmt: skip
    assert [tuple(life) for life in spans(journal, 9.0)] == [(1, 1.0, 2.0), (3, 3.0, 9.0)]


def away(*heard: Record, continues: int = 1) -> Evidence:
    """Ben's tablet, which resumes, is away from before Ada says 1 until after 2."""
    given = evidence(ada(), ben())
    tablet = Journal("ben-b", BEN, resumes=True)
    tablet.records = [Up(0.0, 1), Down(9.0, 1, "cut"), Up(11.5, 2, continues), *heard]
    return replace(given, journals=[*given.journals, tablet])


MISSED = (Heard(11.6, 2, TALK, ONE), Heard(11.6, 2, TALK, TWO), Heard(12.1, 2, TALK, THREE))


def test_one_that_was_resumed_heard_of_everything() -> None:
    assert check(away(*MISSED)) == []
    assert expected_in_calm(away(*MISSED)).resumed == 1


def test_one_that_was_resumed_and_lacks_something() -> None:
    assert broken(away(*MISSED[1:])) == {("calm", 1)}
    assert broken(away(*MISSED[:1], *MISSED[2:])) == {("calm", 2)}


def test_one_that_was_resumed_and_heard_something_again() -> None:
    given = away(*MISSED, Down(20.0, 2, "cut"), Up(21.0, 3, 2), Heard(21.1, 3, TALK, TWO))
    assert broken(given) == {("once", 2)}


def test_one_that_should_have_been_resumed_and_was_not() -> None:
    given = away(MISSED[2], continues=0)
    assert broken(given) == {("calm", 0)}
    assert broken(replace(given, faults=[Done("redis-cut", "web 1", 1.0, 1.0)])) == set()


def reacted(
    *, version: int = 2, reactions: frozenset[tuple[str, str]] = frozenset({("👍", BEN)}), known: int = 2
) -> Evidence:
    """Ben reacted to 1, was answered with version 2, and Ada's device knows `known`."""
    given = evidence(ada(), ben())
    talk = replace(given.conversations[TALK], changes={ONE.id: Change(1, version, reactions)})
    return replace(
        given,
        conversations={TALK: talk},
        reactions=[Reaction("ben-a", BEN, TALK, ONE, "👍", 2)],
        versions={"ada-a": {ONE.id: known}, "ben-a": {ONE.id: version}},
    )


def test_a_reaction_that_is_there_and_known() -> None:
    assert check(reacted()) == []


def test_an_acknowledged_reaction_that_is_not_there() -> None:
    assert broken(reacted(reactions=frozenset())) == {("kept", 1)}
    assert broken(reacted(version=1, known=1)) == {("kept", 1)}
    assert broken(replace(reacted(), conversations=evidence(ada(), ben()).conversations)) == {("kept", 1)}


def test_a_change_that_a_device_was_not_told_of() -> None:
    given = reacted(version=3, known=2)
    assert broken(given) == {("told", 1)}
    # Unless it was never answered, and may have come later.
    assert broken(replace(given, unsettled=frozenset({ONE.id}))) == set()
