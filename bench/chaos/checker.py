"""What was promised, held against what the clients noted and what the database has. Pure functions, nothing else.

Promises (docs/chaos.md says the same in prose):

- kept: an acknowledged message is in the history, as it was acknowledged;
- once: `seq` is 1..n, a client_id has one message, nobody hears an event twice on one connection or is handed a message
  twice, a repeated send finds its message;
- order: events on a connection rise by `seq`, an application is handed 1, 2, 3, and what was sent after an
  acknowledgement comes after it;
- true: what anyone was told is what is stored, and was theirs to hear;
- told: when all is well again every device has everything without having asked;
- up: no process ends by itself, and one that gets SIGTERM ends with code 0;
- of changes of messages the same: `bench.chaos.changed`;
- calm: `bench.chaos.calm`;
- settled: `bench.chaos.settled`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise

from bench.chaos.calm import lost_in_calm
from bench.chaos.changed import changed
from bench.chaos.evidence import Evidence, Violation
from bench.chaos.journal import Acked, Essence, Handed, Head, Heard, Journal, Record, Sent
from bench.chaos.settled import settled

AROUND_S = 15.0


def check(evidence: Evidence) -> list[Violation]:
    found: list[Violation] = []
    for promise in (
        kept, numbered, sent_once, heard_once_in_order, handed_once_in_order, sent_in_order, true, told, repeated,
        ended, changed, lost_in_calm, settled,
    ):  # fmt: skip
        found += promise(evidence)
    return sorted(found, key=lambda violation: violation.at)


def kept(evidence: Evidence) -> Iterator[Violation]:
    """No acknowledged message is lost or altered."""
    for journal in evidence.journals:
        for record in journal.records:
            if isinstance(record, Acked):
                there = _stored(evidence, record.conversation, record.message.seq)
                if there != record.message:
                    text = f"acknowledged as {_say(record.message)}, and the history has {_say(there)}"
                    yield _violation(evidence, "kept", text, journal, record, record.message)


def numbered(evidence: Evidence) -> Iterator[Violation]:
    """The history of a conversation is 1, 2, 3, and it ends where the conversation says."""
    for conversation in evidence.conversations.values():
        seqs = [message.seq for message in conversation.messages]
        if seqs != list(range(1, len(seqs) + 1)):
            wrong = next((seq for place, seq in enumerate(seqs, 1) if seq != place), 0)
            yield Violation("once", f"its history is not 1..n from here on: {seqs[:400]}", conversation.id, wrong)
        elif conversation.last_seq != len(seqs):
            text = f"says last_seq {conversation.last_seq}, and its history has {len(seqs)}"
            yield Violation("once", text, conversation.id, conversation.last_seq)


def sent_once(evidence: Evidence) -> Iterator[Violation]:
    """No client_id of a sender has two messages, and no id. What the server says in somebody's name has none."""
    for name in ("client_id", "id"):
        first: dict[tuple[str, str], tuple[str, int]] = {}
        for conversation in evidence.conversations.values():
            for message in conversation.messages:
                key = (message.sender_id, message.client_id) if name == "client_id" else ("", message.id)
                before = first.setdefault(key, (conversation.id, message.seq)) if key[1] else None
                if before and before != (conversation.id, message.seq):
                    text = f"its {name} {key[1]} is also that of {before[0]} #{before[1]}"
                    yield Violation("once", text, conversation.id, message.seq)


def heard_once_in_order(evidence: Evidence) -> Iterator[Violation]:
    """On a connection and those that resumed it, events of a conversation rise by seq; gaps may be, repeats may not."""
    for journal in evidence.journals:
        highest: dict[tuple[int, str], int] = defaultdict(int)
        heard: set[tuple[int, str, int]] = set()
        life_of = journal.lives()
        for record in journal.records:
            if not isinstance(record, Heard):
                continue
            life = life_of.get(record.connection, record.connection)
            place, seq = (life, record.conversation), record.message.seq
            if (*place, seq) in heard:
                text = "the same event came twice on one connection"
                yield _violation(evidence, "once", text, journal, record, record.message)
            elif seq < highest[place]:
                text = f"came as an event after #{highest[place]}, on one connection"
                yield _violation(evidence, "order", text, journal, record, record.message)
            heard.add((*place, seq))
            highest[place] = max(highest[place], seq)


def handed_once_in_order(evidence: Evidence) -> Iterator[Violation]:
    """The application got 1, 2, 3 of every conversation, whether by event, by fetch or by its own acknowledgement."""
    for journal in evidence.journals:
        last: dict[str, int] = defaultdict(int)
        for record in journal.records:
            if isinstance(record, Handed):
                if record.message.seq != last[record.conversation] + 1:
                    text = f"was handed on after #{last[record.conversation]}"
                    yield _violation(evidence, "order", text, journal, record, record.message)
                last[record.conversation] = record.message.seq


def sent_in_order(evidence: Evidence) -> Iterator[Violation]:
    """What was first sent after an acknowledgement has a higher seq; so has what followed on the same connection."""
    first_sent: dict[tuple[str, str], float] = {}
    attempts: dict[tuple[str, str], int] = defaultdict(int)
    for journal in evidence.journals:
        for record in journal.records:
            if isinstance(record, Sent):
                key = (journal.user_id, record.client_id)
                first_sent[key] = min(record.at, first_sent.get(key, record.at))
                attempts[key] += 1
    acked: dict[str, list[tuple[int, Acked, Journal]]] = defaultdict(list)
    for journal in evidence.journals:
        lined_up: dict[tuple[int, str], list[Acked]] = defaultdict(list)
        for record in journal.records:
            if isinstance(record, Acked) and not record.duplicate:
                acked[record.conversation].append((record.message.seq, record, journal))
                if attempts[journal.user_id, record.message.client_id] == 1:
                    lined_up[record.connection, record.conversation].append(record)
        for sends in lined_up.values():
            yield from _rise(evidence, journal, sends)
    for answers in acked.values():
        answers.sort(key=lambda answer: answer[0], reverse=True)
        soonest = float("inf")  # the first acknowledgement of anything with a higher seq
        for _, record, journal in answers:
            began_at = first_sent[journal.user_id, record.message.client_id]
            if began_at > soonest:
                text = f"was sent at {began_at - evidence.began_at:.3f} s, after a later one had been acknowledged"
                yield _violation(evidence, "order", text, journal, record, record.message)
            soonest = min(soonest, record.at)


