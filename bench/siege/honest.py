"""The honest: people who talk, one who logs in every second, and one who connects every second."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from bench.clients import CommandError, ConnectionDroppedError, Person, Rest

PASSWORD = "correct horse battery"
PEOPLE = 8
SEND_EVERY_S = 0.33
OTHERWISE_EVERY_S = 1.0
DEVICE = {"id": "device-of-an-honest-person", "name": "Phone"}


@dataclass
class Waits:
    """Seconds, and how often someone was refused or cut off."""

    sends: list[float] = field(default_factory=list)
    logins: list[float] = field(default_factory=list)
    connects: list[float] = field(default_factory=list)
    refused: int = 0

    @staticmethod
    def quantile(values: list[float], share: float) -> float:
        return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else float("inf")

    async def note(self, waits: list[float], work: Callable[[], Awaitable[object]]) -> None:
        began = time.perf_counter()
        try:
            await work()
        except (CommandError, ConnectionDroppedError, OSError):
            self.refused += 1
        waits.append(time.perf_counter() - began)


async def spend_time(url: str, seconds: float) -> Waits:
    waits = Waits()
    async with Rest(url) as rest:
        accounts = [
            await rest.register(
                f"p{number}.{secrets.token_hex(4)}@siege.example", PASSWORD, f"P {number}", device=DEVICE
            )
            for number in range(PEOPLE + 2)
        ]
        people = [Person(rest, account) for account in accounts[:PEOPLE]]
        for person in people:
            await person.connect()
        others = [one.id for one in accounts[1:]]
        made = {"type": "group", "title": "Siege", "participant_ids": others, "client_id": "s"}
        conversation = (await people[0].call("chat:create", made))["conversation"]["id"]
        until = time.monotonic() + seconds

        async def talk(person: Person) -> None:
            await asyncio.sleep(secrets.randbelow(300) / 1_000)
            while time.monotonic() < until:
                message = {"conversation_id": conversation, "client_id": secrets.token_hex(8), "text": "Forty?"}
                await waits.note(waits.sends, partial(person._attempt, "chat:send", message, "/chat"))
                await asyncio.sleep(SEND_EVERY_S)

        async def log_in() -> None:
            # Of one who does not talk: the oldest of too many log-ins of an account ends.
            body = {"email": accounts[-1].user["email"], "password": PASSWORD, "device": DEVICE}
            while time.monotonic() < until:
                await waits.note(waits.logins, lambda: rest.request("POST", "/api/v1/auth/login", body))
                await asyncio.sleep(OTHERWISE_EVERY_S)

        async def come() -> None:
            while time.monotonic() < until:
                person = Person(rest, accounts[PEOPLE])
                await waits.note(waits.connects, person.connect)
                with suppress(ConnectionDroppedError):  # what it asks for when it is there
                    await person.close()
                await asyncio.sleep(OTHERWISE_EVERY_S)

        await asyncio.gather(*[talk(person) for person in people], log_in(), come())
        for person in people:
            await person.close()
    return waits
