"""A page of offers costs what the page has, whatever else its owner has: counted in documents, not in time."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from pymongo import monitoring

from models.context import now
from tests.socket.test_offers import OFFERS, Deal
from tests.socket.test_offers import deal as deal

Json = dict[str, Any]
LIMIT = 20
STATES = ("pending", "accepted", "fulfilled", "cancelled", "declined", "withdrawn", "expired")


class Reads(monitoring.CommandListener):
    """What finds on the offers asked for, and how many documents they got."""

    def __init__(self) -> None:
        self.on = False
        self.filters: list[Json] = []
        self.returned = 0

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if self.on and event.command.get("find") == "offers":
            self.filters.append(event.command["filter"])

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        if self.on and event.command_name in ("find", "getMore"):
            cursor = event.reply["cursor"]
            if cursor["ns"].endswith(".offers"):
                self.returned += len(cursor.get("firstBatch", ())) + len(cursor.get("nextBatch", ()))

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        pass


READS = Reads()
monitoring.register(READS)  # hears only the clients that are made from here on


@contextmanager
def reading() -> Iterator[Reads]:
    READS.on, READS.returned = True, 0
    READS.filters.clear()
    try:
        yield READS
    finally:
        READS.on = False


async def seed(deal: Deal, count: int, every: timedelta = timedelta(minutes=1), **fields: Any) -> list[Json]:
    """That many more offers of the two, newest first, each `every` older than the one before."""
    offers = deal.server.database.collection("offers")
    (pattern,) = await offers.find({"_id": (await deal.offer())["id"]}).to_list(None)
    at = now()
    made = [
        {
            **pattern, "_id": f"o_{secrets.token_hex(12)}", "status": status, "updated_at": at - every * (number // 3),
            "expires_at": at + timedelta(days=1), **fields,
        }
        for number, status in zip(range(count), itertools.cycle(STATES), strict=False)
    ]  # fmt: skip
    await offers.insert_many(made)
    return sorted([*made, pattern], key=lambda offer: (offer["updated_at"], offer["_id"]), reverse=True)


async def pages(deal: Deal, **narrowed: Any) -> list[Json]:
    found: list[Json] = []
    cursor: Json = {}
    while True:
        page = await deal.ben.call("offer:list", {"limit": LIMIT, **narrowed, **cursor}, OFFERS)
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


async def cost(deal: Deal, **narrowed: Any) -> tuple[int, int]:
    """(documents in the ranges that the first page asked for, documents that it got)."""
    with reading() as reads:
        page = await deal.ben.call("offer:list", {"limit": LIMIT, **narrowed}, OFFERS)
        assert len(page["items"]) == LIMIT
    offers = deal.server.database.collection("offers")
    return sum([await offers.count_documents(one) for one in reads.filters]), reads.returned


async def test_a_page_of_two_thousand_costs_what_one_of_two_hundred_costs(deal: Deal) -> None:
    narrowed: list[Json] = [{}, *({"status": status} for status in ("pending", "declined", "expired"))]
    narrowed += [{**one, "conversation_id": deal.conversation["id"]} for one in narrowed]
    await seed(deal, 200)
    few = [await cost(deal, **one) for one in narrowed]
    await seed(deal, 1_800, status="declined", updated_at=now() - timedelta(days=1))
    await seed(deal, 200)
    many = [await cost(deal, **one) for one in narrowed]
    for one, (ranged, returned), (ranged_more, returned_more) in zip(narrowed, few, many, strict=True):
        assert returned_more <= returned + 2, one
        assert returned_more <= 2 * LIMIT + 3, one  # their places, and themselves
        assert ranged_more <= 2 * ranged, one


@pytest.mark.parametrize("every", [timedelta(0), timedelta(milliseconds=1), timedelta(minutes=7), timedelta(days=5)])
async def test_the_pages_are_the_whole_list_whatever_it_is_narrowed_to(deal: Deal, every: timedelta) -> None:
    everything = await seed(deal, 150, every)
    elsewhere = await seed(deal, 40, every, conversation_id="c_elsewhere")
    everything = sorted(
        [*everything, *elsewhere], key=lambda offer: (offer["updated_at"], offer["_id"]), reverse=True
    )  # fmt: skip
    for status in (None, *STATES):
        for conversation_id in (None, "c_elsewhere"):
            wanted = [
                offer["_id"]
                for offer in everything
                if status in (None, offer["status"]) and conversation_id in (None, offer["conversation_id"])
            ]
            found = await pages(deal, status=status, conversation_id=conversation_id)
            assert [offer["id"] for offer in found] == wanted


async def test_what_has_expired_is_listed_so_before_anybody_has_written_it(deal: Deal) -> None:
    await seed(deal, 70, status="expired")
    overdue = await seed(deal, 30, status="pending", expires_at=now() - timedelta(seconds=1))
    overdue_ids = {offer["_id"] for offer in overdue if offer["expires_at"] < now()}
    await seed(deal, 30, timedelta(minutes=20), status="pending")
    everything = await pages(deal)
    for status in ("pending", "expired"):
        found = await pages(deal, status=status)
        assert [offer["id"] for offer in found] == [offer["id"] for offer in everything if offer["status"] == status]
        assert overdue_ids.isdisjoint(offer["id"] for offer in found) == (status == "pending")


async def test_figures_are_of_the_newest_thousand_and_say_so(deal: Deal) -> None:
    await seed(deal, 900)
    assert (await deal.ben.call("offer:figures", {}, OFFERS))["complete"] is True
    await seed(deal, 1_500)
    with reading() as reads:
        figures = await deal.ben.call("offer:figures", {}, OFFERS)
    assert (figures["complete"], figures["received"]) == (False, 1_000)
    assert reads.returned == 1_001