def _rise(evidence: Evidence, journal: Journal, sends: list[Acked]) -> Iterator[Violation]:
    """Sends of one connection, each answered at the first attempt, in the order in which they were sent."""
    places = {record.message.client_id: record for record in sends}
    order = [
        places[record.client_id]
        for record in journal.records
        if isinstance(record, Sent) and record.client_id in places
    ]  # fmt: skip
    for before, after in pairwise(order):
        if after.message.seq < before.message.seq:
            text = f"was sent after {before.message.client_id}, which became #{before.message.seq}"
            yield _violation(evidence, "order", text, journal, after, after.message)


def true(evidence: Evidence) -> Iterator[Violation]:
    """Whatever anyone heard or was handed is stored like that, and they are in that conversation."""
    for journal in evidence.journals:
        for record in journal.records:
            if not isinstance(record, Heard | Handed | Head):
                continue
            conversation = evidence.conversations.get(record.conversation)
            message = Essence(record.last_seq, "", "", "", 0) if isinstance(record, Head) else record.message
            if conversation is not None and journal.user_id not in conversation.members:
                text = "was told of a conversation that is not theirs"
                yield _violation(evidence, "true", text, journal, record, message)
            if isinstance(record, Head):
                if conversation is None or record.last_seq > conversation.last_seq:
                    text = "was told that the conversation goes so far, and it does not"
                    yield _violation(evidence, "true", text, journal, record, message)
                continue
            there = _stored(evidence, record.conversation, record.message.seq)
            if there != record.message:
                text = f"was told of {_say(record.message)}, and the history has {_say(there)}"
                yield _violation(evidence, "true", text, journal, record, record.message)


def told(evidence: Evidence) -> Iterator[Violation]:
    """Every device has everything, without having asked, once all is well."""
    at = evidence.closed_at - evidence.began_at
    for device in evidence.offline:
        yield Violation("told", "could not come back though everything was up again", device=device, at=at)
    for lack in evidence.lacking:
        text = f"knows up to #{lack.knew}, the conversation goes to #{lack.last_seq}, and nobody told it"
        shown = [
            f"{journal.device:<6}{line}"
            for journal in evidence.journals
            for line in _around(evidence, journal.records, lack.conversation, lack.knew + 1)
            if journal.device == lack.device or "  sent " in line or "  acked " in line
        ]
        yield Violation("told", text, lack.conversation, lack.knew + 1, lack.device, at, shown)


def repeated(evidence: Evidence) -> Iterator[Violation]:
    """A send without an answer is in or out; its repeat says which, and makes it in once."""
    for repeat in evidence.repeats:
        if repeat.answer is None:
            text = f"repeating {repeat.client_id} was refused: {repeat.error}"
            yield Violation("once", text, repeat.conversation)
        elif repeat.was_there is not None and (repeat.answer != repeat.was_there or not repeat.duplicate):
            text = (
                f"{repeat.client_id} was there as {_say(repeat.was_there)}; its repeat was answered with "
                f"{_say(repeat.answer)}, duplicate {repeat.duplicate}"
            )
            yield Violation("once", text, repeat.conversation, repeat.answer.seq)
        elif repeat.was_there is None and repeat.duplicate:
            text = f"{repeat.client_id} was not there, and its repeat was answered as a duplicate"
            yield Violation("once", text, repeat.conversation, repeat.answer.seq)


def ended(evidence: Evidence) -> Iterator[Violation]:
    """Processes end when they are told to, and then with code 0."""
    for text in evidence.ends:
        yield Violation("up", text)


def _stored(evidence: Evidence, conversation_id: str, seq: int) -> Essence | None:
    conversation = evidence.conversations.get(conversation_id)
    return None if conversation is None else conversation.at(seq)


def _say(message: Essence | None) -> str:
    return "nothing" if message is None else f"#{message.seq} {message.client_id or message.id} ({message.text:08x})"


def _violation(
    evidence: Evidence, promise: str, text: str, journal: Journal, record: Record, message: Essence
) -> Violation:
    conversation = getattr(record, "conversation", "")
    shown = _around(evidence, journal.records, conversation, message.seq, record.at)
    at = record.at - evidence.began_at
    return Violation(promise, text, conversation, message.seq, journal.device, at, shown)


def _around(
    evidence: Evidence, records: Iterable[Record], conversation: str, seq: int, at: float | None = None
) -> list[str]:
    """What a journal has of a message and its neighbours, and what became of its connections about that time."""
    lines = []
    for record in records:
        message = getattr(record, "message", None)
        about = getattr(record, "conversation", None)
        if about is not None:
            if about != conversation or (message and abs(message.seq - seq) > 1):
                continue
        elif at is not None and abs(record.at - at) > AROUND_S:
            continue
        fields = [field for field in record[2:] if field != conversation and not isinstance(field, float)]
        rest = " ".join(_say(field) if isinstance(field, Essence) else str(field) for field in fields)
        when, kind = record.at - evidence.began_at, type(record).__name__.lower()
        lines.append(f"{when:9.3f} s  {kind:<7} on connection {record.connection}  {rest}")
    return lines
