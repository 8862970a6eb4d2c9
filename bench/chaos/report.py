"""What a run came to, for people to read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from bench.chaos.calm import QUIET_S, Expected, is_calm
from bench.chaos.evidence import Violation
from bench.chaos.journal import Acked, Down, Failed, Handed, Sent, Up
from bench.chaos.run import Outcome
from bench.watching import percentile

SHOWN_MAX = 10  # violations of a promise in the text; the file has all
LINES_MAX = 30
FAULT_ECHO_S = 5.0  # an acknowledgement is of fault times if a fault was under way up to so long before


def figures(outcome: Outcome, expected: Expected) -> dict[str, Any]:
    """Counts and times, by name."""
    evidence = outcome.evidence
    counted: Counter[str] = Counter()
    drops: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    for journal in evidence.journals:
        for record in journal.records:
            counted[type(record).__name__] += 1
            if isinstance(record, Handed):
                counted[f"by {record.by}"] += 1
            elif isinstance(record, Acked):
                counted["duplicates"] += record.duplicate
            elif isinstance(record, Up):
                counted["resumed"] += record.continues > 0
            elif isinstance(record, Down):
                drops[record.reason] += 1
            elif isinstance(record, Failed):
                errors[f"{record.what} {record.code}"] += 1
    stored = sum(len(conversation.messages) for conversation in evidence.conversations.values())
    messages = {(journal.user_id, r.client_id) for journal in evidence.journals for r in journal.records
                if isinstance(r, Sent)}  # fmt: skip
    return {
        "faults": dict(sorted(Counter(fault.kind for fault in evidence.faults).items())),
        "processes that had to be started again because they gave up": outcome.restarts_needed,
        "conversations": len(evidence.conversations),
        "messages sent": len(messages),
        "messages stored": stored,
        "attempts": counted["Sent"],
        "acknowledged": counted["Acked"],
        "acknowledged as duplicates": counted["duplicates"],
        "repeated at the end": len(evidence.repeats),
        "repeated at the end, and was there": sum(repeat.was_there is not None for repeat in evidence.repeats),
        "events heard": counted["Heard"],
        "heads heard": counted["Head"],
        "handed on by event": counted["by event"],
        "handed on by fetch": counted["by fetch"],
        "handed on by acknowledgement": counted["by ack"],
        "reactions acknowledged": len(evidence.reactions),
        "changes of messages heard of": counted["Changed"],
        "steps of offers tried": len(evidence.steps),
        "steps of offers taken": sum(step.answer is not None for step in evidence.steps),
        "steps of offers refused": dict(
            sorted(Counter(step.refused for step in evidence.steps if step.refused).items())
        ),
        "offers": dict(sorted(Counter(offer["status"] for offer in evidence.offers.values()).items())),
        "dialogues given up": outcome.given_up,
        "reconnects": counted["Up"] - len(evidence.journals),
        "drops": dict(drops.most_common()),
        "errors": dict(errors.most_common()),
        "connections resumed": counted["resumed"],
        "connections resumed in calm times": expected.resumed,
        "events expected in calm times": expected.events,
        "missing in calm times": len(expected.missing),
        "messages mended by fetching in calm times": expected.mended,
        "time to converge, s": round(_converged_s(outcome), 2),
        **_acks(outcome),
    }


def _converged_s(outcome: Outcome) -> float:
    """From the end of the last fault until everybody had been handed what somebody had before."""
    first: dict[tuple[str, int], float] = {}
    last: dict[tuple[str, int], float] = {}
    for journal in outcome.evidence.journals:
        for record in journal.records:
            if isinstance(record, Handed):
                key = (record.conversation, record.message.seq)
                first[key] = min(record.at, first.get(key, record.at))
                last[key] = max(record.at, last.get(key, record.at))
    late = [last[key] - outcome.healed_at for key, at in first.items() if at <= outcome.healed_at]
    return max(0.0, *late) if late else 0.0


def _acks(outcome: Outcome) -> dict[str, Any]:
    """How long people waited, from the first attempt to the acknowledgement. Repeats at the end do not count."""
    evidence = outcome.evidence
    waits: dict[str, list[float]] = {"calm": [], "faults": []}
    for journal in evidence.journals:
        first: dict[str, float] = {}
        for record in journal.records:
            if isinstance(record, Sent):
                first.setdefault(record.client_id, record.at)
            elif isinstance(record, Acked) and not record.duplicate and record.at < outcome.load_stopped_at:
                began_at = first[record.message.client_id]
                calm = is_calm(evidence.faults, began_at, record.at, FAULT_ECHO_S)
                waits["calm" if calm else "faults"].append((record.at - began_at) * 1000)
    return {
        f"ack p{share} in {when}, ms": round(percentile(times, share / 100), 1)
        for when, times in waits.items()
        for share in (50, 99)
    }


def text_of(figures: dict[str, Any], violations: Sequence[Violation], began: str, command: str, directory: str) -> str:
    lines = []
    for name, value in figures.items():
        if isinstance(value, dict):
            lines.append(f"{name}:")
            lines += [f"    {key:<58}{number:>10,}" for key, number in value.items()]
        else:
            lines.append(f"{name:<62}{value:>10,}")
    lines.append("")
    for promise in dict.fromkeys(violation.promise for violation in violations):
        lines += _broken(promise, [violation for violation in violations if violation.promise == promise])
    if not violations:
        lines.append("every promise was kept")
    lines += [
        "",
        f"calm: no fault within {QUIET_S:.0f} s",
        f"second 0: {began}",
        f"logs: {directory}",
        f"again: {command}",
    ]
    return "\n".join(lines)


def _broken(promise: str, violations: Sequence[Violation]) -> list[str]:
    """One of each message in full, since what is wrong with it is often wrong for all who are in the conversation."""
    by_message: dict[tuple[str, int], list[Violation]] = {}
    for violation in violations:
        by_message.setdefault((violation.conversation, violation.seq), []).append(violation)
    lines = [f"BROKEN: {promise}, {len(violations)} times, for {len(by_message)} messages"]
    for first, *others in list(by_message.values())[:SHOWN_MAX]:
        lines += [f"  {first}", *(f"    {line}" for line in first.shown_by[-LINES_MAX:])]
        if others:
            lines.append(f"    and for {', '.join(sorted({other.device for other in others}))}")
    return lines
