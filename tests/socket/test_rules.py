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
    rule: Json = (await deal.ada.call("offer:set_rule", {"currency": "USD", "accept_at": 100, **fields}, OFFERS))[
        "rule"
    ]
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
    rule = await put(deal, counter={"kind": "midpoint", "floor": 60}, decline_below=20, sku=None)
    heard, at_ada = Heard(deal.ben, "offer:updated"), Heard(deal.ada, "offer:updated")
    offer = await deal.offer(deal.ben, items=[item(40, 3)])
    countered = await answered(deal, heard, offer)
    assert (countered["version"], countered["total"]["amount"]) == (2, 210)
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


async def test_rules_are_kept_one_for_each_item_and_make_sense(deal: Deal) -> None:
    first = await put(deal, sku="A")
    assert await put(deal, sku="A", accept_at=90) | {"updated_at": ""} == {**first, "accept_at": 90, "updated_at": ""}
    general = await put(deal)
    assert [one["id"] for one in (await deal.ada.call("offer:rules", {}, OFFERS))["items"]] == [
        general["id"],
        first["id"],
    ]
    assert (await deal.ben.call("offer:rules", {}, OFFERS))["items"] == []
    await refused("validation_failed", put(deal, decline_below=101))
    await refused("validation_failed", put(deal, counter={"kind": "midpoint", "floor": 101}))
    await refused("validation_failed", put(deal, counter={"kind": "step", "floor": 1}))
    await refused("validation_failed", put(deal, counter={"kind": "midpoint", "floor": 1, "step": 1}))
    await deal.ben.call("offer:delete_rule", {"rule_id": first["id"]}, OFFERS)
    assert len((await deal.ada.call("offer:rules", {}, OFFERS))["items"]) == 2
    async with http(deal.ada._rest.url) as call:
        token = deal.ada.account.access_token
        assert (await call("DELETE", f"/api/v1/offer-rules/{first['id']}", token=token)).status == 204
        assert [one["id"] for one in (await call("GET", "/api/v1/offer-rules", token=token)).body["items"]] == [
            general["id"]
        ]
        body = {"currency": "USD", "accept_at": 5, "enabled": False}
        assert (await call("PUT", "/api/v1/offer-rules", body, token=token)).body["enabled"] is False
        assert (await call("GET", "/api/v1/offer-figures", token=token)).body["received"] == 0
    offer = await deal.offer(deal.ben, items=[item(50, 1)])
    await deal.server.domain.offers.answer({"offer_id": offer["id"], "version": 1})
    assert (await deal.ben.call("offer:get", {"offer_id": offer["id"]}, OFFERS))["offer"]["version"] == 1
