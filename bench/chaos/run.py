"""One run from beginning to end: a cluster, people, faults, healing, and the evidence of it all.

The end has an order that matters. The load stops; what every device knows is read after the server had its time to tell
them, and before anyone asks it anything, since a server that is asked may notice what it forgot to say. Then fresh
clients ask; then what got no answer is repeated; then the history is read for good, and the ledger is proven.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.chaos.calm import QUIET_S
from bench.chaos.device import ASK_TIMEOUT_S, Device
from bench.chaos.evidence import Conversation, Evidence, Repeat
from bench.chaos.faults import Faults
from bench.chaos.fresh import Fresh
from bench.chaos.hostile import Hostile
from bench.chaos.journal import Essence
from bench.chaos.load import Human, Load, Unanswered
from bench.chaos.part import ChaosError
from bench.chaos.plan import Plan
from bench.chaos.processes import Cluster
from bench.chaos.proxy import Proxy
from bench.clients import CommandError, ConnectionDroppedError, Json, Rest
from bench.deals import give_credit
from bench.replay import Dialogue

HOSTILE_LIMITS = "10"  # there are limits, as many people as these do not meet them
CONNECTING_MAX_S = 60.0
TOLD_WITHIN_S = 15.0  # the contract says 10 from a crash; what was killed must be noticed first
EVENTS_SETTLE_S = 3.0
REPEATS_MAX = 200  # of sends that were answered; those that were not are all repeated
EXPIRED_WITHIN_S = 60.0  # a killed worker's jobs are taken over in that time
CUT_EVERY_S = 10.0  # in calm times, those who resume
# A device's transports and whether it resumes, in turn.
WAYS: tuple[tuple[tuple[str, ...], bool], ...] = (
    (("websocket",), False),
    (("websocket",), True),
    (("polling",), False),
    (("websocket",), False),
    (("polling", "websocket"), True),
    (("polling",), True),
)
RESTARTED = ("web-kill", "web-term", "worker-kill", "redis-kill", "redis-master", "redis-node")


@dataclass(frozen=True, slots=True)
class Outcome:
    """`began`: the time of day at which the load began, as logs have it."""

    evidence: Evidence
    began: str
    load_stopped_at: float
    healed_at: float
    given_up: int
    attacks: int
    restarts_needed: int


class Run:
    """`directory` gets what every process prints and every client noted."""

    def __init__(
        self, directory: Path, plan: Plan, seed: int, people: int, command: list[str], processes: int, redis: str,
        hostile: bool,
    ) -> None:  # fmt: skip
        self._plan = plan
        self._seed = seed
        self._people = people
        self.cluster = Cluster(directory, processes, command, redis, HOSTILE_LIMITS if hostile else "0")
        self._hostile = Hostile(self.cluster, seed) if hostile else None
        self._proxies: list[Proxy] = []
        self._of_resuming: list[Proxy] = []
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
            if self._hostile is not None:
                await self._hostile.stop()
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
                    proxy = Proxy(self.cluster.dial, home)
                    await proxy.start()
                    transports, resumes = WAYS[len(self._proxies) % len(WAYS)]
                    self._proxies.append(proxy)
                    if resumes:
                        self._of_resuming.append(proxy)
                    devices.append(Device(f"p{number}-{'ab'[place]}", proxy.url, account, transports, resumes))
                self._humans.append(Human(tuple(devices)))
            await self._give_credit(rest)
            if self._hostile is not None:
                await self._hostile.start(rest)
        async with asyncio.timeout(CONNECTING_MAX_S):
            await asyncio.gather(*(device.connect() for device in self._devices))

    async def _give_credit(self, rest: Rest) -> None:
        name, password = "root@bench.example", secrets.token_urlsafe(16)
        code, printed = await self.cluster.command("-m", "models.users", "create-admin", name, given=password)
        if code != 0:
            raise ChaosError(f"there is no administrator: {printed}")
        root = await rest.login(name, password)
        await give_credit(rest, root.access_token, [human.devices[0] for human in self._humans])

    async def _carry_out(self, dialogues: Sequence[Dialogue]) -> Outcome:
        load = Load(self._humans, list(dialogues), self._seed)
        faults = Faults(self._plan, self.cluster, self._proxies, self._seed)
        began_at, began = time.perf_counter(), datetime.now(UTC).isoformat(timespec="milliseconds")
        load.start()
        await faults.run(began_at)
        healed_at = time.perf_counter()
        await self._calm()
        await load.stop()
        load_stopped_at = time.perf_counter()
        await self._converge(healed_at, load_stopped_at)
        versions = {device.journal.device: dict(device.versions) for device in self._devices}
        offline = [device.journal.device for device in self._devices if not device.up]
        fresh = Fresh(self.cluster, self._humans)
        lacking = await fresh.lacking()
        before, _ = await fresh.history()
        repeats = await self._repeat(load, before)
        await load.dealing.finish(self._seed)
        await asyncio.sleep(EVENTS_SETTLE_S)
        closed_at = time.perf_counter()
        conversations, offers = await self._read(fresh, closed_at)
        evidence = Evidence(
            [device.journal for device in self._devices], conversations, faults.done, began_at, closed_at,
            lacking, offline, repeats, self._ends(), list(load.dealing.steps.values()), load.dealing.repeated, offers,
            await self._books(), load.reacting.done, load.reacting.unsettled, versions,
        )  # fmt: skip
        started = sum(part.starts for part in self.cluster.parts)
        restarts = sum(fault.kind in RESTARTED for fault in faults.done)
        attacks = len(self._hostile.made) if self._hostile is not None else 0
        needed = started - restarts - len(self.cluster.parts)
        return Outcome(evidence, began, load_stopped_at, healed_at, load.given_up, attacks, needed)

    async def _calm(self) -> None:
        """Nothing goes wrong, but that those who resume are cut off now and then and return to any process."""
        chance = random.Random(f"{self._seed} calm")
        until = time.perf_counter() + self._plan.calm_s
        await asyncio.sleep(min(QUIET_S + CUT_EVERY_S / 2, self._plan.calm_s / 2))
        while time.perf_counter() < until - CUT_EVERY_S:
            for proxy in self._of_resuming:
                proxy.home = chance.choice(self.cluster.webs).port
                proxy.cut()
            await asyncio.sleep(CUT_EVERY_S)
        await asyncio.sleep(max(0.0, until - time.perf_counter()))

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

    @staticmethod
    async def _read(fresh: Fresh, closed_at: float) -> tuple[dict[str, Conversation], dict[str, Json]]:
        """A worker has its time to tell of the offers that have expired."""
        while True:
            conversations, offers = await fresh.history()
            told = {step.outcome[0]: step.outcome[2] for one in conversations.values() for step in one.steps}
            late = [name for name, offer in offers.items() if offer["status"] == "expired" != told[name]]
            if not late or time.perf_counter() > closed_at + EXPIRED_WITHIN_S:
                return conversations, offers
            await asyncio.sleep(1)

    async def _books(self) -> list[str]:
        """What is wrong with the ledger."""
        code, printed = await self.cluster.command("-m", "models.ledger", "verify")
        return printed.splitlines() if code != 0 else []

    def _ends(self) -> list[str]:
        for part in self.cluster.parts:
            part.look()
        return [end for part in self.cluster.parts for end in part.ends]

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
