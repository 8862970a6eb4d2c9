"""/offers: a seller's standing rules, by which the server answers for them, and the figures of how people answer."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from contract.money import Amount, Currency
from contract.offers import ItemTitle, Quantity, Sku, Unit
from contract.registry import USER, Operation, Rate, Route
from contract.types import Empty, Id, Payload, Resource, Timestamp

RULES_MAX = 500
ROUNDS_MAX = 20
FIGURES_MAX = 1_000

Answered = Literal["credit", "none", "any"]


class Counter(Payload):
    """A counter-offer's unit price comes down from `ask`, the seller's asking price, and never under `floor`: each time
    halfway to what is offered (`midpoint`), or by `step`. Buyers get to see both prices, and neither is `accept_at`,
    which may be anything up to `floor`.
    """

    kind: Literal["midpoint", "step"]
    ask: Amount
    floor: Amount
    step: Annotated[int, Meta(ge=1, le=10**12)] | None = None


class SetRule(Payload):
    """One rule for each `sku` and currency; one for each `title`, of items that name no SKU.

    It answers for what it names and for nothing else: an item with exactly this `sku`, `title` and `unit` (null: that
    names none), in a quantity from `quantity_min` to `quantity_max`, without tiers and only once in the offer; this
    `settlement`; and nothing of the buyer's own words, `terms` or a note, unless `terms` says that these may be there.
    An offer in which anything else is found is left to the seller.

    Prices are unit prices in minor units. The offer is accepted if every item is offered at `accept_at` or above,
    declined if any is below `decline_below`, and else countered if every rule has a `counter`, at most `rounds` times.
    """

    currency: Currency
    accept_at: Amount
    title: ItemTitle
    quantity_max: Quantity
    sku: Sku | None = None
    unit: Unit | None = None
    quantity_min: Quantity = 1
    settlement: Answered = "credit"
    terms: bool = False
    decline_below: Amount | None = None
    counter: Counter | None = None
    rounds: Annotated[int, Meta(ge=1, le=ROUNDS_MAX)] = 3
    enabled: bool = True


class RuleTarget(Payload):
    rule_id: Id


class Rule(Resource):
    """A rule made before rules named what they are for has no `title`, and is not enabled until it is set anew."""

    id: str
    sku: str | None
    title: str | None
    unit: str | None
    quantity_min: int
    quantity_max: int
    settlement: Answered
    terms: bool
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


_RULES = "/api/v1/offer-rules"
RULES = Operation(
    "offer:rules",
    Empty,
    RuleList,
    USER,
    Rate(300, 60, 60),
    "The caller's rules.",
    namespace="/offers",
    routes=(Route("GET", _RULES, "offers"),),
)
SET_RULE = Operation(
    "offer:set_rule",
    SetRule,
    RuleData,
    USER,
    Rate(120, 60, 60),
    "Makes or changes the caller's rule for an item. The server answers offers by it within a second.",
    ("conflict",),
    namespace="/offers",
    routes=(Route("PUT", _RULES, "offers", returns="rule"),),
)
DELETE_RULE = Operation(
    "offer:delete_rule",
    RuleTarget,
    Empty,
    USER,
    Rate(120, 60, 60),
    "Takes a rule away, if it is there.",
    namespace="/offers",
)
FIGURES = Operation(
    "offer:figures",
    GetFigures,
    Figures,
    USER,
    Rate(60, 60, 20),
    "How the caller's offers fare.",
    namespace="/offers",
    routes=(Route("GET", "/api/v1/offer-figures", "offers"),),
)

REMOVE_RULE = Operation(
    "offer:remove_rule",
    RuleTarget,
    Empty,
    USER,
    Rate(120, 60, 60),
    "Takes a rule away.",
    ("not_found",),
    routes=(Route("DELETE", f"{_RULES}/{{rule_id}}", "offers", status=204),),
)
