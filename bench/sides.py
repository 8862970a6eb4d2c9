"""How each side of a comparison is driven: start it, let the people in, load it, return the figures.

Parley is driven through its real contract: what Node broadcasts from memory, Parley has validated, authorised, numbered
and made durable before anybody hears of it.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.clients import Json, Rest
from bench.generator import Figures, figures_of, load
from bench.processes import ROOT, Target, parley, peer
from contract import registry

TEXT = "Could you do 40 crates at the March price if we collect them ourselves?"
LONG_TEXT = "We can load the pallets on Thursday. " * 27  # so that one who never reads is soon megabytes behind
NAMESPACES = ",".join(registry.NAMESPACES)
OURS, THEIRS = '42/chat,["chat:message"', '42/chat,["message"'
MARK = '"client_id":"m-'
USERS = 10  # connections are shared among a few users: each gets every event of every conversation of its user
ROOMS_OF_A_CONNECTION = 3


@dataclass(frozen=True, slots=True)
class Cast:
    """Users in group conversations with each other; connection i is user i modulo their number."""

    tokens: Path
    conversations: list[str]


def cast(server: Target, users: int = USERS, conversations: int = 1, talkers: int | None = None) -> Cast:
    """`talkers`: so many of the users are in the conversations, the first ones; all, if it is not said."""
    return asyncio.run(_cast(server, users, conversations, talkers or users))


async def _cast(server: Target, users: int, conversations: int, talkers: int) -> Cast:
    ids = []
    async with Rest(server.url) as rest:
        accounts = [
            await rest.register(f"load-{number}@bench.example", secrets.token_urlsafe(16), f"Load {number}")
            for number in range(users)
        ]
        others = [account.id for account in accounts[1:talkers]]
        for number in range(conversations):
            body: Json = {"type": "group", "title": f"Load {number}", "participant_ids": others}
            body["client_id"] = f"load-{number}"
            answer = await rest.request("POST", "/api/v1/chat/conversations", body, accounts[0].access_token)
            ids.append(str(answer["id"]))
    tokens = server.directory / "tokens"
    tokens.write_text("".join(f"{account.access_token}\n" for account in accounts))
    return Cast(tokens, ids)


def event(name: str, payload: Json, acknowledged: bool) -> str:
    """A Socket.IO event on /chat; the generator replaces {n} and {client}."""
    return "42/chat," + ("{n}" if acknowledged else "") + json.dumps([name, payload], separators=(",", ":"))


def our_send(conversation_id: str, client_id: str, text: str = TEXT) -> str:
    payload = {"conversation_id": conversation_id, "client_id": client_id, "text": text}
    return event("chat:send", payload, acknowledged=True)


def our_fanout(seconds: float, clients: int, window: int, slow: int = 0, text: str = TEXT) -> Figures:
    with parley() as server:
        people = cast(server)
        packet = our_send(people.conversations[0], "m-{n}", text)
        return load(
            "fanout", server, clients=clients, window=window, slow=slow, seconds=seconds, tokens=people.tokens,
            packet=packet, expect=OURS, mark=MARK, excluded=True,
        )  # fmt: skip


def node_fanout(seconds: float, clients: int, window: int) -> Figures:
    packet = event("message", {"conversation": "c1", "client_id": "m-{n}", "text": TEXT}, acknowledged=False)
    with peer("fanout") as node:
        return load(
            "fanout", node, clients=clients, window=window, seconds=seconds, packet=packet, expect=THEIRS,
            mark=MARK,
        )  # fmt: skip


def our_ack(seconds: float, window: int) -> Figures:
    with parley() as server:
        people = cast(server)
        packet = event("chat:leave", {"conversation_id": people.conversations[0]}, acknowledged=True)
        return load("ack", server, window=window, seconds=seconds, tokens=people.tokens, packet=packet)


def node_ack(seconds: float, window: int) -> Figures:
    packet = event("message", {"conversation": "c1", "text": "hello"}, acknowledged=True)
    with peer("ack") as node:
        return load("ack", node, window=window, seconds=seconds, packet=packet)


def our_durable(seconds: float, clients: int, window: int) -> Figures:
    with parley() as server:
        people = cast(server, users=USERS if clients > 1 else 2)  # one alone has somebody to talk to, who is away
        packet = our_send(people.conversations[0], "d-{client}-{n}")
        return load(
            "ack", server, clients=clients, window=window, seconds=seconds, tokens=people.tokens, packet=packet,
            expect=OURS,
        )  # fmt: skip


def node_durable(seconds: float, clients: int, window: int) -> Figures:
    """On the same kind of database as ours, empty as well: that of a Parley nobody talks to."""
    payload = {"conversation": "c1", "client_id": "d-{client}-{n}", "text": TEXT}
    packet = event("message", payload, acknowledged=True)
    with parley() as server, peer("durable", server.database_url) as node:
        target = Target(node.pid, node.port, node.directory, server.database_pid)
        return load("ack", target, clients=clients, window=window, seconds=seconds, packet=packet, expect=THEIRS)


def our_idle(clients: int, hold_s: float) -> Figures:
    with parley() as server:
        people = cast(server, conversations=ROOMS_OF_A_CONNECTION)
        return load("idle", server, clients=clients, namespaces=NAMESPACES, tokens=people.tokens, hold=hold_s)


def node_idle(clients: int, hold_s: float) -> Figures:
    with peer("idle", NAMESPACES) as node:
        return load("idle", node, clients=clients, namespaces=NAMESPACES, hold=hold_s)


def send_cost(seconds: float, window: int) -> Figures:
    with parley() as server:
        command = [sys.executable, "-m", "bench.send_cost", "--json", "--pid", str(server.pid), "--url", server.url]
        return figures_of([*command, "--seconds", str(seconds), "--window", str(window)], server, cwd=ROOT)
