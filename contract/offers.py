"""/offers: an offer between two people of a conversation, as it goes over the wire. See `models.offers.machine`."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from contract.money import Amount, Money, Price
from contract.registry import USER, Event, Operation, Rate, Route
from contract.text import line, text_or_blank
from contract.types import ClientId, Cursor, Id, Limit, Payload, Resource, Timestamp

Status = Literal["pending", "accepted", "fulfilled", "cancelled", "declined", "withdrawn", "expired"]
Action = Literal["create", "counter", "accept", "decline", "withdraw", "expire", "fulfil", "cancel"]
Settlement = Literal["credit", "none"]

ITEMS_MAX = 50
TIERS_MAX = 10
VERSIONS_MAX = 100
HISTORY_BYTES_MAX = 262_144
PAGE_BYTES_MAX = 1_048_576
EXPIRES_IN_DEFAULT_S = 3 * 24 * 3600
EXPIRES_IN_MAX_S = 90 * 24 * 3600

ItemTitle = Annotated[str, line(200)]
Sku = Annotated[str, line(64)]
Unit = Annotated[str, line(32)]
Quantity = Annotated[int, Meta(ge=1, le=1_000_000)]
Terms = Annotated[str, text_or_blank(4_000)]
Note = Annotated[str, text_or_blank(1_000)]
Version = Annotated[int, Meta(ge=1, le=VERSIONS_MAX + 10)]
ExpiresIn = Annotated[int, Meta(ge=1, le=EXPIRES_IN_MAX_S, description="seconds")]


# What a client sends


class Tier(Payload):
    """From `min_quantity` on each unit costs this."""

    min_quantity: Quantity
    unit_price: Price


class Item(Payload):
    title: ItemTitle
    quantity: Quantity
    unit_price: Price
    sku: Sku | None = None
    unit: Unit | None = None
    tiers: Annotated[list[Tier], Meta(max_length=TIERS_MAX)] = []


Items = Annotated[list[Item], Meta(min_length=1, max_length=ITEMS_MAX)]


class CreateOffer(Payload):
    """`side`: what the caller does. `to_user_id` is needed in a group."""

    conversation_id: Id
    client_id: ClientId
    side: Literal["buy", "sell"]
    items: Items
    settlement: Settlement
    to_user_id: Id | None = None
    terms: Terms | None = None
    note: Note | None = None
    expires_in_s: ExpiresIn = EXPIRES_IN_DEFAULT_S


class RespondOffer(Payload):
    """`items`, `terms` and `expires_in_s` belong to a counter-offer, which keeps what it does not name: without
    `expires_in_s` it expires at the same moment as the offer it answers. Null is the same as not named.
    """

    offer_id: Id
    version: Version
    client_id: ClientId
    action: Literal["accept", "decline", "counter", "withdraw"]
    items: Items | None = None
    terms: Terms | None = None
    note: Note | None = None
    expires_in_s: ExpiresIn | None = None


class FulfilOffer(Payload):
    """`amount`, in minor units of the offer's currency, takes a part of what is held and releases the rest; that is
    the seller's to say.
    """

    offer_id: Id
    version: Version
    client_id: ClientId
    note: Note | None = None
    amount: Amount | None = None


class CancelOffer(Payload):
    offer_id: Id
    version: Version
    client_id: ClientId
    note: Note | None = None


class OfferTarget(Payload):
    offer_id: Id


class ListOffers(Payload):
    status: Status | None = None
    conversation_id: Id | None = None
    cursor: Cursor | None = None
    limit: Limit = 50


# What the server sends


class PricedTier(Resource):
    min_quantity: int
    unit_price: Money


class PricedItem(Resource):
    """`total` is of the tier that its quantity reaches."""

    title: str
    sku: str | None
    quantity: int
    unit: str | None
    unit_price: Money
    tiers: list[PricedTier]
    total: Money


class HistoryStep(Resource):
    """`by`: a user's id, or "system" for an expiry. `version` is the offer's after the step. `rule_ids`: the seller's
    rules that took it in their name, null if they did it themselves.
    """

    version: int
    action: Action
    by: str
    items: list[PricedItem]
    total: Money
    terms: str | None
    note: str | None
    rule_ids: list[str] | None
    at: Timestamp


class OfferState(Resource):
    """An offer as it is now, without what led to it. `captured` is what fulfilling took, null before.
    `awaiting_user_id` is null once nobody has to answer.
    """

    id: str
    conversation_id: str
    status: Status
    version: int
    buyer_id: str
    seller_id: str
    created_by: str
    awaiting_user_id: str | None
    items: list[PricedItem]
    total: Money
    terms: str | None
    settlement: Settlement
    expires_at: Timestamp
    hold_id: str | None
    captured: Money | None
    created_at: Timestamp
    updated_at: Timestamp


class Offer(OfferState):
    """An OfferState with its `history`: each step that led to it, the last one last."""

    history: list[HistoryStep]


class OfferData(Resource):
    offer: Offer
    duplicate: bool | UnsetType = UNSET


class OfferUpdate(Resource):
    """`step` is the last of the offer's history, which `offer:get` has whole: up to 256 KiB, so it is not sent to
    everybody at each step.
    """

    offer: OfferState
    step: HistoryStep


class OfferList(Resource):
    items: list[Offer]
    next_cursor: str | None


_READ = Rate(600, 60, 100)

_ACCESS = ("not_found", "not_a_participant")
_STEP = (*_ACCESS, "idempotency_mismatch", "conflict", "offer_version_stale", "offer_closed")
_OFFERS = "/api/v1/offers"
_ONE = f"{_OFFERS}/{{offer_id}}"
CREATE = Operation(
    "offer:create",
    CreateOffer,
    OfferData,
    USER,
    Rate(120, 60, 60),
    "Makes an offer to the other person; they have the first turn.",
    (*_ACCESS, "idempotency_mismatch", "conflict"),
    namespace="/offers",
    routes=(Route("POST", _OFFERS, "offers", returns="offer", status=201),),
)
RESPOND = Operation(
    "offer:respond",
    RespondOffer,
    OfferData,
    USER,
    Rate(240, 60, 120),
    "Accepts, declines or counters an offer whose turn is the caller's, or withdraws the caller's own. Of several for "
    "one version one wins. Accepting with settlement credit holds the total on the buyer's credit in the same step.",
    (*_STEP, "offer_not_your_turn", "offer_expired", "credit_limit_exceeded", "amount_exceeded"),
    namespace="/offers",
    routes=(Route("POST", f"{_ONE}/respond", "offers", returns="offer"),),
)
FULFIL = Operation(
    "offer:fulfil",
    FulfilOffer,
    OfferData,
    USER,
    Rate(240, 60, 120),
    "An accepted offer was fulfilled: what is held, or a part, is owed from here on.",
    (*_STEP, "amount_exceeded", "forbidden"),
    namespace="/offers",
    routes=(Route("POST", f"{_ONE}/fulfil", "offers", returns="offer"),),
)
CANCEL = Operation(
    "offer:cancel",
    CancelOffer,
    OfferData,
    USER,
    Rate(240, 60, 120),
    "An accepted offer will not be fulfilled: what is held is released.",
    _STEP,
    namespace="/offers",
    routes=(Route("POST", f"{_ONE}/cancel", "offers", returns="offer"),),
)
GET = Operation(
    "offer:get",
    OfferTarget,
    OfferData,
    USER,
    _READ,
    "One offer of the caller's.",
    _ACCESS,
    namespace="/offers",
    routes=(Route("GET", _ONE, "offers", returns="offer"),),
)
LIST = Operation(
    "offer:list",
    ListOffers,
    OfferList,
    USER,
    _READ,
    "The caller's offers, newest change first.",
    namespace="/offers",
    routes=(Route("GET", _OFFERS, "offers"),),
)

UPDATED = Event(
    "offer:updated",
    "/offers",
    OfferUpdate,
    "An offer is new or took this step. It comes without its history; keep the highest version.",
)
