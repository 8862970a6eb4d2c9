"""A seller's rules answer for them, within a second, and say so; and the figures of how people answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from server import Server
from tests.rest.client import http
from tests.socket.test_offers import OFFERS, Deal, item, refused
from tests.support import PATIENCE_S, Crowd, Heard

Json = dict[str, Any]


@pytest.fixture
async def deal(server: Server, crowd: Crowd) -> Deal:
    """Ada sells, Ben buys."""
    ada, ben, conversation = await crowd.pair()
    await server.domain.ledger.set_limit(ben.account.id, "USD", 1_000, "admin", "a test")
    return Deal(server, ada, ben, conversation)


async def put(deal: Deal, **fields: Any) -> Json:
    basics = {"currency": "USD", "accept_at": 100, "title": "Firewood", "quantity_max": 10}
    rule: Json = (await deal.ada.call("offer:set_rule", {**basics, **fields}, OFFERS))["rule"]
    return rule


async def answered(deal: Deal, heard: Heard, offer: Json) -> Json:
    """The offer after the next step."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            for _, payload in heard.all:
                if payload["offer"]["id"] == offer["id"] and payload["offer"]["version"] > offer["version"]:
                    return dict(payload["offer"])
            await asyncio.sleep(0.01)


async def test_a_haggle_with_a_rule_ends_in_a_deal(deal: Deal) -> None:
    rule = await put(deal, counter={"kind": "midpoint", "ask": 180, "floor": 105}, decline_below=20, sku=None)
    heard, at_ada = Heard(deal.ben, "offer:updated"), Heard(deal.ada, "offer:updated")
    offer = await deal.offer(deal.ben, items=[item(40, 3)])
    countered = await answered(deal, heard, offer)
    assert (countered["version"], countered["total"]["amount"]) == (2, 330)
    step = (await heard.wait("offer:updated"))["step"]
    assert (step["by"], step["rule_ids"]) == (deal.ada.account.id, [rule["id"]])
    assert countered["awaiting_user_id"] == deal.ben.account.id
    again = await deal.step(deal.ben, countered, "counter", items=[item(100, 3)])
    accepted = await answered(deal, heard, again)
    assert (accepted["status"], accepted["total"]["amount"]) == ("accepted", 300)
    assert await deal.credit() == (300, 0, 700)
    assert (await answered(deal, at_ada, {**again, "version": 3})) == accepted
    texts = [message["text"] for message in await deal.messages()]
    assert texts[1::2] == ["made a counter-offer (by a rule)", "accepted the offer (by a rule)"]
    figures = await deal.ada.call("offer:figures", {}, OFFERS)
    assert (figures["received"], figures["answered"], figures["automatic"]) == (2, 2, 2)
    assert (figures["accepted"], figures["conversion"], figures["rounds_mean"]) == (1, 1.0, 3.0)
    bens = await deal.ben.call("offer:figures", {"days": 1}, OFFERS)
    assert (bens["received"], bens["answered"], bens["automatic"]) == (1, 1, 0)
    assert 0 <= bens["response_ms_median"] < 60_000


async def test_what_a_rule_declines_and_what_it_leaves_to_people(deal: Deal) -> None:
    await put(deal, decline_below=20)
    heard = Heard(deal.ben, "offer:updated")
    low = await deal.offer(deal.ben, items=[item(10, 1)])
    assert (await answered(deal, heard, low))["status"] == "declined"
    middle = await deal.offer(deal.ben, items=[item(50, 1)])
    dear = await deal.offer(deal.ben, items=[item(2_000, 1)])  # more than Ben's credit
    own = await deal.offer(deal.ada, items=[item(500, 1)])  # Ben's turn
    await deal.server.domain.offers.answer({"offer_id": middle["id"], "version": 1})
    await deal.server.domain.offers.answer({"offer_id": dear["id"], "version": 1})
    await deal.server.domain.offers.answer({"offer_id": own["id"], "version": 1})
    for offer in (middle, dear, own):
        now = (await deal.ben.call("offer:get", {"offer_id": offer["id"]}, OFFERS))["offer"]
        assert (now["status"], now["version"]) == ("pending", 1)


