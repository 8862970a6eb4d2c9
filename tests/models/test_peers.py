"""What a process cannot know is said to be uncertain: the moments at which a stream's beginning is no beginning."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from realtime.relay import peers as module
from realtime.relay.peers import START_WAIT_S, Peers
from realtime.relay.publication import Publication

LONG_S = 1_000.0


class Listening:
    """One process that hears itself, and follows channels "all" and "9" under a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at = 5_000.0
        clock = SimpleNamespace(monotonic=lambda: self.at, time=lambda: self.at)
        monkeypatch.setattr(module, "time", clock)
        self.handed: list[Publication] = []
        self.asked: list[int] = []
        self.told: list[float] = []
        self.peers = Peers("me", self.handed.append, lambda publisher, channel, offset: self.asked.append(offset))
        self.peers.uncertain.append(self.told.append)
        self.connect()

    def connect(self) -> None:
        self.peers.follow("all")
        self.peers.follow("9")
        self.hear("me", LONG_S, {})

    def hear(self, process: str, publishing_s: float, positions: dict[str, int], up_s: float = LONG_S) -> None:
        self.peers.received()
        self.peers.announced(process, up_s, publishing_s, positions)

    def wait(self, seconds: float) -> None:
        self.at += seconds


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Listening:
    return Listening(monkeypatch)


def test_a_peer_that_published_all_the_time_is_believed(here: Listening) -> None:
    here.wait(1)
    here.hear("peer", LONG_S, {"9": 6})
    assert not here.told


def test_a_peer_that_could_not_publish_all_the_time_is_not(here: Listening) -> None:
    here.wait(1)
    here.hear("peer", 0.5, {"9": 6})
    assert here.told == [5_000.0]
    here.hear("peer", 1.5, {"9": 6})
    assert here.told == [5_000.0], "once"


def test_a_peer_that_had_said_nothing_is_believed_anyway(here: Listening) -> None:
    here.wait(1)
    here.hear("peer", 0.5, {})
    assert not here.told


def test_a_cut_before_a_peer_was_first_heard_hides_what_it_said_meanwhile(here: Listening) -> None:
    here.wait(0.01)
    here.peers.lost()
    here.wait(0.05)
    here.connect()
    here.hear("peer", LONG_S, {"9": 6})
    assert here.told == [5_000.0]


def test_a_cut_hides_nothing_of_a_peer_whose_stream_is_known(here: Listening) -> None:
    here.hear("peer", LONG_S, {"9": 5})
    here.peers.lost()
    here.wait(0.05)
    here.connect()
    here.hear("peer", LONG_S, {"9": 6})
    here.wait(0.25)
    here.peers.tick(here.at)
    assert not here.told
    assert here.asked == [6]


def test_nothing_of_a_peer_is_older_than_the_peer(here: Listening) -> None:
    here.wait(3_600 - START_WAIT_S)
    here.hear("me", LONG_S, {})
    here.told.clear()
    here.peers.lost()
    here.wait(1)
    here.connect()
    here.peers.heard("9", b"E peer 57 57 1 /chat a\nbody")
    here.hear("peer", 0.1, {"9": 57}, up_s=0.5)
    assert here.told == [here.at - 0.5]
    assert [publication.offset for publication in here.handed] == [57]


def test_a_peer_that_ends_before_it_was_first_heard_is_judged_too(here: Listening) -> None:
    here.wait(1)
    here.hear("peer", 0.5, {"9": 6})
    here.peers.left("peer")
    assert here.told == [5_000.0]
    assert not len(here.peers)


@pytest.mark.parametrize("lost", [False, True])
def test_silence_hides_whoever_lived_in_it(here: Listening, lost: bool) -> None:
    """A frozen Redis, of which the connection does not tell, or a connection that is noticed late to be gone."""
    here.wait(START_WAIT_S + 1)
    if lost:
        here.peers.lost()
        here.wait(0.1)
    here.connect()
    assert here.told == [5_000.0]


def test_what_a_stream_was_told_of_before_it_came_is_handed_on(here: Listening) -> None:
    """By two ways, while a cluster's master steps down."""
    here.hear("peer", LONG_S, {"9": 6})
    here.peers.heard("9", b"E peer 6 6 1 /chat a\nbody")
    assert [publication.offset for publication in here.handed] == [6]


def test_who_was_taken_for_dead_may_have_gone_on_and_died_later(here: Listening) -> None:
    here.hear("peer", LONG_S, {"9": 6})
    for _ in range(200):
        here.wait(1)
        here.hear("me", LONG_S, {})
        here.peers.tick(here.at)
    assert here.told == [5_000.0, 5_000.0]


def test_an_answer_is_to_the_question_and_not_only_after_it(here: Listening) -> None:
    """A node that was frozen passes on what it was given before it froze, and others have long heard better."""
    here.hear("peer", LONG_S, {"9": 6})
    here.peers.asked(7)
    here.peers.came_back(7)
    here.hear("peer", LONG_S, {"9": 6})
    assert not here.peers.answered_all
    here.peers.announced("peer", LONG_S, LONG_S, {"9": 6}, answered=6)
    assert not here.peers.answered_all
    here.peers.announced("peer", LONG_S, LONG_S, {"9": 6}, answered=7)
    assert here.peers.answered_all


def test_an_answer_before_the_question_came_back_is_not_enough(here: Listening) -> None:
    here.hear("peer", LONG_S, {"9": 6})
    here.peers.asked(7)
    here.peers.announced("peer", LONG_S, LONG_S, {"9": 6}, answered=7)
    assert not here.peers.answered_all
    here.peers.came_back(7)
    assert here.peers.answered_all
