"""The states of an offer, and who may take which step: declared here and nowhere else.

Everything about an offer's life is read from STEPS: what is allowed, what it leads to, and the picture in the docs
(`python -m models.offers`). `awaiting` is the one whose turn it is, `proposer` the other one, who made the last
proposal; `party` is either of the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from contract.errors import ParleyError
from contract.offers import Action, Status

Who = Literal["awaiting", "proposer", "party", "system"]


@dataclass(frozen=True, slots=True)
class Step:
    state: Status
    action: Action
    who: Who
    next: Status


STEPS = (
    Step("pending", "counter", "awaiting", "pending"),
    Step("pending", "accept", "awaiting", "accepted"),
    Step("pending", "decline", "awaiting", "declined"),
    Step("pending", "withdraw", "proposer", "withdrawn"),
    Step("pending", "expire", "system", "expired"),
    Step("accepted", "fulfil", "party", "fulfilled"),
    Step("accepted", "cancel", "party", "cancelled"),
)
_BY_PLACE = {(step.state, step.action): step for step in STEPS}
_AFTER: dict[Action, Status] = {"create": "pending", **{step.action: step.next for step in STEPS}}
SYSTEM = "system"


def after(action: Action) -> Status:
    """The state that an action leads to, which is the same from wherever it is taken."""
    return _AFTER[action]


def find(state: Status, action: Action, actor: str, awaiting: str | None, parties: tuple[str, str]) -> Step:
    """The step that this actor takes by this action. Raises offer_expired, offer_closed or offer_not_your_turn."""
    step = _BY_PLACE.get((state, action))
    if step is None:
        if state == "expired":
            raise ParleyError("offer_expired")
        wanted = next(step.state for step in STEPS if step.action == action)
        raise ParleyError("offer_closed", f"The offer is {state}; to {action} it, it must be {wanted}.")
    proposer = next((party for party in parties if party != awaiting), None)
    may = {"awaiting": (awaiting,), "proposer": (proposer,), "party": parties, "system": (SYSTEM,)}[step.who]
    if actor not in may:
        raise ParleyError("offer_not_your_turn")
    return step


def draw() -> str:
    """The picture, as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> pending: create"]
    lines += [f"    {step.state} --> {step.next}: {step.action} ({step.who})" for step in STEPS]
    ends = sorted({step.next for step in STEPS} - {step.state for step in STEPS})
    return "\n".join([*lines, *(f"    {end} --> [*]" for end in ends)]) + "\n"