BEANS = {"sku": "BEANS", "title": "Beans, 1 kg", "unit": "kg"}
UNPRICED: dict[str, Json] = {
    "gold bars": {"items": [item(600, 5, **{**BEANS, "title": "Gold bars, 1 kg"})]},
    "a million": {"items": [item(600, 1_000_000, **BEANS)]},
    "a few too many": {"items": [item(600, 51, **BEANS)]},
    "the same again": {"items": [item(600, 50, **BEANS), item(600, 50, **BEANS)]},
    "gold bars beside beans": {"items": [item(600, 5, **BEANS), item(600, 5, **{**BEANS, "title": "Gold bars, 1 kg"})]},
    "another unit": {"items": [item(600, 5, **{**BEANS, "unit": "t"})]},
    "no unit": {"items": [item(600, 5, sku="BEANS", title="Beans, 1 kg")]},
    "no SKU": {"items": [item(600, 5, title="Beans, 1 kg", unit="kg")]},
    "tiers": {
        "items": [item(600, 5, **BEANS, tiers=[{"min_quantity": 6, "unit_price": {"amount": 1, "currency": "USD"}}])]
    },
    "terms of the buyer's own": {"terms": "The seller pays the freight to the moon"},
    "a note of the buyer's own": {"note": "Freight to the moon included"},
    "another settlement": {"settlement": "none"},
}


async def test_what_a_rule_did_not_price_is_left_to_the_seller(deal: Deal) -> None:
    await deal.server.domain.ledger.set_limit(deal.ben.account.id, "USD", 10**12, "admin", "rich")
    haggles = {"kind": "midpoint", "ask": 900, "floor": 600}
    await put(deal, **BEANS, accept_at=600, quantity_max=50, decline_below=400, counter=haggles)
    for name, fields in UNPRICED.items():
        offer = await deal.offer(deal.ben, **{"items": [item(600, 5, **BEANS)], **fields})
        await deal.server.domain.offers.answer({"offer_id": offer["id"], "version": 1})
        assert (await deal.ben.call("offer:get", {"offer_id": offer["id"]}, OFFERS))["offer"] == offer, name
    assert await deal.credit() == (0, 0, 10**12)
    heard = Heard(deal.ben, "offer:updated")
    beans = await answered(deal, heard, await deal.offer(deal.ben, items=[item(600, 50, **BEANS)]))
    assert (beans["status"], beans["items"][0]["title"], await deal.credit()) == (
        "accepted", "Beans, 1 kg", (30_000, 0, 10**12 - 30_000)
    )  # fmt: skip


async def test_a_counter_that_swaps_the_goods_is_left_to_the_seller(deal: Deal) -> None:
    await put(deal, **BEANS, counter={"kind": "step", "ask": 180, "floor": 105, "step": 10})
    heard = Heard(deal.ben, "offer:updated")
    countered = await answered(deal, heard, await deal.offer(deal.ben, items=[item(50, 1, **BEANS)]))
    gold = [item(170, 1, **{**BEANS, "title": "Gold bars, 1 kg"})]
    swapped = await deal.step(deal.ben, countered, "counter", items=gold)
    await deal.server.domain.offers.answer({"offer_id": swapped["id"], "version": 3})
    assert (await deal.ben.call("offer:get", {"offer_id": swapped["id"]}, OFFERS))["offer"] == swapped


async def test_whoever_cannot_pay_hears_the_same_whatever_would_be_accepted(deal: Deal) -> None:
    """An offer at `accept_at` that is left alone, where a lower one is countered, would tell it for free."""
    heard = Heard(deal.ben, "offer:updated")
    told = []
    for accept_at in (120, 950):
        await put(deal, accept_at=accept_at, counter={"kind": "midpoint", "ask": 1_200, "floor": 950})
        for bid in (110, 130, 940):
            countered = await answered(deal, heard, await deal.offer(deal.ben, items=[item(bid, 10)]))
            told.append((bid, countered["status"], countered["total"]["amount"]))
    assert told[:3] == told[3:] == [(110, "pending", 9_500), (130, "pending", 9_500), (940, "pending", 10_700)]


