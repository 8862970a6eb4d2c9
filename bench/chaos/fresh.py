"""What fresh clients see when all is over: what the devices lack, every history, every offer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

import socketio

from bench.chaos.device import ASK_TIMEOUT_S, RETRYABLE
from bench.chaos.evidence import Change, Conversation, Lacking, StoredStep
from bench.chaos.journal import Essence
from bench.chaos.load import Human
from bench.chaos.part import ChaosError
from bench.chaos.processes import Cluster
from bench.clients import CHAT, OFFERS, CommandError, Json, Person, Rest

PAGE = 200
TRIES = 10


class Fresh:
    def __init__(self, cluster: Cluster, humans: Sequence[Human]) -> None:
        self._cluster = cluster
        self._humans = humans

    async def _person(self, human: Human) -> Person:
        for _ in range(TRIES):
            person = Person(Rest(self._cluster.url()), human.devices[0].account, (CHAT, OFFERS))
            try:
                await person.connect()
            except (CommandError, socketio.exceptions.ConnectionError):
                await leave(person)
                await asyncio.sleep(1)
            else:
                return person
        raise ChaosError("after all was healed, a fresh client cannot connect")

    async def lacking(self) -> list[Lacking]:
        """By each device's own cursors, on a connection that is not the device's."""
        devices = [device for human in self._humans for device in human.devices]
        cursors = {device.journal.device: dict(device.cursors) for device in devices}
        found: list[Lacking] = []
        for human in self._humans:
            person = await self._person(human)
            try:
                for device in human.devices:
                    name = device.journal.device
                    found += [Lacking(name, *lack) for lack in await self._beyond(person, cursors[name])]
            finally:
                await leave(person)
        return found

    @staticmethod
    async def _beyond(person: Person, known: dict[str, int]) -> list[tuple[str, int, int]]:
        """(conversation, known, end) of those that go further."""
        found: list[tuple[str, int, int]] = []
        more = True
        while more:
            page = await ask(person, "chat:sync", {"cursors": known})
            for entry in page["conversations"]:
                name, end = entry["conversation"]["id"], entry["conversation"]["last_seq"]
                if end > known.get(name, 0):
                    found.append((name, known.get(name, 0), end))
                known[name] = end
            more = page["more"]
        return found

    async def history(self) -> tuple[dict[str, Conversation], dict[str, Json]]:
        """Every conversation that anyone is in, read whole by one of them, and the offers in them."""
        found: dict[str, Conversation] = {}
        offers: dict[str, Json] = {}
        for human in self._humans:
            person = await self._person(human)
            try:
                for listed in await self._listed(person):
                    if listed["id"] in found:
                        continue
                    conversation = found[listed["id"]] = await self._read(person, listed)
                    for offer_id in {step.outcome[0] for step in conversation.steps}:
                        offers[offer_id] = (await ask(person, "offer:get", {"offer_id": offer_id}))["offer"]
            finally:
                await leave(person)
        return found, offers

    @staticmethod
    async def _listed(person: Person) -> list[Json]:
        found: list[Json] = []
        cursor = None
        while True:
            page = await ask(person, "chat:list", {"limit": PAGE, "cursor": cursor})
            found += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return found

    @staticmethod
    async def _read(person: Person, listed: Json) -> Conversation:
        messages: list[Essence] = []
        steps: list[StoredStep] = []
        changes: dict[str, Change] = {}
        while True:
            after = messages[-1].seq if messages else 0
            query = {"conversation_id": listed["id"], "after_seq": after, "limit": PAGE}
            page = await ask(person, "chat:history", query)
            messages += [Essence.of(message) for message in page["messages"]]
            steps += [StoredStep.of(message) for message in page["messages"] if message["kind"] == "offer"]
            changes |= {message["id"]: Change.of(message) for message in page["messages"] if message["version"] > 1}
            if not page["has_more"] or not page["messages"]:
                members = frozenset(member["user_id"] for member in listed["participants"])
                return Conversation(listed["id"], members, listed["last_seq"], tuple(messages), tuple(steps), changes)


async def ask(person: Person, command: str, payload: Json) -> Json:
    """Everything is up: what fails now for long is a failure of the run."""
    deadline = time.perf_counter() + ASK_TIMEOUT_S
    while True:
        try:
            return await person.call(command, payload)
        except CommandError as error:
            if error.code not in RETRYABLE or time.perf_counter() > deadline:
                raise ChaosError(f"after all was healed, {command} fails: {error}") from error
        await asyncio.sleep(1)


async def leave(person: Person) -> None:
    with suppress(Exception):
        await person.close()
    await person._rest.__aexit__()
