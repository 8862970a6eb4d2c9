"""All that the checker is given of a run, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from bench.chaos.faults import Done
from bench.chaos.journal import Essence, Journal, Json


class Lacking(NamedTuple):
    """When all was well again and nobody asked, a fresh `chat:sync` had more for this device than it knew."""

    device: str
    conversation: str
    knew: int
    last_seq: int


class Repeat(NamedTuple):
    """A send that was repeated after the run. `was_there`: the history had it before the repeat."""

    sender_id: str
    conversation: str
    client_id: str
    was_there: Essence | None
    answer: Essence | None  # None: it was refused, `error` says why
    duplicate: bool
    error: str = ""


Outcome = tuple[str, int, str]  # an offer's id, version and status


class Step(NamedTuple):
    """A step of an offer that someone tried to take.

    `answer`: the offer then. `refused`: the code of an error that is final.
    """

    at: float
    device: str
    user_id: str
    conversation: str  # "" where it is not known
    client_id: str
    action: str
    answer: Outcome | None = None
    refused: str = ""

    @property
    def known(self) -> bool:
        return self.answer is not None or self.refused != ""


class StoredStep(NamedTuple):
    """A step as a message tells of it; `outcome` as in Step."""

    seq: int
    sender_id: str
    client_id: str
    action: str
    outcome: Outcome

    @classmethod
    def of(cls, message: Json) -> StoredStep:
        step = message["offer"]
        outcome = step["offer_id"], step["version"], step["status"]
        return cls(message["seq"], message["sender_id"], message["client_id"] or "", step["action"], outcome)


class Reaction(NamedTuple):
    """One that was acknowledged, with the version that the message had then."""

    device: str
    user_id: str
    conversation: str
    message: Essence
    emoji: str
    version: int


class Change(NamedTuple):
    """How a message that was changed stands; `reactions`: (emoji, user_id)."""

    seq: int
    version: int
    reactions: frozenset[tuple[str, str]]

    @classmethod
    def of(cls, message: Json) -> Change:
        pairs = ((emoji, user_id) for emoji, users in message["reactions"].items() for user_id in users)
        return cls(message["seq"], message["version"], frozenset(pairs))


@dataclass(frozen=True, slots=True)
class Conversation:
    """As a fresh client reads it at the end. `steps`: what the messages of kind `offer` tell of; `changes` by id."""

    id: str
    members: frozenset[str]
    last_seq: int
    messages: tuple[Essence, ...]
    steps: tuple[StoredStep, ...] = ()
    changes: dict[str, Change] = field(default_factory=dict)

    def at(self, seq: int) -> Essence | None:
        """Where it should be, or wherever it is in a history that is broken."""
        if 0 < seq <= len(self.messages) and self.messages[seq - 1].seq == seq:
            return self.messages[seq - 1]
        return next((message for message in self.messages if message.seq == seq), None)


@dataclass(frozen=True, slots=True)
class Evidence:
    """`began_at`: the load began. `closed_at`: the devices were closed, and may miss what came after."""

    journals: Sequence[Journal]
    conversations: dict[str, Conversation]
    faults: Sequence[Done]
    began_at: float
    closed_at: float
    lacking: Sequence[Lacking] = ()
    offline: Sequence[str] = ()  # devices that could not come back
    repeats: Sequence[Repeat] = ()
    ends: Sequence[str] = ()  # of processes that ended by themselves, or not as a SIGTERM should make them
    steps: Sequence[Step] = ()
    repeated_steps: Sequence[Step] = ()  # what some of them were answered when they were repeated after the run
    offers: dict[str, Json] = field(default_factory=dict)  # as a fresh client gets them
    books: Sequence[str] = ()  # what is wrong with the ledger
    reactions: Sequence[Reaction] = ()
    unsettled: frozenset[str] = frozenset()  # ids of messages that may have been changed without an answer
    versions: dict[str, dict[str, int]] = field(default_factory=dict)  # device → message → what it knows, if above 1


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken: to whom, where, when (seconds after the load began), and what shows it."""

    promise: str
    text: str
    conversation: str = ""
    seq: int = 0
    device: str = ""
    at: float = 0.0
    shown_by: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        place = f" {self.conversation} #{self.seq}" if self.conversation else ""
        device = f" [{self.device}]" if self.device else ""
        return f"{self.promise}: {self.at:.2f} s{place}{device}: {self.text}"
