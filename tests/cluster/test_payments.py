"""Payments at two processes: posted once, whichever is killed meanwhile, and never begun of more than is owed."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bench.clients import CommandError, Person
from bench.processes import ROOT
from models.context import now
from models.ledger.document import account_id
from tests.cluster.test_across import Scene, two_processes
from tests.cluster.test_offers import Books, accept, stage, terms
from tests.support import PASSWORD, Process

Json = dict[str, Any]


def make_admin(process: Process) -> str:
    email = f"root.{secrets.token_hex(4)}@example.test"
    command = [sys.executable, "-m", "models.users", "create-admin", email]
    env = {**os.environ, **{name: process._env[name] for name in ("MONGO_URL", "MONGO_DB", "JWT_SECRET", "DATA_DIR")}}
    subprocess.run(command, cwd=ROOT, env=env, input=PASSWORD, text=True, check=True, capture_output=True)
    return email


async def owing(scene: Scene, books: Books) -> Person:
    """Someone who owes 100."""
    ada, ben, conversation = await scene.pair()
    await books.credit(ben, 1_000)
    offer = (await ada.call("offer:create", terms(conversation, 100), "/offers"))["offer"]
    offer = (await ben.call("offer:respond", accept(offer), "/offers"))["offer"]
    done = {"offer_id": offer["id"], "version": offer["version"], "client_id": "done"}
    await ada.call("offer:fulfil", done, "/offers")
    return ben


@pytest.mark.parametrize("after_s", [0.004, 0.02])
async def test_confirmed_while_the_process_is_killed(
    tmp_path: Path, mongo_url: str, redis_url: str, after_s: float
) -> None:
    with two_processes(tmp_path, mongo_url, redis_url) as (a, b):
        async with stage(a, b, mongo_url) as (scene, books):
            ben = await owing(scene, books)
            token = (await scene.crowd.rest.login(await asyncio.to_thread(make_admin, a), PASSWORD)).access_token
            pay = {"client_id": "pay", "amount": {"amount": 100, "currency": "USD"}, "method": "console"}
            payment = (await ben.call("finance:pay", pay, "/finance"))["payment"]
            path = f"/api/v1/admin/payments/{payment['id']}/confirm"
            async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:

                async def confirm(url: str) -> str | None:
                    with suppress(aiohttp.ClientError, OSError):
                        async with session.post(url + path, json={}) as response:
                            body = await response.json()
                            return str(body["status"] if response.ok else body)
                    return None

                on_their_way = [asyncio.create_task(confirm(a.url)) for _ in range(3)]
                on_their_way += [asyncio.create_task(confirm(b.url)) for _ in range(2)]
                await asyncio.sleep(after_s)
                await asyncio.to_thread(a.kill)
                assert set(await asyncio.gather(*on_their_way)) <= {"succeeded", None}
                assert await confirm(b.url) == "succeeded"
            posted = await books.database.collection("ledger_transfers").find({"code": "payment"}).to_list(None)
            assert [transfer["amount"] for transfer in posted] == [100]
            await books.check()


def wish(client_id: str, amount: int, method: str = "console") -> Json:
    return {"client_id": client_id, "amount": {"amount": amount, "currency": "USD"}, "method": method}


async def stands(books: Books, person: Person) -> tuple[int, int]:
    """(what is owed, the credit balance)."""
    balances = []
    for purpose, sign in (("payable", 1), ("credit_balance", -1)):
        query = {"_id": account_id(person.account.id, "USD", purpose)}  # type: ignore[arg-type]
        found = await books.database.collection("ledger_accounts").find_one(query)
        balances.append(sign * (found["debits_posted"] - found["credits_posted"]) if found else 0)
    return balances[0], balances[1]


async def test_payments_of_one_debt_begun_at_two_processes_are_of_the_debt_and_no_more(
    tmp_path: Path, mongo_url: str, redis_url: str
) -> None:
    with two_processes(tmp_path, mongo_url, redis_url) as (a, b):
        async with stage(a, b, mongo_url) as (scene, books):
            ben = await owing(scene, books)
            devices = [ben, await scene.device(ben.account, scene.a)]
            works = [devices[n % 2].call("finance:pay", wish(f"p{n}", 30), "/finance") for n in range(20)]
            outcomes = await asyncio.gather(*works, return_exceptions=True)
            begun = [one for one in outcomes if isinstance(one, dict)]
            refused = {one.code for one in outcomes if isinstance(one, CommandError)}
            assert (len(begun), refused) == (3, {"amount_exceeded"})
            works = [device.call("finance:pay", wish("same", 10), "/finance") for device in devices * 5]
            answers = await asyncio.gather(*works)
            assert len({answer["payment"]["id"] for answer in answers}) == 1
            assert sum("duplicate" not in answer for answer in answers) == 1
            await books.check()


async def test_payments_that_an_earlier_version_let_begin_are_confirmed_at_two_processes(
    tmp_path: Path, mongo_url: str, redis_url: str
) -> None:
    """Thirteen of the whole debt of 100: all of the money is booked, and what is beyond the debt is the buyer's."""
    with two_processes(tmp_path, mongo_url, redis_url) as (a, b):
        async with stage(a, b, mongo_url) as (scene, books):
            ben = await owing(scene, books)
            token = (await scene.crowd.rest.login(await asyncio.to_thread(make_admin, a), PASSWORD)).access_token
            planted = [
                {
                    "_id": f"p_{ben.account.id}_{n}", "user_id": ben.account.id, "amount": 100, "currency": "USD",
                    "method": "console", "status": "pending", "reference": f"console-{n}", "checkout_url": None,
                    "transfer_id": None, "fingerprint": "x", "created_at": now(), "updated_at": now(),
                }
                for n in range(13)
            ]  # fmt: skip
            await books.database.collection("payments").insert_many(planted)
            async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:

                async def confirm(url: str, payment_id: str) -> str:
                    path = f"{url}/api/v1/admin/payments/{payment_id}/confirm"
                    while True:
                        async with session.post(path, json={}) as response:
                            body = await response.json()
                        if response.ok:
                            return str(body["status"])
                        assert body["error"]["code"] == "conflict"  # the two were in each other's way for too long

                confirming = [confirm(process.url, str(one["_id"])) for one in planted for process in (a, b)]
                assert set(await asyncio.gather(*confirming)) == {"succeeded"}
            assert await stands(books, ben) == (0, 1_200)
            await books.check()
            more = await scene.device(ben.account, scene.a)
            works = [device.call("finance:pay", wish("b", 1, "balance"), "/finance") for device in (ben, more)]
            codes = [getattr(one, "code", None) for one in await asyncio.gather(*works, return_exceptions=True)]
            assert codes == ["amount_exceeded"] * 2  # nothing is owed
