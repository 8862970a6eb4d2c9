"""People who react to what was said, and repeat it until it is answered. What was answered is kept.

A reaction changes a message that everyone has already, so no `seq` shows to whoever was not told of it.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from bench.chaos.evidence import Reaction
from bench.clients import CommandError, ConnectionDroppedError

if TYPE_CHECKING:
    from bench.chaos.load import Human, Load

SHARE = 0.3  # of turns
EMOJI = ("👍", "🤝", "🔥")


class Reacting:
    """`done` as they were answered."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._open: set[tuple[str, str, str]] = set()
        self.done: list[Reaction] = []

    @property
    def unsettled(self) -> frozenset[str]:
        """Messages for which someone lacks an answer."""
        return frozenset(message_id for message_id, *_ in self._open)

    async def perhaps(self, chance: random.Random, people: list[Human], conversation: str) -> None:
        """One of them reacts to the last message that their device has."""
        human, emoji = chance.choice(people), chance.choice(EMOJI)
        device = chance.choice(human.devices)
        message = device.latest.get(conversation)
        if chance.random() > SHARE or message is None:
            return
        payload = {"message_id": message.id, "emoji": emoji, "on": True}
        key = message.id, human.id, emoji
        self._open.add(key)
        try:
            answer = await device.until_answered("chat:react", payload, self._load.deadline)
        except (CommandError, ConnectionDroppedError):  # the journal has it
            return
        self._open.discard(key)
        device.learn_version(answer["message"])
        version = answer["message"]["version"]
        self.done.append(Reaction(device.journal.device, human.id, conversation, message, emoji, version))
