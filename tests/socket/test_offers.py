"""Offers over the wire: the handshake, who may do what when, and what it does to the buyer's credit."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bench.clients import CommandError, Person
from contract.identity import Register
from server import Server
from tests.clock import Clock
from tests.rest.client import http
from tests.support import PASSWORD, Crowd, Heard, direct, group

Json = dict[str, Any]
OFFERS, FINANCE = "/offers", "/finance"


def item(amount: int = 500, quantity: int = 2, currency: str = "USD", **more: Any) -> Json:
    return {"title": "Firewood", "quantity": quantity, "unit_price": {"amount": amount, "currency": currency}, **more}


class Deal:
    """Ada sells to Ben, who may owe 1,500."""

    def __init__(self, server: Server, ada: Person, ben: Person, conversation: Json) -> None:
        self.server, self.ada, self.ben, self.conversation = server, ada, ben, conversation
        self.count = 0

    def id(self) -> str:
        self.count += 1
        return f"step-{self.count}"

    async def offer(self, by: Person | None = None, **fields: Any) -> Json:
        payload = {
            "conversation_id": self.conversation["id"], "client_id": self.id(), "items": [item()],
            "side": "buy" if by is self.ben else "sell", "settlement": "credit", **fields,
        }  # fmt: skip
        offer: Json = (await (by or self.ada).call("offer:create", payload, OFFERS))["offer"]
        return offer

    async def step(self, by: Person, offer: Json, action: str, **fields: Any) -> Json:
        payload = {"offer_id": offer["id"], "version": offer["version"], "client_id": self.id(), **fields}
        if action in ("fulfil", "cancel"):
            data = await by.call(f"offer:{action}", payload, OFFERS)
        else:
            data = await by.call("offer:respond", {**payload, "action": action}, OFFERS)
        stepped: Json = data["offer"]
        return stepped

    async def credit(self, person: Person | None = None, purpose: str = "payable") -> tuple[int, int, int]:
        """(held, owed, available)."""
        payload = {"currency": "USD", "purpose": purpose}
        account = (await (person or self.ben).call("finance:account", payload, FINANCE))["account"]
        side = "debits" if purpose == "payable" else "credits"
        return account[f"{side}_pending"], account[f"{side}_posted"], account["available_credit"]

    async def messages(self) -> list[Json]:
        place = {"conversation_id": self.conversation["id"], "after_seq": 0}
        found: list[Json] = (await self.ada.call("chat:history", place))["messages"]
        return found


@pytest.fixture
async def deal(server: Server, crowd: Crowd) -> Deal:
    ada, ben, conversation = await crowd.pair()
    await server.domain.ledger.set_limit(ben.account.id, "USD", 1_500, "admin", "a test")
    return Deal(server, ada, ben, conversation)


def told_of(offer: Json) -> Json:
    """The event of its last step."""
    return {"offer": {name: offer[name] for name in offer if name != "history"}, "step": offer["history"][-1]}


async def refused(code: str, work: Any) -> Any:
    """Returns the details."""
    with pytest.raises(CommandError) as caught:
        await work
    assert caught.value.code == code, caught.value
    return caught.value.details


async def test_a_haggle_that_ends_in_a_fulfilled_deal(deal: Deal) -> None:
    at_ada, at_ben = Heard(deal.ada, "offer:updated"), Heard(deal.ben, "offer:updated", "finance:credit_changed")
    told = Heard(deal.ada, "chat:message")
    offer = await deal.offer(note="fresh", terms="Pick up")
    assert (offer["status"], offer["version"], offer["total"]) == ("pending", 1, {"amount": 1000, "currency": "USD"})
    assert (offer["seller_id"], offer["buyer_id"]) == (deal.ada.account.id, deal.ben.account.id)
    assert offer["awaiting_user_id"] == deal.ben.account.id
    assert await at_ben.wait("offer:updated") == told_of(offer)
    countered = await deal.step(deal.ben, offer, "counter", items=[item(400)], note="too much")
    assert (countered["version"], countered["total"]["amount"], countered["terms"]) == (2, 800, "Pick up")
    assert countered["awaiting_user_id"] == deal.ada.account.id
    assert await at_ada.wait("offer:updated") == told_of(countered)
    accepted = await deal.step(deal.ada, countered, "accept")
    assert (accepted["status"], accepted["awaiting_user_id"]) == ("accepted", None)
    assert await deal.credit() == (800, 0, 700)
    assert await deal.credit(deal.ada, "receivable") == (800, 0, 0)
    changed = await at_ben.wait("finance:credit_changed")
    assert changed["transfer"]["id"] == accepted["hold_id"]
    assert changed["account"]["available_credit"] == 700
    done = await deal.step(deal.ada, accepted, "fulfil", amount=600)
    assert (done["status"], done["captured"]) == ("fulfilled", {"amount": 600, "currency": "USD"})
    assert await deal.credit() == (0, 600, 900)
    assert await deal.credit(deal.ada, "receivable") == (0, 600, 0)
    assert [step["action"] for step in done["history"]] == ["create", "counter", "accept", "fulfil"]
    messages = await deal.messages()
    assert [message["seq"] for message in messages] == [1, 2, 3, 4]
    assert [(message["kind"], message["offer"]["action"]) for message in messages] == [
        ("offer", "create"), ("offer", "counter"), ("offer", "accept"), ("offer", "fulfil")
    ]  # fmt: skip
    await told.wait("chat:message", message=messages[-1])
    statement = (await deal.ben.call("finance:statement", {}, FINANCE))["items"]
    assert [(line["side"], line["transfer"]["kind"], line["owed"], line["held"]) for line in statement] == [
        ("debit", "post", 600, 0), ("debit", "pending", 0, 800)
    ]  # fmt: skip


async def test_a_cancelled_deal_gives_the_credit_back(deal: Deal) -> None:
    accepted = await deal.step(deal.ben, await deal.offer(), "accept")
    assert await deal.credit() == (1000, 0, 500)
    cancelled = await deal.step(deal.ben, accepted, "cancel", note="sorry")
    assert (cancelled["status"], cancelled["history"][-1]["note"]) == ("cancelled", "sorry")
    assert await deal.credit() == (0, 0, 1500)
    await refused("offer_closed", deal.step(deal.ada, cancelled, "fulfil"))


async def test_without_credit_nothing_is_accepted_and_the_offer_stays_open(deal: Deal) -> None:
    offer = await deal.offer(items=[item(800)])
    details = await refused("credit_limit_exceeded", deal.step(deal.ben, offer, "accept"))
    assert details == {"available_credit": 1500, "needed": 1600, "currency": "USD"}
    now = (await deal.ben.call("offer:get", {"offer_id": offer["id"]}, OFFERS))["offer"]
    assert now == offer
    assert len(await deal.messages()) == 1
    declined = await deal.step(deal.ben, offer, "decline")
    assert declined["status"] == "declined"


async def test_an_offer_that_settles_itself_moves_no_money(deal: Deal) -> None:
    accepted = await deal.step(deal.ben, await deal.offer(items=[item(10**9)], settlement="none"), "accept")
    assert accepted["hold_id"] is None
    await refused("validation_failed", deal.step(deal.ada, accepted, "fulfil", amount=1))
    await deal.step(deal.ada, accepted, "fulfil")
    assert await deal.credit() == (0, 0, 1500)


async def test_whose_turn_it_is(deal: Deal) -> None:
    offer = await deal.offer()
    for action in ("accept", "decline"):
        details = await refused("offer_not_your_turn", deal.step(deal.ada, offer, action))
        assert details["offer"] == offer
    await refused("offer_not_your_turn", deal.step(deal.ada, offer, "counter", terms="other"))
    await refused("offer_not_your_turn", deal.step(deal.ben, offer, "withdraw"))
    await refused("offer_closed", deal.step(deal.ben, offer, "fulfil"))
    countered = await deal.step(deal.ben, offer, "counter", terms="other")
    details = await refused("offer_version_stale", deal.step(deal.ada, offer, "accept"))
    assert details["offer"] == countered
    withdrawn = await deal.step(deal.ben, countered, "withdraw")
    details = await refused("offer_closed", deal.step(deal.ada, countered, "accept"))
    assert details["offer"] == withdrawn


async def test_a_late_answer_sees_that_the_offer_has_expired_whether_or_not_anybody_wrote_it(
    deal: Deal, clock: Clock
) -> None:
    offer = await deal.offer(expires_in_s=600)
    clock.move(601)
    for person, action in ((deal.ben, "accept"), (deal.ben, "decline"), (deal.ada, "withdraw")):
        details = await refused("offer_expired", deal.step(person, offer, action))
        assert details["offer"]["status"] == "expired"
    listed = (await deal.ben.call("offer:list", {"status": "expired"}, OFFERS))["items"]
    assert [one["id"] for one in listed] == [offer["id"]]
    assert (await deal.ben.call("offer:list", {"status": "pending"}, OFFERS))["items"] == []
    assert await deal.credit() == (0, 0, 1500)


async def test_a_repeat_gets_what_the_first_time_got(deal: Deal) -> None:
    create = {
        "conversation_id": deal.conversation["id"], "client_id": "first", "items": [item()], "side": "sell",
        "settlement": "credit",
    }  # fmt: skip
    answers = await asyncio.gather(*[deal.ada.call("offer:create", create, OFFERS) for _ in range(5)])
    assert len({answer["offer"]["id"] for answer in answers}) == 1
    assert sum("duplicate" not in answer for answer in answers) == 1
    offer = answers[0]["offer"]
    accept = {"offer_id": offer["id"], "version": 1, "client_id": "yes", "action": "accept"}
    first = await deal.ben.call("offer:respond", accept, OFFERS)
    await deal.step(deal.ada, first["offer"], "fulfil")
    again = await deal.ben.call("offer:respond", accept, OFFERS)
    assert again == {**first, "duplicate": True}
    assert await deal.ada.call("offer:create", create, OFFERS) == {"offer": offer, "duplicate": True}
    await refused("idempotency_mismatch", deal.ben.call("offer:respond", {**accept, "action": "decline"}, OFFERS))
    await refused("idempotency_mismatch", deal.ada.call("offer:create", {**create, "side": "buy"}, OFFERS))
    assert len(await deal.messages()) == 3
    assert await deal.credit() == (0, 1000, 500)


async def test_prices_by_tiers_and_what_makes_no_sense(deal: Deal) -> None:
    tiers = [{"min_quantity": 5, "unit_price": {"amount": 90, "currency": "USD"}},
             {"min_quantity": 10, "unit_price": {"amount": 80, "currency": "USD"}}]  # fmt: skip
    for quantity, total in ((4, 400), (5, 450), (10, 800), (11, 880)):
        offer = await deal.offer(items=[item(100, quantity, tiers=tiers), item(1, 1)])
        assert (offer["items"][0]["total"]["amount"], offer["total"]["amount"]) == (total, total + 1)
    await refused("validation_failed", deal.offer(items=[item(100, 1, tiers=tiers[::-1])]))
    await refused("validation_failed", deal.offer(items=[item(), item(currency="EUR")]))
    await refused("validation_failed", deal.offer(items=[item(10**12, 10**6)]))
    await refused("validation_failed", deal.offer(items=[]))
    offer = await deal.offer()
    await refused("validation_failed", deal.step(deal.ben, offer, "counter"))
    await refused("validation_failed", deal.step(deal.ben, offer, "accept", items=[item()]))


async def test_an_offer_in_a_group_is_between_two(server: Server, crowd: Crowd) -> None:
    ada, ben, eve = [await crowd.person(name) for name in ("Ada", "Ben", "Eve")]
    deal = Deal(server, ada, ben, await group(ada, ben, eve))
    stranger = await crowd.person("Mallory")
    await refused("validation_failed", deal.offer())
    await refused("validation_failed", deal.offer(to_user_id=stranger.account.id))
    heard, others = Heard(ben, "offer:updated"), Heard(eve, "offer:updated", "chat:message")
    offer = await deal.offer(to_user_id=ben.account.id)
    await heard.wait("offer:updated")
    assert (await others.wait("chat:message"))["message"]["offer"]["offer_id"] == offer["id"]
    assert [name for name, _ in others.all] == ["chat:message"]
    for person in (eve, stranger):
        await refused("not_a_participant", person.call("offer:get", {"offer_id": offer["id"]}, OFFERS))
        await refused("not_a_participant", deal.step(person, offer, "accept"))
    await refused("not_found", ben.call("offer:get", {"offer_id": "o_none"}, OFFERS))


async def test_the_list_is_paged_newest_change_first(deal: Deal) -> None:
    offers = [await deal.offer(items=[item(1)]) for _ in range(5)]
    await deal.step(deal.ben, offers[1], "decline")
    pages, cursor = [], None
    while True:
        page = await deal.ben.call("offer:list", {"limit": 2, **({"cursor": cursor} if cursor else {})}, OFFERS)
        pages += [offer["id"] for offer in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert pages == [offers[number]["id"] for number in (1, 4, 3, 2, 0)]
    declined = await deal.ben.call("offer:list", {"status": "declined"}, OFFERS)
    assert [offer["id"] for offer in declined["items"]] == [offers[1]["id"]]
    elsewhere = await direct(deal.ada, deal.ben)
    assert elsewhere["id"] == deal.conversation["id"]
    other = await deal.ben.call("offer:list", {"conversation_id": "c_none"}, OFFERS)
    assert other["items"] == []


async def test_of_many_at_once_one_wins(deal: Deal) -> None:
    offer = await deal.offer()
    works = [deal.step(deal.ben, offer, "accept") for _ in range(8)]
    works += [deal.step(deal.ada, offer, "withdraw") for _ in range(8)]
    works += [deal.step(deal.ben, offer, "counter", terms=str(number)) for number in range(8)]
    outcomes = await asyncio.gather(*works, return_exceptions=True)
    won = [outcome for outcome in outcomes if isinstance(outcome, dict)]
    lost = [outcome for outcome in outcomes if isinstance(outcome, CommandError)]
    assert (len(won), len(lost)) == (1, 23)
    assert {error.code for error in lost} <= {"offer_version_stale", "offer_closed", "offer_not_your_turn"}
    assert all(error.details["offer"]["version"] == 2 for error in lost)
    assert len(await deal.messages()) == 2


async def test_the_same_over_rest(deal: Deal) -> None:
    heard = Heard(deal.ben, "offer:updated", "chat:message")
    async with http(deal.ada._rest.url) as call:
        ada, ben = deal.ada.account.access_token, deal.ben.account.access_token
        body = {"conversation_id": deal.conversation["id"], "side": "sell", "items": [item()], "settlement": "credit"}
        made = await call("POST", "/api/v1/offers", body, token=ada, headers={"Idempotency-Key": "k1"})
        assert made.status == 201
        assert await heard.wait("offer:updated") == told_of(made.body)
        place = f"/api/v1/offers/{made.body['id']}"
        step = {"version": 1, "client_id": "a", "action": "accept"}
        accepted = await call("POST", f"{place}/respond", step, token=ben)
        assert (accepted.status, accepted.body["status"]) == (200, "accepted")
        stale = await call("POST", f"{place}/respond", {**step, "client_id": "b"}, token=ben)
        assert (stale.status, stale.code) == (409, "offer_version_stale")
        done = await call("POST", f"{place}/fulfil", {"version": 2, "client_id": "c"}, token=ada)
        assert done.body["status"] == "fulfilled"
        assert (await call("GET", place, token=ben)).body == done.body
        assert (await call("GET", "/api/v1/offers?status=fulfilled", token=ben)).body["items"] == [done.body]
        account = await call("GET", "/api/v1/finance/account?currency=USD", token=ben)
        assert account.body["debits_posted"] == 1000
        lines = (await call("GET", "/api/v1/finance/statement?limit=1", token=ben)).body
        assert lines["items"][0]["transfer"]["about"]["offer_id"] == made.body["id"]
        rest = await call("GET", f"/api/v1/finance/statement?limit=1&cursor={lines['next_cursor']}", token=ben)
        assert [line["seq"] for line in rest.body["items"]] == [1]
        assert rest.body["next_cursor"] is None


async def test_an_administrator_sets_the_credit_limit(deal: Deal, crowd: Crowd) -> None:
    await deal.server.domain.users.create(Register(email="root@example.test", password=PASSWORD, name="Root"), "admin")
    admin = (await crowd.rest.login("root@example.test", PASSWORD)).access_token
    heard = Heard(deal.ben, "finance:credit_changed")
    path = f"/api/v1/admin/users/{deal.ben.account.id}/credit-limit"
    body = {"amount": 5_000, "currency": "USD", "reason": "pays in time"}
    async with http(deal.ada._rest.url) as call:
        assert (await call("PUT", path, body, token=deal.ben.account.access_token)).code == "forbidden"
        assert (await call("PUT", path.replace("u_", "u_0"), body, token=admin)).code == "not_found"
        assert (await call("PUT", path, {**body, "reason": " "}, token=admin)).code == "validation_failed"
        answer = await call("PUT", path, body, token=admin)
        assert (answer.status, answer.body["credit_limit"], answer.body["available_credit"]) == (200, 5_000, 5_000)
        assert (await call("PUT", path, body, token=admin)).body == answer.body
    assert (await heard.wait("finance:credit_changed"))["account"] == answer.body
    assert [told["transfer"] for _, told in heard.all] == [None]
    assert (await deal.credit())[2] == 5_000
