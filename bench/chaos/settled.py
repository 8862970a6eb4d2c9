"""The promises about offers and money, held against what people were answered and what the database has.

- an acknowledged step is in its offer's history, as it was acknowledged, and told by one message of the conversation;
- a step that was refused left nothing; a step that is repeated is answered as it was;
- an offer's history is 1..n, the same in its messages and in itself, and one that nobody answered has expired;
- the ledger is whole, and its holds are those of the accepted offers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from bench.chaos.evidence import Evidence, Outcome, Step, StoredStep, Violation

# Refusals that no later moment can change. An attempt that was on its way may still find credit, say.
BY_VERSION = ("offer_version_stale", "offer_closed", "offer_expired", "offer_not_your_turn")


def settled(evidence: Evidence) -> Iterator[Violation]:
    yield from _steps_are_there(evidence)
    yield from _repeats_agree(evidence)
    yield from _histories_are_whole(evidence)
    if evidence.books:
        yield Violation("settled", "the ledger is not whole", shown_by=list(evidence.books))


def _steps_are_there(evidence: Evidence) -> Iterator[Violation]:
    told = {
        (stored.sender_id, stored.client_id): stored
        for conversation in evidence.conversations.values()
        for stored in conversation.steps
    }
    for step in evidence.steps:
        there = told.get((step.user_id, step.client_id))
        if step.answer is not None and not _is(there, step):
            yield _violation(evidence, step, f"was answered with {step.answer}, and the history has {there}", there)
        elif step.refused in BY_VERSION and there is not None:
            yield _violation(evidence, step, f"was refused with {step.refused}, and the history has {there}", there)
        elif not step.known:
            yield _violation(evidence, step, "got no answer, though everything was up again", there)


def _is(there: StoredStep | None, step: Step) -> bool:
    return there is not None and there.action == step.action and _same(there.outcome, step.answer)


def _same(one: Outcome | None, other: Outcome | None) -> bool:
    """An offer that was pending after a step may have expired by the time of a later answer."""
    if one is None or other is None:
        return one is other
    return one[:2] == other[:2] and (one[2] == other[2] or {one[2], other[2]} == {"pending", "expired"})


def _repeats_agree(evidence: Evidence) -> Iterator[Violation]:
    first = {step.client_id: step for step in evidence.steps}
    for again in evidence.repeated_steps:
        before = first[again.client_id]
        if not _same(again.answer, before.answer):
            text = f"was answered with {before.answer}, and its repeat with {again.answer or again.refused}"
            yield _violation(evidence, again, text)


def _histories_are_whole(evidence: Evidence) -> Iterator[Violation]:
    by_offer: dict[str, list[StoredStep]] = defaultdict(list)
    for conversation in evidence.conversations.values():
        for stored in conversation.steps:
            by_offer[stored.outcome[0]].append(stored)
    for offer_id, offer in evidence.offers.items():
        told = [(step.outcome[1], step.action) for step in by_offer[offer_id]]
        own = [(step["version"], step["action"]) for step in offer["history"]]
        if told != own or [version for version, _ in own] != list(range(1, len(own) + 1)):
            text = f"offer {offer_id} has the history {own}, and its messages tell of {told}"
            yield Violation("settled", text, offer["conversation_id"])
        elif by_offer[offer_id][-1].outcome[2] != offer["status"]:
            text = f"offer {offer_id} is {offer['status']}, and was last told to be {by_offer[offer_id][-1].outcome[2]}"
            yield Violation("settled", text, offer["conversation_id"])


def _violation(evidence: Evidence, step: Step, text: str, there: StoredStep | None = None) -> Violation:
    seq = there.seq if there is not None else 0
    text = f"{step.action} {step.client_id} {text}"
    return Violation("settled", text, step.conversation, seq, step.device, step.at - evidence.began_at)
