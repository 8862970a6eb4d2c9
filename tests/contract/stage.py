"""The scene of the tests of bad input: people who talk and deal, on a server of their own."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from bench.clients import Account
from contract.identity import Register
from contract.registry import NAMESPACES
from server import Server
from settings import Settings
from tests.support import PASSWORD, SECRET, Crowd, Raw, serving

Json = dict[str, Any]
ITEM: Json = {
    "title": "Firewood", "sku": "F-1", "quantity": 3, "unit": "pack", "unit_price": {"amount": 100, "currency": "USD"},
    "tiers": [{"min_quantity": 2, "unit_price": {"amount": 90, "currency": "USD"}}],
}  # fmt: skip


@dataclass(slots=True)
class Stage:
    """Ada's own connection and what lies around her: a group with Ben, their direct talk, and one she is not in."""

    url: str
    server: Server
    settings: Settings
    ada: Raw
    ada_id: str
    ben_id: str
    token: str
    ben_token: str
    admin_token: str
    session_id: str
    group: str
    direct: str
    foreign: str
    own: str
    bens: str
    deleted: str
    foreign_message: str
    offer: str
    deal: str
    dead_deal: str
    taken: str
    given: str


def settings_for_tests(tmp: Any, **fields: Any) -> Settings:
    name = f"t_{secrets.token_hex(6)}"
    basics: Json = {"mongo_db": name, "jwt_secret": SECRET, "rate_limit_scale": 0, "bcrypt_rounds": 4}
    return Settings(data_dir=tmp, **basics | fields)


@contextlib.asynccontextmanager
async def staged(settings: Settings, mongo_url: str) -> AsyncIterator[Stage]:
    async with serving(settings, mongo_url) as (server, url):
        crowd = Crowd(url)
        try:
            async with Raw(url) as raw:
                stage = await _set_up(crowd, server, settings, raw)
                for namespace in NAMESPACES:
                    assert (await raw.connect(namespace, stage.token)).startswith(f"40{namespace},")
                yield stage
        finally:
            await crowd.close()


async def _set_up(crowd: Crowd, server: Server, settings: Settings, raw: Raw) -> Stage:
    ada, ben, eve = [await crowd.account(name) for name in ("Ada", "Ben", "Eve")]

    async def conversation(token: str, kind: str, *others: str) -> str:
        body: Json = {"type": kind, "participant_ids": list(others), "client_id": f"{kind}-{others}"[:64]}
        path = "/api/v1/chat/conversations"
        return str((await crowd.rest.request("POST", path, body, token))["id"])

    async def message(token: str, where: str, text: str) -> str:
        path = f"/api/v1/chat/conversations/{where}/messages"
        body = {"client_id": secrets.token_hex(8), "text": text}
        return str((await crowd.rest.request("POST", path, body, token))["id"])

    async def offered(accepted: bool) -> str:
        """Ben wants to buy from Ada, whose turn it is, or was."""
        body: Json = {
            "conversation_id": direct, "client_id": secrets.token_hex(8), "side": "buy", "items": [ITEM],
            "settlement": "credit",
        }  # fmt: skip
        offer_id = str((await crowd.rest.request("POST", "/api/v1/offers", body, ben.access_token))["id"])
        if accepted:
            body = {"version": 1, "client_id": secrets.token_hex(8), "action": "accept"}
            await crowd.rest.request("POST", f"/api/v1/offers/{offer_id}/respond", body, ada.access_token)
        return offer_id

    async def taken(seller: Account, buyer: Account) -> str:
        """A transfer that a fulfilled offer made."""
        body: Json = {
            "conversation_id": direct, "client_id": secrets.token_hex(8), "side": "sell", "items": [ITEM],
            "settlement": "credit",
        }  # fmt: skip
        place = (
            f"/api/v1/offers/{(await crowd.rest.request('POST', '/api/v1/offers', body, seller.access_token))['id']}"
        )
        step: Json = {"version": 1, "client_id": secrets.token_hex(8), "action": "accept"}
        await crowd.rest.request("POST", f"{place}/respond", step, buyer.access_token)
        done = {"version": 2, "client_id": secrets.token_hex(8)}
        await crowd.rest.request("POST", f"{place}/fulfil", done, seller.access_token)
        statement = await crowd.rest.request("GET", "/api/v1/finance/statement", None, buyer.access_token)
        return str(statement["items"][0]["transfer"]["id"])

    await server.domain.ledger.set_limit(ada.id, "USD", 1_000_000, "a test", "to buy something")
    await server.domain.ledger.set_limit(ben.id, "USD", 1_000_000, "a test", "to buy something")
    group = await conversation(ada.access_token, "group", ben.id)
    direct = await conversation(ada.access_token, "direct", ben.id)
    foreign = await conversation(eve.access_token, "group", ben.id)
    deleted = await message(ada.access_token, group, "soon gone")
    await crowd.rest.request("DELETE", f"/api/v1/chat/messages/{deleted}", None, ada.access_token)
    sessions = await crowd.rest.request("GET", "/api/v1/auth/sessions", None, ada.access_token)
    return Stage(
        url=crowd.url, server=server, settings=settings, ada=raw, ada_id=ada.id, ben_id=ben.id,
        token=ada.access_token, ben_token=ben.access_token, admin_token=await _administrator(crowd, server),
        session_id=sessions["items"][0]["id"],
        group=group, direct=direct, foreign=foreign, deleted=deleted,
        own=await message(ada.access_token, group, "mine"), bens=await message(ben.access_token, group, "his"),
        foreign_message=await message(eve.access_token, foreign, "theirs"),
        offer=await offered(False), deal=await offered(True), dead_deal=await offered(True),
        taken=await taken(ada, ben), given=await taken(ben, ada),
    )  # fmt: skip


async def _administrator(crowd: Crowd, server: Server) -> str:
    email = "root@stage.example"
    await server.domain.users.create(Register(email=email, password=PASSWORD, name="Root"), "admin")
    return (await crowd.rest.login(email, PASSWORD)).access_token
