"""Pages of a list by time are what sorting everything gives, however its moments lie, and each reads a page's worth."""

from __future__ import annotations

import random
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo import IndexModel

from storage.mongo import Database, Document
from storage.newest import Place, newest

NAME = "things"
FIELDS = {"at": 1}
AGES = [
    timedelta(0), timedelta(milliseconds=1), timedelta(minutes=10), timedelta(minutes=90), timedelta(hours=11),
    timedelta(days=4), timedelta(days=29), timedelta(days=229), timedelta(days=1_000), timedelta(days=20_000),
    -timedelta(minutes=5),
]  # fmt: skip


@pytest.fixture
async def database(mongo_url: str) -> AsyncIterator[Database]:
    made = Database(mongo_url, f"t_{secrets.token_hex(6)}", single=True)
    await made.connect()
    order = [("at", 1), ("_id", 1)]
    indexes = [IndexModel([("owner_ids", 1), *order]), IndexModel([("owner_ids", 1), ("kind", 1), *order])]
    await made.create_indexes({NAME: indexes})
    yield made
    made.close()


def place(document: Document) -> Place:
    return document["at"], document["_id"]


async def fill(database: Database, chance: random.Random, count: int) -> list[Document]:
    """Most moments are shared, or lie together with long gaps between; some are yet to come."""
    at = datetime.now(UTC).replace(microsecond=0)
    made: list[Document] = [
        {
            "_id": f"t_{chance.randrange(10**6)}_{number}", "owner_ids": [chance.choice("ab"), "c"],
            "kind": chance.choice("xy"),
            "at": at - chance.choice(AGES) - timedelta(milliseconds=chance.choice([0, 1, chance.randrange(900_000)])),
        }
        for number in range(count)
    ]  # fmt: skip
    await database.collection(NAME).insert_many(made)
    return made


async def walk(database: Database, query: dict[str, Any], limit: int, since: datetime | None) -> list[Place]:
    found: list[Place] = []
    before = None
    while True:
        page = await newest(
            database, NAME, query, limit, before=before, since=since, fields=FIELDS, by="at"
        )  # fmt: skip
        assert len(page) <= limit
        found += [place(document) for document in page]
        if len(page) < limit:
            return found
        before = found[-1]


@pytest.mark.parametrize("embedded", [True, False], ids=["by windows", "by the limit"])
@pytest.mark.parametrize("seed", range(4))
async def test_the_pages_are_the_sorted_list(database: Database, embedded: bool, seed: int) -> None:
    chance = random.Random(seed)
    database.embedded = embedded
    everything = await fill(database, chance, 120)
    for query in ({"owner_ids": "a"}, {"owner_ids": "c"}, {"owner_ids": "b", "kind": "x"}, {"owner_ids": "nobody"}):
        for since in (None, chance.choice(everything)["at"]):
            wanted = [
                place(document)
                for document in everything
                if query["owner_ids"] in document["owner_ids"]
                and query.get("kind") in (None, document["kind"])
                and (since is None or document["at"] >= since)
            ]
            assert await walk(database, query, chance.choice([1, 7, 50]), since) == sorted(wanted, reverse=True)


@pytest.mark.parametrize(
    "moment",
    [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)],
    ids=["first", "last", "epoch"],
)
async def test_a_place_at_either_end_of_the_calendar(database: Database, moment: datetime) -> None:
    everything = await fill(database, random.Random(1), 20)
    found = await newest(database, NAME, {"owner_ids": "c"}, 50, before=(moment, "t"), fields=FIELDS, by="at")
    assert len(found) == sum(place(document) < (moment, "t") for document in everything)
