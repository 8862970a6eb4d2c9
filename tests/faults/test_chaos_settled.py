"""The checker finds what is wrong with offers and money, and nothing in a run in which all was well."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from bench.chaos.checker import check
from bench.chaos.dealing import Dealing
from bench.chaos.device import Device
from bench.chaos.evidence import Conversation, Evidence, Outcome, Step, StoredStep
from bench.chaos.journal import Essence
from bench.chaos.load import Human, Load
from bench.clients import Account, CommandError, Json

ADA, BEN = "ada", "ben"
TALK, OFFER = "c1", "o1"


def outcome(version: int, status: str) -> Outcome:
    return OFFER, version, status


CREATED = StoredStep(1, ADA, "create", "create", outcome(1, "pending"))
ACCEPTED = StoredStep(2, BEN, "accept", "accept", outcome(2, "accepted"))


def tried(stored: StoredStep, **fields: Any) -> Step:
    step = Step(1.0, "a", stored.sender_id, TALK, stored.client_id, stored.action, stored.outcome)
    return step._replace(**fields)


REFUSED = Step(1.0, "a", ADA, TALK, "withdraw", "withdraw", None, "offer_closed")
WELL = Evidence(
    [],
    {
        TALK: Conversation(
            TALK, frozenset({ADA, BEN}), 2,
            tuple(Essence(step.seq, f"m{step.seq}", step.sender_id, step.client_id, 0) for step in (CREATED, ACCEPTED)),
            (CREATED, ACCEPTED),
        )
    },
    [], began_at=0.0, closed_at=100.0,
    steps=(tried(CREATED), tried(ACCEPTED), REFUSED), repeated_steps=(tried(CREATED),),
    offers={
        OFFER: {
            "conversation_id": TALK, "status": "accepted",
            "history": [{"version": 1, "action": "create"}, {"version": 2, "action": "accept"}],
        }
    },
)  # fmt: skip


ONCE: dict[str, Any] = {"repeated_steps": ()}


def broken(evidence: Evidence) -> list[str]:
    return [violation.text for violation in check(evidence) if violation.promise == "settled"]


def stored(*steps: StoredStep) -> dict[str, Conversation]:
    return {TALK: replace(WELL.conversations[TALK], steps=steps)}


def offer(**fields: Any) -> dict[str, Any]:
    return {OFFER: {**WELL.offers[OFFER], **fields}}


def test_nothing_is_wrong_with_a_run_in_which_all_was_well() -> None:
    assert check(WELL) == []


class Refusing(Device):
    """Its first answer is an offer, all others are refusals."""

    async def until_answered(self, command: str, payload: Json, deadline: float = 0, namespace: str = "") -> Json:
        if self.cursors:
            raise CommandError({"code": "offer_version_stale"})
        self.cursors["answered"] = 1
        return {"offer": {"id": OFFER, "version": 1, "status": "pending", "conversation_id": TALK}}


async def test_a_repeat_that_is_refused_is_not_taken_for_the_first_answer() -> None:
    device = Refusing("a", "http://127.0.0.1", Account({"id": ADA}, {}))
    dealing = Dealing(Load([], [], 1))
    await dealing._step(random.Random(1), Human((device,)), "create", "create", {})
    await dealing.finish(1)
    assert [(step.answer, step.refused) for step in dealing.repeated] == [(None, "offer_version_stale")]
    found = broken(replace(WELL, steps=tuple(dealing.steps.values()), repeated_steps=tuple(dealing.repeated)))
    assert len(found) == 1
    assert "its repeat with offer_version_stale" in found[0]
    await device.close()


def test_an_offer_that_has_expired_since_is_answered_so() -> None:
    late = tried(CREATED, answer=outcome(1, "expired"))
    assert check(replace(WELL, repeated_steps=(late,))) == []


def test_credit_may_come_for_an_attempt_that_was_still_on_its_way() -> None:
    unlucky = tried(ACCEPTED, answer=None, refused="credit_limit_exceeded")
    assert check(replace(WELL, steps=(tried(CREATED), unlucky))) == []


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"conversations": stored(CREATED), "offers": {}}, "accept accept was answered with"),
        ({"steps": (tried(CREATED, answer=outcome(3, "pending")),), **ONCE}, "create create was answered with"),
        ({"steps": (tried(ACCEPTED, action="counter"),), **ONCE}, "counter accept was answered with"),
        ({"steps": (tried(ACCEPTED, answer=None, refused="offer_closed"),), **ONCE}, "refused with offer_closed"),
        ({"steps": (tried(CREATED), tried(ACCEPTED, answer=None))}, "got no answer"),
        ({"repeated_steps": (tried(CREATED, answer=outcome(2, "accepted")),)}, "and its repeat with"),
        ({"repeated_steps": (tried(CREATED, answer=None, refused="offer_closed"),)}, "its repeat with offer_closed"),
        ({"conversations": stored(CREATED, ACCEPTED, ACCEPTED)}, "has the history"),
        ({"offers": offer(history=WELL.offers[OFFER]["history"][:1])}, "has the history"),
        ({"offers": offer(status="expired")}, "was last told to be accepted"),
        ({"books": ["WRONG: hold t1"]}, "the ledger is not whole"),
    ],
)
def test_what_is_wrong_is_found(changes: dict[str, Any], text: str) -> None:
    found = broken(replace(WELL, **changes))
    assert len(found) == 1, found
    assert text in found[0]
