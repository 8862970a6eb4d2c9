"""A counter-offer keeps what it does not name, whoever makes it: a person, over either door, or a seller's rules."""

from __future__ import annotations

from typing import Any

import pytest

from contract.types import parse_time
from tests.rest.client import http
from tests.socket.test_offers import OFFERS, Deal, item
from tests.socket.test_offers import deal as deal
from tests.support import Heard

Json = dict[str, Any]
HOUR_S = 3_600
TERMS = "Delivered to the door"
KEPT = ("items", "total", "terms", "expires_at", "settlement")


def kept(offer: Json) -> Json:
    return {name: offer[name] for name in KEPT}


def lasts_s(offer: Json) -> float:
    """From its last step to its expiry."""
    return (parse_time(offer["expires_at"]) - parse_time(offer["updated_at"])).total_seconds()


@pytest.mark.parametrize(
    ("named", "changed"),
    [
        ({"items": [item(400)]}, {"items", "total"}),
        ({"items": [item(400)], "terms": None, "expires_in_s": None}, {"items", "total"}),
        ({"terms": "Pick up"}, {"terms"}),
        ({"terms": ""}, {"terms"}),
        ({"expires_in_s": 60}, {"expires_at"}),
        ({"items": [item(400)], "terms": "Pick up"}, {"items", "total", "terms"}),
        ({"items": [item(400)], "note": "my last word"}, {"items", "total"}),
    ],
    ids=lambda value: "+".join(sorted(value)) if isinstance(value, dict) else "",
)
async def test_a_counter_changes_what_it_names_and_nothing_else(deal: Deal, named: Json, changed: set[str]) -> None:
    offer = await deal.offer(expires_in_s=HOUR_S, terms=TERMS, note="fresh")
    countered = await deal.step(deal.ben, offer, "counter", **named)
    assert {name for name in KEPT if countered[name] != offer[name]} == changed
    assert countered["history"][-1]["note"] == named.get("note"), "a note belongs to its own step"
    if "expires_at" in changed:
        assert 59 < lasts_s(countered) <= 60
    again = await deal.step(deal.ada, countered, "counter", items=[item(450)])
    assert kept(again) == {**kept(countered), "items": again["items"], "total": again["total"]}
    stored = (await deal.ben.call("offer:get", {"offer_id": offer["id"]}, OFFERS))["offer"]
    assert kept(stored) == kept(again)


async def test_over_rest_and_repeated_it_is_the_same(deal: Deal) -> None:
    offer = await deal.offer(expires_in_s=HOUR_S)
    body = {"version": 1, "client_id": "c", "action": "counter", "items": [item(400)]}
    async with http(deal.ada._rest.url) as call:
        path, token = f"/api/v1/offers/{offer['id']}/respond", deal.ben.account.access_token
        first = await call("POST", path, body, token=token)
        await deal.step(deal.ada, first.body, "counter", expires_in_s=7 * 24 * HOUR_S)
        repeated = await call("POST", path, body, token=token)
    assert first.body["expires_at"] == repeated.body["expires_at"] == offer["expires_at"]


@pytest.mark.parametrize("expires_in_s", [60, HOUR_S, 90 * 24 * HOUR_S])
async def test_a_rule_binds_its_seller_no_longer_than_the_offer_it_answers_nor_than_three_days(
    deal: Deal, expires_in_s: int
) -> None:
    rule = {
        "currency": "USD", "accept_at": 100, "title": "Firewood", "quantity_max": 1, "terms": True,
        "counter": {"kind": "step", "ask": 120, "floor": 100, "step": 10},
    }  # fmt: skip
    await deal.ada.call("offer:set_rule", rule, OFFERS)
    heard = Heard(deal.ben, "offer:updated")
    offer = await deal.offer(deal.ben, items=[item(40, 1)], expires_in_s=expires_in_s, terms=TERMS)
    countered = (await heard.wait("offer:updated"))["offer"]
    assert (countered["version"], countered["awaiting_user_id"]) == (2, deal.ben.account.id)
    assert (countered["total"]["amount"], countered["terms"]) == (110, TERMS)
    if expires_in_s < 3 * 24 * HOUR_S:
        assert countered["expires_at"] == offer["expires_at"]
    else:
        assert 3 * 24 * HOUR_S - 1 < lasts_s(countered) <= 3 * 24 * HOUR_S
