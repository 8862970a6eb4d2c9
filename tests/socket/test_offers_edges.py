"""Offers at their edges: time, size, repeats, people who leave, and who may know what."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from bench.clients import CommandError
from contract.errors import ParleyError
from server import Server
from tests.rest.client import http
from tests.socket.test_offers import FINANCE, OFFERS, Deal, item, refused, told_of
from tests.socket.test_offers import deal as deal
from tests.support import PATIENCE_S, Crowd, Heard, group

Json = dict[str, Any]


async def test_an_expiry_is_told_of_and_written_down_once(deal: Deal) -> None:
    heard, told = Heard(deal.ben, "offer:updated"), Heard(deal.ada, "offer:updated", "chat:message")
    offer = await deal.offer(expires_in_s=1)
    extended = await deal.offer(expires_in_s=1)
    await deal.step(deal.ben, extended, "counter", expires_in_s=60)
    event = await _expired(heard, offer["id"])
    expired = event["offer"]
    assert (expired["status"], expired["version"], expired["awaiting_user_id"]) == ("expired", 2, None)
    assert (event["step"]["action"], event["step"]["by"]) == ("expire", "system")
    assert await _expired(told, offer["id"]) == event
    messages = await deal.messages()
    assert [message["offer"]["action"] for message in messages] == ["create", "create", "counter", "expire"]
    assert messages[-1]["sender_id"] == deal.ada.account.id
    details = await refused("offer_expired", deal.step(deal.ben, offer, "accept"))
    assert told_of(details["offer"]) == event
    for version in (1, 2):
        await deal.server.domain.offers.expire({"offer_id": offer["id"], "version": version})
    await deal.server.domain.offers.expire({"offer_id": extended["id"], "version": 1})
    with pytest.raises(ParleyError, match="not expired yet"):
        await deal.server.domain.offers.expire({"offer_id": extended["id"], "version": 2})
    assert len(await deal.messages()) == 4


async def _expired(heard: Heard, offer_id: str) -> Json:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            for _, payload in heard.all:
                if payload.get("offer", {}).get("id") == offer_id and payload["offer"]["status"] == "expired":
                    return payload
            await asyncio.sleep(0.02)


async def test_amounts_beyond_32_bits_survive_the_database(deal: Deal, crowd: Crowd) -> None:
    big = 10**12
    await deal.server.domain.ledger.set_limit(deal.ben.account.id, "USD", 3 * big, "admin", "a test")
    offer = await deal.offer(items=[item(big, 2)])
    accepted = await deal.step(deal.ben, offer, "accept")
    assert await deal.credit() == (2 * big, 0, big)
    assert (await deal.ben.call("offer:list", {}, OFFERS))["items"] == [accepted]
    done = await deal.step(deal.ada, accepted, "fulfil", amount=2**31)
    assert done["captured"]["amount"] == 2**31
    assert (await deal.messages())[-1]["offer"]["total"]["amount"] == 2 * big
    pay = {"client_id": "pay", "amount": {"amount": 2**31, "currency": "USD"}, "method": "console"}
    payment = (await deal.ben.call("finance:pay", pay, FINANCE))["payment"]
    await deal.server.domain.payments.succeeded(payment["id"], "a test")
    statement = (await deal.ben.call("finance:statement", {}, FINANCE))["items"]
    assert [line["owed"] for line in statement] == [0, 2**31, 0]
    async with http(deal.ada._rest.url) as call:
        answer = await call("GET", f"/api/v1/offers/{offer['id']}", token=deal.ben.account.access_token)
        assert answer.body == done


async def test_a_repeat_beside_its_first_time_does_not_hear_that_it_lost(deal: Deal) -> None:
    offer = await deal.offer()
    body = {"version": 1, "client_id": "yes", "action": "accept"}
    async with http(deal.ada._rest.url) as call:
        token, path = deal.ben.account.access_token, f"/api/v1/offers/{offer['id']}/respond"
        answers = await asyncio.gather(*[call("POST", path, body, token=token) for _ in range(6)])
    assert {(answer.status, answer.body.get("status")) for answer in answers} == {(200, "accepted")}
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1


async def test_who_left_is_bound_to_nothing_new_and_can_get_out(server: Server, crowd: Crowd) -> None:
    ada, ben, eve = [await crowd.person(name) for name in ("Ada", "Ben", "Eve")]
    await server.domain.ledger.set_limit(ben.account.id, "USD", 3_000, "admin", "a test")
    deal = Deal(server, ada, ben, await group(ada, ben, eve))
    open_ = await deal.offer(ben, to_user_id=ada.account.id)
    accepted = await deal.step(ada, await deal.offer(ben, to_user_id=ada.account.id), "accept")
    place = {"conversation_id": deal.conversation["id"]}
    await ada.call("chat:members", {**place, "remove": [ben.account.id]})
    await refused("not_a_participant", deal.step(ada, open_, "accept"))
    await refused("not_a_participant", deal.step(ada, open_, "counter", terms="now"))
    assert (await deal.step(ben, open_, "withdraw"))["status"] == "withdrawn"
    assert (await deal.step(ben, accepted, "cancel"))["status"] == "cancelled"
    assert await deal.credit() == (0, 0, 3_000)


async def test_a_seller_does_not_learn_how_much_credit_the_buyer_has(deal: Deal) -> None:
    offer = await deal.offer(deal.ben, items=[item(800)])
    assert await refused("credit_limit_exceeded", deal.step(deal.ada, offer, "accept")) is None


async def test_the_buyer_does_not_decide_what_to_pay(deal: Deal) -> None:
    accepted = await deal.step(deal.ben, await deal.offer(), "accept")
    await refused("forbidden", deal.step(deal.ben, accepted, "fulfil", amount=0))
    assert (await deal.step(deal.ben, accepted, "fulfil", amount=1000))["captured"]["amount"] == 1000


async def test_nobody_can_be_there_before_an_expiry(deal: Deal) -> None:
    offer = await deal.offer(expires_in_s=1)
    stray = {"conversation_id": deal.conversation["id"], "client_id": f"expire:{offer['id']}:1", "text": "mine"}
    await deal.ada.call("chat:send", stray)
    assert (await _expired(Heard(deal.ben, "offer:updated"), offer["id"]))["offer"]["status"] == "expired"


async def test_a_counter_keeps_the_currency_and_a_history_has_a_size(deal: Deal) -> None:
    offer = await deal.offer()
    await refused("validation_failed", deal.step(deal.ben, offer, "counter", items=[item(currency="EUR")]))
    long = [
        item(1, 1, tiers=[{"min_quantity": n + 2, "unit_price": {"amount": 1, "currency": "USD"}} for n in range(10)])
    ]
    turn, other, refusal = deal.ben, deal.ada, ""
    heard = {person: Heard(person, "offer:updated") for person in (deal.ada, deal.ben)}
    for _ in range(20):
        try:
            offer = await deal.step(turn, offer, "counter", items=long * 50, terms="x" * 4_000)
        except CommandError as error:
            refusal = error.code
            break
        turn, other = other, turn
    assert refusal == "offer_closed", "the history grows without end"
    event = await heard[turn].wait("offer:updated", offer=told_of(offer)["offer"])
    assert event == told_of(offer)
    assert len(json.dumps(event)) < len(json.dumps(offer)) / 3, "the history was told to everybody"
    page = await deal.ben.call("offer:list", {}, OFFERS)
    assert [one["id"] for one in page["items"]] == [offer["id"]]
    assert (await deal.step(turn, offer, "decline"))["status"] == "declined"
