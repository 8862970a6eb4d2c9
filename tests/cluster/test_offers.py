"""Offers over two processes: one winner whoever asks where, and credit that covers ten accepts ten, kills or not."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.chaos.processes import Mongo
from bench.clients import CommandError, Person
from bench.redis_server import RedisServer
from models.jobs.actions import Jobs
from models.jobs.store import JobStore
from models.ledger.actions import Ledger
from models.ledger.store import LedgerStore
from models.ledger.verify import verify
from models.offers.proof import check_holds
from models.offers.store import OfferStore
from realtime.bus import MemoryBus
from storage.embedded import URL_OPTIONS, free_port
from storage.mongo import Database
from tests.cluster.test_across import Scene, two_processes
from tests.faults.test_kill import close_all
from tests.support import PATIENCE_S, Process, direct

Json = dict[str, Any]
OFFERS = "/offers"
DECLARED = {"offer_version_stale", "offer_closed", "offer_not_your_turn", "offer_expired"}


def terms(conversation: Json, price: int, expires_in_s: int = 600) -> Json:
    item = {"title": "Water", "quantity": 1, "unit_price": {"amount": price, "currency": "USD"}}
    return {
        "conversation_id": conversation["id"], "client_id": secrets.token_hex(8), "side": "sell", "items": [item],
        "settlement": "credit", "expires_in_s": expires_in_s,
    }  # fmt: skip


class Books:
    """What the database says, asked directly."""

    def __init__(self, url: str, name: str) -> None:
        self.database = Database(url, name, single=True)

    async def credit(self, person: Person, limit: int) -> None:
        jobs = Jobs(JobStore(self.database), MemoryBus())
        ledger = Ledger(LedgerStore(self.database), self.database, jobs)
        await ledger.set_limit(person.account.id, "USD", limit, "admin", "a test")

    async def check(self) -> tuple[Counter[str], int]:
        """(the states of the offers, how many holds are open); everything that must hold, holds."""
        report = await verify(LedgerStore(self.database))
        assert report.problems + await check_holds(OfferStore(self.database), report.holds) == []
        found = await self.database.collection("offers").find({}).to_list(None)
        messages = await self.database.collection("messages").find({"kind": "offer"}).to_list(None)
        steps = {(offer["_id"], step["version"]) for offer in found for step in offer["history"]}
        assert Counter((one["offer"]["offer_id"], one["offer"]["version"]) for one in messages) == Counter(steps)
        return Counter(offer["status"] for offer in found), len(report.holds)


@asynccontextmanager
async def stage(a: Process, b: Process, mongo_url: str) -> AsyncIterator[tuple[Scene, Books]]:
    scene, books = Scene(a.url, b.url), Books(mongo_url, a._env["MONGO_DB"])
    try:
        yield scene, books
    finally:
        books.database.close()
        await close_all(scene.crowd)


async def test_of_two_hundred_steps_on_one_version_over_two_processes_one_wins(
    tmp_path: Path, mongo_url: str, redis_url: str
) -> None:
    with two_processes(tmp_path, mongo_url, redis_url) as (a, b):
        async with stage(a, b, mongo_url) as (scene, books):
            ada, ben, conversation = await scene.pair()
            adas = [ada, await scene.device(ada.account, scene.b)]
            bens = [ben, await scene.device(ben.account, scene.a)]
            await books.credit(ben, 10_000)
            for expires_in_s in (600, 1):  # the second time it expires in the middle
                made = await ada.call("offer:create", terms(conversation, 100, expires_in_s), OFFERS)
                if expires_in_s == 1:
                    await asyncio.sleep(0.9)
                outcomes = await race(made["offer"], adas, bens)
                won = [one["offer"] for one in outcomes if isinstance(one, dict)]
                lost = [one for one in outcomes if isinstance(one, CommandError)]
                assert len(won) + len(lost) == 200
                assert len(won) <= 1 if expires_in_s == 1 else len(won) == 1
                assert {error.code for error in lost} <= DECLARED
                final = (await ben.call("offer:get", {"offer_id": made["offer"]["id"]}, OFFERS))["offer"]
                assert all(error.details["offer"]["id"] == final["id"] for error in lost)
                ended = won[0]["status"] if won else "expired"
                if expires_in_s == 1 and ended == "pending":  # a counter keeps the expiry of what it counters
                    assert final["status"] in ("pending", "expired")
                else:
                    assert final["status"] == ended
            await books.check()


async def race(offer: Json, adas: list[Person], bens: list[Person]) -> list[Any]:
    works = []
    for number in range(200):
        action = ("accept", "withdraw", "counter", "decline")[number % 4]
        person = (adas if action == "withdraw" else bens)[number // 4 % 2]
        payload = {"offer_id": offer["id"], "version": 1, "client_id": secrets.token_hex(8), "action": action}
        if action == "counter":
            payload["terms"] = str(number)
        works.append(person.call("offer:respond", payload, OFFERS))
    random.shuffle(works)
    return await asyncio.gather(*works, return_exceptions=True)


async def offers_for(scene: Scene, count: int) -> tuple[Person, list[Json]]:
    """A buyer, and offers to them from sellers on both processes, in conversations of their own."""
    buyer = await scene.person("Ben", scene.a)
    offers = []
    for number in range(10):
        seller = await scene.person(f"Seller{number}", (scene.a, scene.b)[number % 2])
        conversation = await direct(seller, buyer)
        for _ in range(count // 10):
            offers.append((await seller.call("offer:create", terms(conversation, 100), OFFERS))["offer"])
    return buyer, offers


def accept(offer: Json) -> Json:
    return {"offer_id": offer["id"], "version": 1, "client_id": f"accept {offer['id']}", "action": "accept"}


async def test_credit_for_ten_accepts_ten_of_a_hundred(tmp_path: Path, mongo_url: str, redis_url: str) -> None:
    with two_processes(tmp_path, mongo_url, redis_url) as (a, b):
        async with stage(a, b, mongo_url) as (scene, books):
            buyer, offers = await offers_for(scene, 100)
            devices = [buyer, await scene.device(buyer.account, scene.b)]
            await books.credit(buyer, 1_000)
            works = [devices[n % 2].call("offer:respond", accept(offer), OFFERS) for n, offer in enumerate(offers)]
            outcomes = await asyncio.gather(*works, return_exceptions=True)
            assert Counter(getattr(one, "code", "accepted") for one in outcomes) == {
                "accepted": 10, "credit_limit_exceeded": 90
            }  # fmt: skip
            assert await books.check() == ({"accepted": 10, "pending": 90}, 10)


@pytest.mark.parametrize("victim", ["a web process", "the database"])
async def test_and_whatever_is_killed_in_the_middle(tmp_path: Path, victim: str) -> None:
    mongo, redis = Mongo(tmp_path / "mongo", free_port()), RedisServer().start()
    await mongo.start()
    url = f"mongodb://127.0.0.1:{mongo.port}/{URL_OPTIONS}"
    try:
        with two_processes(tmp_path, url, redis.url) as (a, b):
            async with stage(a, b, url) as (scene, books):
                buyer, offers = await offers_for(scene, 100)
                devices = [buyer, await scene.device(buyer.account, scene.b)]
                await books.credit(buyer, 1_000)
                works = [insist(devices[n % 2], accept(offer)) for n, offer in enumerate(offers)]
                running = asyncio.gather(*works)
                await asyncio.sleep(0.1)
                assert not running.done()
                if victim == "the database":
                    mongo.kill()
                    await mongo.restart()
                else:
                    b.kill()
                    devices[1]._rest.url = a.url  # as a proxy would send it
                answers = Counter(await running)
                assert answers == {"accepted": 10, "credit_limit_exceeded": 90}
                assert await books.check() == ({"accepted": 10, "pending": 90}, 10)
    finally:
        await mongo.stop()
        redis.stop()


async def insist(person: Person, payload: Json) -> str:
    """As a client does: again under the same client_id, until it is answered for good."""
    while True:
        try:
            await asyncio.wait_for(person.call("offer:respond", payload, OFFERS), PATIENCE_S)
        except CommandError as error:
            if error.code in ("credit_limit_exceeded", *DECLARED):
                return error.code
        except Exception:
            pass
        else:
            return "accepted"
        await asyncio.sleep(0.2)
