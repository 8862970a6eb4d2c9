"""Calm times, in which nothing excuses a loss.

After a fault a client may learn of a message by fetching it, which mends everything, a bug included. So what a client
mends is held against the time: if no fault had happened for QUIET_S and none did while the message was on its way, it
should have come as an event to every connection that was up. That is how one delivery lost in ten thousand is found.

A connection that is resumed goes on for this: what happened while its device was away was to come when it returned. And
it is resumed, if no fault had happened but that it was cut.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from bench.chaos.evidence import Evidence, Violation
from bench.chaos.faults import Done
from bench.chaos.journal import Acked, Down, Handed, Heard, Journal, Sent, Up

QUIET_S = 30.0
ON_ITS_WAY_S = 5.0  # an event has this long after anybody knew of its message


class Span(NamedTuple):
    """A connection, with those that resumed it, from its beginning to its end."""

    connection: int
    begins: float
    ends: float


class Travel(NamedTuple):
    """A message from its first sending until somebody knew that it was there."""

    sent_at: float
    known_at: float


@dataclass(slots=True)
class Expected:
    """`events` that had to come in calm times, and those that did not. `mended`: fetched though all was calm.

    `resumed`: connections that were cut in calm times and went on; those that did not are `missing` too.
    """

    events: int = 0
    resumed: int = 0
    missing: list[Violation] = field(default_factory=list)
    mended: int = 0


def is_calm(faults: Sequence[Done], begins: float, ends: float, quiet_s: float = QUIET_S) -> bool:
    """No fault was under way in this time, nor so shortly before."""
    return not any(fault.at <= ends and fault.until >= begins - quiet_s for fault in faults)


def lost_in_calm(evidence: Evidence) -> Iterator[Violation]:
    yield from expected_in_calm(evidence).missing


def expected_in_calm(evidence: Evidence) -> Expected:
    """Every connection that was up hears of every message of its user's conversations, except what it sent itself."""
    travels = _travels(evidence.journals)
    calm = {
        key: travel
        for key, travel in travels.items()
        if is_calm(evidence.faults, travel.sent_at, travel.known_at + ON_ITS_WAY_S)
    }
    found = Expected()
    for journal in evidence.journals:
        _expect(evidence, journal, calm, found)
        if journal.resumes:
            _expect_to_resume(evidence, journal, found)
    return found


def _expect_to_resume(evidence: Evidence, journal: Journal, found: Expected) -> None:
    """Whoever lost a connection in calm times was let go on where it was."""
    down: Down | None = None
    for record in journal.records:
        if isinstance(record, Down):
            down = record
        elif isinstance(record, Up) and down is not None and is_calm(evidence.faults, down.at, record.at):
            if record.continues:
                found.resumed += 1
                continue
            text = f"lost connection {down.connection} ({down.reason}) when nothing else was wrong, and was not resumed"
            at = record.at - evidence.began_at
            found.missing.append(Violation("calm", text, device=journal.device, at=at))


def _expect(evidence: Evidence, journal: Journal, calm: dict[tuple[str, str], Travel], found: Expected) -> None:
    """Adds what this device had to hear."""
    life_of = journal.lives()
    heard = {
        (life_of.get(r.connection), r.conversation, r.message.seq) for r in journal.records if isinstance(r, Heard)
    }
    own = {(life_of.get(r.connection), r.client_id) for r in journal.records if isinstance(r, Sent)}
    handed = {(r.conversation, r.message.seq): r for r in journal.records if isinstance(r, Handed)}
    lives = spans(journal, evidence.closed_at)
    for conversation in evidence.conversations.values():
        if journal.user_id not in conversation.members:
            continue
        for message in conversation.messages:
            travel = calm.get((message.sender_id, message.client_id))
            if travel is None:
                continue
            life = next(
                (life for life in lives
                 if life.begins <= travel.sent_at and life.ends >= travel.known_at + ON_ITS_WAY_S), None
            )  # fmt: skip
            own_one = message.sender_id == journal.user_id and life and (life.connection, message.client_id) in own
            if life is None or own_one:
                continue
            found.events += 1
            given = handed.get((conversation.id, message.seq))
            found.mended += given is not None and given.by == "fetch"
            if (life.connection, conversation.id, message.seq) not in heard:
                text = (
                    f"sent at {travel.sent_at - evidence.began_at:.3f} s, when nothing was wrong, and no event came on "
                    f"connection {life.connection}, up from {life.begins - evidence.began_at:.1f} s to "
                    f"{life.ends - evidence.began_at:.1f} s; " + (f"got by {given.by}" if given else "never got")
                )
                at = travel.known_at - evidence.began_at
                found.missing.append(Violation("calm", text, conversation.id, message.seq, journal.device, at))


def spans(journal: Journal, closed_at: float) -> list[Span]:
    """The connections of a device, each with those that resumed it."""
    life_of = journal.lives()
    begun: dict[int, float] = {}
    ended: dict[int, float] = {}
    for record in journal.records:
        life = life_of.get(record.connection, 0)
        if isinstance(record, Up):
            begun.setdefault(life, record.at)
            ended.pop(life, None)
        elif isinstance(record, Down):
            ended[life] = record.at
    return [Span(number, at, min(ended.get(number, closed_at), closed_at)) for number, at in begun.items()]


def _travels(journals: Sequence[Journal]) -> dict[tuple[str, str], Travel]:
    """By sender and client_id."""
    sent: dict[tuple[str, str], float] = {}
    known: dict[tuple[str, str], float] = defaultdict(lambda: float("inf"))
    for journal in journals:
        for record in journal.records:
            if isinstance(record, Sent):
                key = (journal.user_id, record.client_id)
                sent[key] = min(record.at, sent.get(key, record.at))
            elif isinstance(record, Acked | Heard | Handed):
                key = (record.message.sender_id, record.message.client_id)
                known[key] = min(record.at, known[key])
    return {key: Travel(at, known[key]) for key, at in sent.items() if key in known}
