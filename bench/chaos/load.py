"""The people and what they say: real dialogues, between two who answer each other and in groups that talk at once.

A dialogue gets a conversation of its own, so most conversations have fallen silent long before the run ends: what was
lost at the end of one shows no gap later, and only the server can tell of it. Some people repeat what got no answer
until it has one; the others go on, and repeat it when everything is up again.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, repeat

from bench.chaos.dealing import Dealing
from bench.chaos.device import PATIENT_SHARE, Device
from bench.chaos.reacting import Reacting
from bench.clients import CHAT, CommandError, ConnectionDroppedError, Json
from bench.replay import Dialogue, Turn

PAUSE_S = (0.05, 0.3)
GROUP_MIN, GROUP_MAX = 5, 20
TALKERS = 3  # in a group, at the same time
IN_PIECES_SHARE = 0.15  # of turns said in several messages that are sent without waiting
SEEN_TRIES = 40  # of a second each; then a dialogue is given up
LAST_ANSWERS_S = 15.0
_SENTENCES = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True, slots=True)
class Human:
    """Someone with one or two devices, each with a process of its own that it prefers."""

    devices: tuple[Device, ...]

    @property
    def id(self) -> str:
        return self.devices[0].account.id


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A send whose outcome its sender does not know."""

    device: Device
    payload: Json


class Load:
    """`unanswered` by client_id, `answered` likewise with the acknowledgement's data. `dealing` has the offers."""

    def __init__(self, humans: list[Human], dialogues: list[Dialogue], seed: int) -> None:
        self.humans = humans
        self._dialogues: Iterator[Dialogue] = chain.from_iterable(repeat(dialogues))
        self._seed = seed
        self._count = 0
        self.stopping = False
        self.deadline = float("inf")
        self._tasks: list[asyncio.Task[None]] = []
        self.unanswered: dict[str, Unanswered] = {}
        self.answered: dict[str, Unanswered] = {}
        self.given_up = 0
        self.dealing = Dealing(self)
        self.reacting = Reacting(self)

    def start(self) -> None:
        pairs, groups = max(1, len(self.humans) // 3), max(1, len(self.humans) // 12)
        for number in range(pairs + groups):
            chance = random.Random(f"{self._seed} table {number}")
            work = self._pairs(chance) if number < pairs else self._groups(chance)
            self._tasks.append(asyncio.create_task(work))
        for number in range(pairs // 3 + 1):
            chance = random.Random(f"{self._seed} dealers {number}")
            self._tasks.append(asyncio.create_task(self.dealing.table(chance)))

    async def stop(self) -> None:
        """Nobody begins to say anything; what is under way may still be answered for a while."""
        self.stopping = True
        self.deadline = time.perf_counter() + LAST_ANSWERS_S
        _, late = await asyncio.wait(self._tasks, timeout=LAST_ANSWERS_S)
        for task in late:
            task.cancel()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    async def _pairs(self, chance: random.Random) -> None:
        """Two who wait for each other's words."""
        while not self.stopping:
            both, dialogue = chance.sample(self.humans, 2), next(self._dialogues)
            name, conversation = await self.open(chance, both)
            last = 0
            for number, turn in enumerate(dialogue.turns):
                if self.stopping or conversation is None:
                    break
                speaker = chance.choice(both[turn.by].devices)
                if not await self._hears(speaker, conversation, last):
                    break
                await asyncio.sleep(chance.uniform(*PAUSE_S))
                said, _ = await asyncio.gather(
                    self._say(chance, speaker, conversation, f"{name}-{number}", turn.text),
                    self.reacting.perhaps(chance, both, conversation),
                )
                last = max([last, *said])

    async def _hears(self, speaker: Device, conversation: str, seq: int) -> bool:
        """Waits for what the other one said; not for ever, and not beyond the end of the load."""
        for _ in range(SEEN_TRIES):
            if await speaker.has(conversation, seq, timeout_s=1.0):
                return True
            if self.stopping:
                return False
        self.given_up += 1
        return False

    async def _groups(self, chance: random.Random) -> None:
        """Several talk at once, and nobody waits."""
        while not self.stopping:
            size = min(chance.randint(GROUP_MIN, GROUP_MAX), len(self.humans))
            people, dialogue = chance.sample(self.humans, size), next(self._dialogues)
            name, conversation = await self.open(chance, people)
            if conversation is not None:
                turns = iter(enumerate(dialogue.turns))
                talks = [self._talk(chance, people, conversation, name, turns) for _ in range(TALKERS)]
                await asyncio.gather(*talks)

    async def _talk(
        self,
        chance: random.Random,
        people: list[Human],
        conversation: str,
        name: str,
        turns: Iterator[tuple[int, Turn]],
    ) -> None:
        for number, turn in turns:
            if self.stopping:
                return
            await asyncio.sleep(chance.uniform(*PAUSE_S))
            device = chance.choice(chance.choice(people).devices)
            await asyncio.gather(
                self._say(chance, device, conversation, f"{name}-{number}", turn.text),
                self.reacting.perhaps(chance, people, conversation),
            )

    async def open(self, chance: random.Random, people: list[Human]) -> tuple[str, str | None]:
        """(a name for what is said in it, the id of a new conversation), or None where that failed."""
        self._count += 1
        name = f"chaos-{self._count}"
        others = [human.id for human in people[1:]]
        payload = {"type": "group", "participant_ids": others, "title": name, "client_id": name}
        device = chance.choice(people[0].devices)
        try:
            data = await device.until_answered("chat:create", payload, self.deadline)
        except (CommandError, ConnectionDroppedError):  # the journal has it
            return name, None
        return name, str(data["conversation"]["id"])

    async def _say(
        self, chance: random.Random, device: Device, conversation: str, client_id: str, text: str
    ) -> list[int]:
        """The places of what was acknowledged of it."""
        pieces = _SENTENCES.split(text.strip()) if chance.random() < IN_PIECES_SHARE else [text]
        patient = chance.random() < PATIENT_SHARE
        payloads = [
            {"conversation_id": conversation, "client_id": f"{client_id}-{index}", "text": piece}
            for index, piece in enumerate(pieces)
        ]
        seqs = await asyncio.gather(*(self._send(device, payload, patient) for payload in payloads))
        return [seq for seq in seqs if seq]

    async def _send(self, device: Device, payload: Json, patient: bool) -> int:
        """The place of the message, or 0 if that is not known."""
        unanswered = self.unanswered[payload["client_id"]] = Unanswered(device, payload)
        try:
            if patient:
                data = await device.until_answered("chat:send", payload, self.deadline)
            else:
                data = (await device._attempt("chat:send", payload, CHAT)).data
        except (CommandError, ConnectionDroppedError):  # the journal has it
            return 0
        del self.unanswered[payload["client_id"]]
        self.answered[payload["client_id"]] = unanswered
        return int(data["message"]["seq"])
