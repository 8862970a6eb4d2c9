"""The states of an offer, as declared and as drawn."""

from __future__ import annotations

from typing import get_args

import pytest

from bench.processes import ROOT
from contract.errors import ParleyError
from contract.offers import Action, Status
from models.offers.machine import STEPS, SYSTEM, after, draw, find

PARTIES = ("buyer", "seller")


def test_the_page_shows_the_declaration() -> None:
    assert draw() in (ROOT / "docs/offers.md").read_text()


def test_every_state_and_action_is_declared() -> None:
    assert {step.action for step in STEPS} | {"create"} == set(get_args(Action))
    assert {step.next for step in STEPS} == set(get_args(Status))
    for action in get_args(Action):
        assert after(action) in get_args(Status)


@pytest.mark.parametrize("state", get_args(Status))
@pytest.mark.parametrize("action", sorted({step.action for step in STEPS}))
@pytest.mark.parametrize("actor", [*PARTIES, SYSTEM])
def test_what_is_not_declared_is_refused(state: Status, action: Action, actor: str) -> None:
    awaiting = "buyer" if state == "pending" else None
    declared = [step for step in STEPS if (step.state, step.action) == (state, action)]
    may = {"awaiting": {"buyer"}, "proposer": {"seller"}, "party": set(PARTIES), "system": {SYSTEM}}
    if declared and actor in may[declared[0].who]:
        assert find(state, action, actor, awaiting, PARTIES) is declared[0]
        return
    with pytest.raises(ParleyError) as caught:
        find(state, action, actor, awaiting, PARTIES)
    expected = "offer_not_your_turn" if declared else "offer_expired" if state == "expired" else "offer_closed"
    assert caught.value.code == expected
