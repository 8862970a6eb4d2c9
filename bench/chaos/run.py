"""One run from beginning to end: a cluster, people, faults, healing, and the evidence of it all.

The end has an order that matters. The load stops; what every device knows is read after the server had its time to tell
them, and before anyone asks it anything, since a server that is asked may notice what it forgot to say. Then fresh
clients ask; then unanswered sends are repeated; then the history is read for good.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import socketio

from bench.chaos.device import RETRYABLE, Device
from bench.chaos.evidence import Conversation, Evidence, Lacking, Repeat
from bench.chaos.faults import Faults
from bench.chaos.journal import Essence
from bench.chaos.load import Human, Load, Unanswered
from bench.chaos.plan import Plan
from bench.chaos.processes import ChaosError, Cluster
from bench.chaos.proxy import Proxy
from bench.clients import CommandError, ConnectionDroppedError, Json, Person, Rest
from bench.replay import Dialogue

CONNECTING_MAX_S = 60.0
TOLD_WITHIN_S = 15.0  # the contract says 10 from a crash; what was killed must be noticed first
EVENTS_SETTLE_S = 3.0
REPEATS_MAX = 200  # of sends that were answered; those that were not are all repeated
PAGE = 200
ASK_TIMEOUT_S = 60.0
FRESH_TRIES = 10


@dataclass(frozen=True, slots=True)
class Outcome:
    """`began`: the time of day at which the load began, as logs have it."""

    evidence: Evidence
    began: str
    load_stopped_at: float
    healed_at: float
    given_up: int
    restarts_needed: int


class Run:
    """`directory` gets what every process prints and every client noted."""

    def __init__(self, directory: Path, plan: Plan, seed: int, people: int, command: list[str], processes: int) -> None:
        self._plan = plan
        self._seed = seed
        self._people = people
        self.cluster = Cluster(directory, processes, command)
        self._proxies: list[Proxy] = []
        self._humans: list[Human] = []

    @property
    def _devices(self) -> list[Device]:
        return [device for human in self._humans for device in human.devices]

    async def perform(self, dialogues: Sequence[Dialogue]) -> Outcome:
        try:
            await self.cluster.start()
            await self._gather_people()
            return await self._carry_out(dialogues)
        finally:
            await asyncio.gather(*(device.close() for device in self._devices), return_exceptions=True)
            for proxy in self._proxies:
                await proxy.stop()
            await self.cluster.stop()

    async def _gather_people(self) -> None:
        """Every second person has a second device, on another process."""
        run, homes = secrets.token_hex(3), len(self.cluster.webs)
        async with Rest(self.cluster.url()) as rest:
            for number in range(self._people):
                email = f"chaos-{run}-{number}@bench.example"
                account = await rest.register(email, secrets.token_urlsafe(16), f"Person {number}")
                devices = []
                for place in range(1 + number % 2):
                    home = self.cluster.webs[(number + place) % homes].port
                    proxy = Proxy(partial(self.cluster.dial, home), home)
                    await proxy.start()
                    self._proxies.append(proxy)
                    devices.append(Device(f"p{number}-{'ab'[place]}", proxy.url, account))
                self._humans.append(Human(tuple(devices)))
        async with asyncio.timeout(CONNECTING_MAX_S):
            await asyncio.gather(*(device.connect() for device in self._devices))

    async def _carry_out(self, dialogues: Sequence[Dialogue]) -> Outcome:
        load = Load(self._humans, list(dialogues), self._seed)
        faults = Faults(self._plan, self.cluster, self._proxies, self._seed)
        began_at, began = time.perf_counter(), datetime.now(UTC).isoformat(timespec="milliseconds")
        load.start()
        await faults.run(began_at)
        healed_at = time.perf_counter()
        await asyncio.sleep(self._plan.calm_s)
        await load.stop()
        load_stopped_at = time.perf_counter()
        await self._converge(healed_at, load_stopped_at)
        offline = [device.journal.device for device in self._devices if not device.up]
        lacking = await self._ask_what_is_lacking()
        before = await self._history()
        repeats = await self._repeat(load, before)
        await asyncio.sleep(EVENTS_SETTLE_S)
        closed_at = time.perf_counter()
        evidence = Evidence(
            [device.journal for device in self._devices], await self._history(), faults.done, began_at, closed_at,
            lacking, offline, repeats, self._ends(),
        )  # fmt: skip
        started = sum(part.starts for part in (*self.cluster.webs, self.cluster.redis))
        restarts = sum(fault.kind in ("web-kill", "web-term", "redis-kill") for fault in faults.done)
        needed = started - restarts - len(self.cluster.webs) - 1
        return Outcome(evidence, began, load_stopped_at, healed_at, load.given_up, needed)

    async def _converge(self, healed_at: float, load_stopped_at: float) -> None:
        """Gives the server its time. No shorter, since there may be messages that no client knows of."""
        earliest = max(healed_at + TOLD_WITHIN_S, load_stopped_at + EVENTS_SETTLE_S)
        latest = max(healed_at, load_stopped_at) + TOLD_WITHIN_S
        while (now := time.perf_counter()) < latest and (now < earliest or not self._agreed()):
            await asyncio.sleep(0.1)

    def _agreed(self) -> bool:
        """Whether the devices of all who are in a conversation have as much as any of them has."""
        furthest: dict[str, int] = {}
        for device in self._devices:
            for conversation, seq in device.cursors.items():
                furthest[conversation] = max(seq, furthest.get(conversation, 0))
        return all(
            device.up and not device.lacking() and all(seq == furthest[name] for name, seq in device.cursors.items())
            for device in self._devices
        )

    def _ends(self) -> list[str]:
        parts = (*self.cluster.webs, self.cluster.redis)
        for part in parts:
            part.look()
        return [end for part in parts for end in part.ends]

    # What a fresh client sees

    async def _fresh(self, human: Human) -> Person:
        for _ in range(FRESH_TRIES):
            person = Person(Rest(self.cluster.url()), human.devices[0].account)
            try:
                await person.connect()
            except (CommandError, socketio.exceptions.ConnectionError):
                await leave(person)
                await asyncio.sleep(1)
            else:
                return person
        raise ChaosError("after all was healed, a fresh client cannot connect")

    async def _ask_what_is_lacking(self) -> list[Lacking]:
        """By each device's own cursors, on a connection that is not the device's."""
        cursors = {device.journal.device: dict(device.cursors) for device in self._devices}
        found: list[Lacking] = []
        for human in self._humans:
            person = await self._fresh(human)
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

    async def _history(self) -> dict[str, Conversation]:
        """Every conversation that anyone is in, read whole by one of them."""
        found: dict[str, Conversation] = {}
        for human in self._humans:
            person = await self._fresh(human)
            try:
                for listed in await self._listed(person):
                    if listed["id"] not in found:
                        members = frozenset(member["user_id"] for member in listed["participants"])
                        messages = tuple(await self._messages(person, listed["id"]))
                        found[listed["id"]] = Conversation(listed["id"], members, listed["last_seq"], messages)
            finally:
                await leave(person)
        return found

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
    async def _messages(person: Person, conversation: str) -> list[Essence]:
        found: list[Essence] = []
        while True:
            after = found[-1].seq if found else 0
            query = {"conversation_id": conversation, "after_seq": after, "limit": PAGE}
            page = await ask(person, "chat:history", query)
            found += [Essence.of(message) for message in page["messages"]]
            if not page["has_more"] or not page["messages"]:
                return found

    # Repeating

    async def _repeat(self, load: Load, before: dict[str, Conversation]) -> list[Repeat]:
        """All that got no answer, and some of what did."""
        stored = {
            (message.sender_id, message.client_id): message
            for conversation in before.values()
            for message in conversation.messages
        }
        answered = list(load.answered.values())
        chosen = random.Random(self._seed).sample(answered, min(REPEATS_MAX, len(answered)))
        repeats = []
        for send in [*load.unanswered.values(), *chosen]:
            sender = send.device.account.id
            repeats.append(await self._repeat_one(send, stored.get((sender, send.payload["client_id"]))))
        return repeats

    @staticmethod
    async def _repeat_one(send: Unanswered, was_there: Essence | None) -> Repeat:
        sender, payload = send.device.account.id, send.payload
        place = (sender, payload["conversation_id"], payload["client_id"], was_there)
        try:
            deadline = time.perf_counter() + ASK_TIMEOUT_S
            data = await send.device.until_answered("chat:send", payload, deadline)
        except (CommandError, ConnectionDroppedError) as error:
            return Repeat(*place, None, False, str(error))
        return Repeat(*place, Essence.of(data["message"]), data.get("duplicate", False))


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
