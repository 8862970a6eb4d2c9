"""Finance beyond the single transfer: summaries for users, and for administrators risk and the limits that follow."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from contract.finance import Account, Purpose
from contract.money import Currency
from contract.registry import ADMINISTRATOR, USER, Operation, Rate, Route
from contract.types import Empty, Id, Payload, Resource, Timestamp

Period = Literal["day", "week", "month"]


class GetSummary(Payload, rename={"from_": "from"}):
    """`from` <= moment < `to`; without them the last 90 days, at most a year. Weeks begin on Monday; all in UTC."""

    currency: Currency = "USD"
    purpose: Purpose = "payable"
    by: Period = "month"
    from_: Timestamp | None = None
    to: Timestamp | None = None


class SummaryLine(Resource):
    """Posted amounts in minor units. `key`: the first day of a period (2026-11-01), or a counterparty's user id.

    Moves between the caller's own account and their credit balance are lines with the caller as the counterparty.
    """

    key: str
    debits: int
    credits: int
    transfers: int


class Summary(Resource):
    """`complete` is false if there were more entries than are counted (10,000), the oldest of which are left out."""

    currency: str
    periods: list[SummaryLine]
    counterparties: list[SummaryLine]
    complete: bool


class GetExport(Payload, rename={"from_": "from"}):
    """`from` <= moment < `to`; without them everything."""

    currency: Currency = "USD"
    purpose: Purpose = "payable"
    from_: Timestamp | None = None
    to: Timestamp | None = None


class UserCredit(Payload):
    user_id: Id
    currency: Currency = "USD"


class LimitChange(Resource):
    """`by`: the administrator's user id."""

    before: int
    after: int
    by: str
    reason: str
    at: Timestamp


class CreditTrail(Resource):
    """Newest change first."""

    account: Account
    changes: list[LimitChange]


class RiskFactor(Resource):
    """`value` is a share from 0 to 1, which takes `points` of at most `weight` from the score."""

    name: Literal["utilisation", "lateness", "disputes"]
    value: float
    weight: int
    points: int
    explanation: str


class Risk(Resource):
    """`score` from 0 to 100, 100 is best; null without any history. The formula is in docs/offers.md."""

    user_id: str
    currency: str
    score: int | None
    factors: list[RiskFactor]
    suggested_limit: int
    account: Account


class ApplyRisk(Payload):
    """Sets the suggested limit, if it is still this one: what the administrator saw."""

    user_id: Id
    suggested_limit: Annotated[int, Meta(ge=0, le=2**53 - 1)]
    currency: Currency = "USD"


_RATE = Rate(600, 60, 100)
_USER = "/api/v1/admin/users/{user_id}"
SUMMARY = Operation(
    "finance:summary",
    GetSummary,
    Summary,
    USER,
    Rate(60, 60, 20),
    "What was posted on the caller's account, by period and by counterparty.",
    namespace="/finance",
    routes=(Route("GET", "/api/v1/finance/summary", "finance"),),
)
EXPORT = Operation(
    "finance:export",
    GetExport,
    Empty,
    USER,
    Rate(60, 60, 20),
    "The statement as CSV, up to 10,000 entries, newest first.",
    routes=(Route("GET", "/api/v1/finance/statement.csv", "finance"),),
)

CREDIT_LIMIT = Operation(
    "admin:credit_limit",
    UserCredit,
    CreditTrail,
    ADMINISTRATOR,
    _RATE,
    "A user's account, and every change of its limit with its reason.",
    ("not_found",),
    routes=(Route("GET", f"{_USER}/credit-limit", "admin"),),
)
RISK = Operation(
    "admin:risk",
    UserCredit,
    Risk,
    ADMINISTRATOR,
    _RATE,
    "How likely a user pays, from their history, and the limit that follows.",
    ("not_found",),
    routes=(Route("GET", f"{_USER}/risk", "admin"),),
)
APPLY_RISK = Operation(
    "admin:apply_risk",
    ApplyRisk,
    Account,
    ADMINISTRATOR,
    _RATE,
    "Sets the limit that the risk score suggests.",
    ("not_found", "conflict"),
    routes=(Route("POST", f"{_USER}/risk/apply", "admin"),),
)
