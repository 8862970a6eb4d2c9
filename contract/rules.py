"""/offers: a seller's standing rules, by which the server answers for them, and the figures of how people answer."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from contract.money import Amount, Currency
from contract.registry import Command, Endpoint, Rate
from contract.text import line
from contract.types import Empty, Id, Payload, Resource, Timestamp

RULES_MAX = 500
ROUNDS_MAX = 20
FIGURES_MAX = 1_000

Sku = Annotated[str, line(64)]


class Counter(Payload):
    """A counter-offer's unit price: halfway between what is offered and `accept_at`, or `step` more than is offered;
    in either case not under `floor`, and not over `accept_at`."""

    kind: Literal["midpoint", "step"]
    floor: Amount
    step: Annotated[int, Meta(ge=1, le=10**12)] | None = None


class SetRule(Payload):
    """One rule for each `sku` and currency; without a `sku`, for all items that have no rule of their own.

    Prices are unit prices in minor units. An offer is answered when every item of it has a rule: accepted if every item
    is offered at `accept_at` or above, declined if any is below `decline_below`, and else countered, at most `rounds`
    times in an offer. What no rule decides is left to the seller.
    """

    currency: Currency
    accept_at: Amount
    sku: Sku | None = None
    decline_below: Amount | None = None
    counter: Counter | None = None
    rounds: Annotated[int, Meta(ge=1, le=ROUNDS_MAX)] = 3
    enabled: bool = True


class RuleTarget(Payload):
    rule_id: Id


class Rule(Resource):
    id: str
    sku: str | None
    currency: str
    accept_at: int
    decline_below: int | None
    counter: Counter | None
    rounds: int
    enabled: bool
    created_at: Timestamp
    updated_at: Timestamp


class RuleData(Resource):
    rule: Rule


class RuleList(Resource):
    items: list[Rule]


class GetFigures(Payload):
    """Of offers that changed in the last `days` days, the newest 1,000 of them."""

    days: Annotated[int, Meta(ge=1, le=366)] = 30


class Figures(Resource):
    """How the caller answers, and what comes of their offers.

    `received`: proposals that waited for the caller; `answered` of them by the caller, `automatic` of these by a rule;
    `lapsed`: nobody answered in time; `response_ms_median`: how long the caller took, rules left out. `concluded`:
    offers that ended, `accepted` of them by agreement; `conversion` is accepted / concluded, `rounds_mean` counts the
    proposals that an accepted one took. `complete`: there were no more offers in that time than are counted.
    """

    received: int
    answered: int
    automatic: int
    lapsed: int
    response_ms_median: int | None
    concluded: int
    accepted: int
    conversion: float | None
    rounds_mean: float | None
    complete: bool


RULES = Command("offer:rules", "/offers", Empty, RuleList, Rate(300, 60, 60), "The caller's rules.")
SET_RULE = Command(
    "offer:set_rule", "/offers", SetRule, RuleData, Rate(120, 60, 60),
    "Makes or changes the caller's rule for an item, or for all. The server answers offers by it within a second.",
    ("conflict",),
)  # fmt: skip
DELETE_RULE = Command(
    "offer:delete_rule", "/offers", RuleTarget, Empty, Rate(120, 60, 60), "Takes a rule away, if it is there."
)
FIGURES = Command("offer:figures", "/offers", GetFigures, Figures, Rate(60, 60, 20), "How the caller's offers fare.")

_RULES = "/api/v1/offer-rules"
RULES_GET = Endpoint("GET", _RULES, RULES.doc, "offers", command=RULES)
RULES_PUT = Endpoint("PUT", _RULES, SET_RULE.doc, "offers", command=SET_RULE, returns="rule")
RULES_DELETE = Endpoint(
    "DELETE", f"{_RULES}/{{rule_id}}", "Takes a rule away.", "offers", RuleTarget, status=204, errors=("not_found",)
)
FIGURES_GET = Endpoint("GET", "/api/v1/offer-figures", FIGURES.doc, "offers", command=FIGURES)
