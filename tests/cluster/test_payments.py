"""A payment is posted once, whoever is killed while its confirmation is on its way."""

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

from bench.clients import Person
from bench.processes import ROOT
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