async def test_a_rule_of_the_old_form_is_listed_and_answers_nothing_until_it_is_set_anew(deal: Deal) -> None:
    rules = deal.server.database.collection("offer_rules")
    made = await put(deal, **BEANS)
    new = ("title", "unit", "quantity_min", "quantity_max", "settlement", "terms")
    await rules.update_one(
        {"_id": made["id"]},
        {"$unset": dict.fromkeys(new, ""), "$set": {"counter": {"kind": "midpoint", "floor": 60, "step": None}}},
    )
    (listed,) = (await deal.ada.call("offer:rules", {}, OFFERS))["items"]
    assert (listed["id"], listed["title"], listed["enabled"], listed["counter"]) == (made["id"], None, False, None)
    offer = await deal.offer(deal.ben, items=[item(100, 1, **BEANS)])
    await deal.server.domain.offers.answer({"offer_id": offer["id"], "version": 1})
    assert (await deal.ben.call("offer:get", {"offer_id": offer["id"]}, OFFERS))["offer"] == offer
    again = await put(deal, **BEANS)
    assert again == {**made, "updated_at": again["updated_at"]}
    heard = Heard(deal.ben, "offer:updated")
    beans = await deal.offer(deal.ben, items=[item(100, 1, **BEANS)])
    assert (await answered(deal, heard, beans))["status"] == "accepted"


async def blamed(work: Any) -> str:
    """The field that a refusal names."""
    name: str = (await refused("validation_failed", work))[0]["field"]
    return name


async def test_a_rule_that_makes_no_sense_is_refused(deal: Deal) -> None:
    old = {"currency": "USD", "accept_at": 100, "sku": "A"}
    assert await blamed(deal.ada.call("offer:set_rule", old, OFFERS)) == "title"
    assert await blamed(deal.ada.call("offer:set_rule", {**old, "title": "A"}, OFFERS)) == "quantity_max"
    assert await blamed(put(deal, decline_below=101)) == "decline_below"
    assert await blamed(put(deal, quantity_min=11)) == "quantity_min"
    assert await blamed(put(deal, counter={"kind": "midpoint", "floor": 100})) == "counter.ask"
    assert await blamed(put(deal, counter={"kind": "midpoint", "ask": 120, "floor": 99})) == "counter.floor"
    assert await blamed(put(deal, counter={"kind": "midpoint", "ask": 119, "floor": 120})) == "counter.ask"
    assert await blamed(put(deal, counter={"kind": "step", "ask": 120, "floor": 100})) == "counter.step"
    stepped = {"kind": "midpoint", "ask": 120, "floor": 100, "step": 1}
    assert await blamed(put(deal, counter=stepped)) == "counter.step"


async def test_rules_are_kept_one_for_each_item(deal: Deal) -> None:
    first = await put(deal, sku="A")
    assert await put(deal, sku="A", accept_at=90) | {"updated_at": ""} == {**first, "accept_at": 90, "updated_at": ""}
    other = await put(deal)
    assert (await put(deal, unit="pack"))["id"] == other["id"]
    third = await put(deal, title="Coal")
    assert [one["id"] for one in (await deal.ada.call("offer:rules", {}, OFFERS))["items"]] == [
        third["id"],
        other["id"],
        first["id"],
    ]
    assert (await deal.ben.call("offer:rules", {}, OFFERS))["items"] == []
    await deal.ben.call("offer:delete_rule", {"rule_id": first["id"]}, OFFERS)
    assert len((await deal.ada.call("offer:rules", {}, OFFERS))["items"]) == 3
    async with http(deal.ada._rest.url) as call:
        token = deal.ada.account.access_token
        assert (await call("DELETE", f"/api/v1/offer-rules/{first['id']}", token=token)).status == 204
        assert [one["id"] for one in (await call("GET", "/api/v1/offer-rules", token=token)).body["items"]] == [
            third["id"],
            other["id"],
        ]
        body = {"currency": "USD", "accept_at": 5, "title": "Firewood", "quantity_max": 1, "enabled": False}
        assert (await call("PUT", "/api/v1/offer-rules", body, token=token)).body["enabled"] is False
        assert (await call("GET", "/api/v1/offer-figures", token=token)).body["received"] == 0
    offer = await deal.offer(deal.ben, items=[item(50, 1)])
    await deal.server.domain.offers.answer({"offer_id": offer["id"], "version": 1})
    assert (await deal.ben.call("offer:get", {"offer_id": offer["id"]}, OFFERS))["offer"]["version"] == 1
