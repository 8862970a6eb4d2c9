"""Two who haggle over offers on credit, and often act at the same moment. What was tried is kept with its answer.

A table makes one deal after the other in conversations of its own: an offer, rounds in which the one whose turn it is
answers while the other may withdraw or a second device answers too, and at the end fulfilment or cancellation, or both.
Some offers are left to expire. As with messages, some people repeat a step until they have an answer and the others
repeat it when all is over.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

from bench.chaos.device import ASK_TIMEOUT_S, PATIENT_SHARE, RETRYABLE, Device
from bench.chaos.evidence import Outcome, Step
from bench.clients import OFFERS, CommandError, ConnectionDroppedError, Json
from bench.deals import CURRENCY

if TYPE_CHECKING:
    from bench.chaos.load import Human, Load

DEALS_EACH = 4  # in a conversation
ROUNDS = 3
PAUSE_S = (0.1, 0.6)
LEFT_SHARE = 0.15  # of offers that nobody answers
LEFT_FOR_S = 2
PRICES = (1_000, 60_000)
REPEATS_MAX = 100


class Dealing:
    """`steps` by client_id, as they stand; `repeated` when all is over."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._tried: dict[str, tuple[Device, str, Json]] = {}
        self.steps: dict[str, Step] = {}
        self.repeated: list[Step] = []

    async def table(self, chance: random.Random) -> None:
        while not self._load.stopping:
            both = chance.sample(self._load.humans, 2)
            name, conversation = await self._load.open(chance, both)
            for number in range(DEALS_EACH):
                if conversation is not None and not self._load.stopping:
                    await self._deal(chance, both, conversation, f"{name}-{number}")

    async def _deal(self, chance: random.Random, both: list[Human], conversation: str, name: str) -> None:
        seller, buyer = both
        left = chance.random() < LEFT_SHARE
        offer = {
            "conversation_id": conversation, "side": "sell", "to_user_id": buyer.id, "settlement": "credit",
            "items": _items(chance), **({"expires_in_s": LEFT_FOR_S} if left else {}),
        }  # fmt: skip
        key = await self._step(chance, seller, f"{name}-create", "create", offer)
        for number in range(ROUNDS):
            await asyncio.sleep(chance.uniform(*PAUSE_S))
            state = await self._look(seller, key) if key is not None and not left else None
            if state is None or state["status"] != "pending" or self._load.stopping:
                break
            mine = {"offer_id": state["id"], "version": state["version"]}
            turn, other = (seller, buyer) if state["awaiting_user_id"] == seller.id else (buyer, seller)
            action = chance.choice(("accept", "accept", "counter", "counter", "decline"))
            answer = {**mine, **({"items": _items(chance)} if action == "counter" else {})}
            moves = [self._step(chance, turn, f"{name}-{number}", action, answer)]
            if chance.random() < 0.3:
                moves.append(self._step(chance, other, f"{name}-{number}-back", "withdraw", mine))
            if chance.random() < 0.3:
                moves.append(self._step(chance, turn, f"{name}-{number}-too", "accept", mine))
            await asyncio.gather(*moves)
        if key is not None and not left:
            await self._settle(chance, both, key, name)

    async def _settle(self, chance: random.Random, both: list[Human], key: str, name: str) -> None:
        state = await self._look(both[0], key)
        if state is None or state["status"] != "accepted" or self._load.stopping:
            return
        mine = {"offer_id": state["id"], "version": state["version"]}
        part = {"amount": chance.randint(1, state["total"]["amount"])} if chance.random() < 0.4 else {}
        moves = [
            self._step(chance, both[0], f"{name}-done", "fulfil", {**mine, **part}),
            self._step(chance, both[1], f"{name}-off", "cancel", mine),
        ]
        await asyncio.gather(*chance.choice((moves, moves[:1], moves[1:], [])))
        for move in moves:
            move.close()  # those that were not chosen

    async def _look(self, human: Human, offer_id: str) -> Json | None:
        try:
            data = await human.devices[0].until_answered("offer:get", {"offer_id": offer_id}, self._deadline, OFFERS)
        except (CommandError, ConnectionDroppedError):  # the journal has it
            return None
        offer: Json = data["offer"]
        return offer

    @property
    def _deadline(self) -> float:
        return self._load.deadline

    async def _step(
        self, chance: random.Random, human: Human, client_id: str, action: str, payload: Json
    ) -> str | None:  # fmt: skip
        """The id of the offer, if that is known."""
        device, patient = chance.choice(human.devices), chance.random() < PATIENT_SHARE
        command = f"offer:{action}" if action in ("create", "fulfil", "cancel") else "offer:respond"
        named = {**payload, "client_id": client_id, **({"action": action} if command == "offer:respond" else {})}
        self._tried[client_id] = device, command, named
        at, conversation = time.perf_counter(), str(payload.get("conversation_id", ""))
        self.steps[client_id] = Step(at, device.journal.device, human.id, conversation, client_id, action)
        await self._ask(client_id, self._deadline if patient else 0.0)
        answer = self.steps[client_id].answer
        return answer[0] if answer is not None else None

    async def _ask(self, client_id: str, deadline: float) -> Step:
        """Takes the step, once at least, and keeps what came of it."""
        device, command, payload = self._tried[client_id]
        step = self.steps[client_id]._replace(answer=None, refused="")
        try:
            data = await device.until_answered(command, payload, deadline, OFFERS)
        except ConnectionDroppedError:
            return step
        except CommandError as error:
            step = step._replace(refused="" if error.code in RETRYABLE else error.code)
        else:
            step = step._replace(answer=_outcome(data["offer"]), conversation=data["offer"]["conversation_id"])
        self.steps[client_id] = step
        return step

    async def finish(self, seed: int) -> None:
        """Repeats what got no answer, and some of what did: the same answer is to come again."""
        for step in list(self.steps.values()):
            if not step.known:
                await self._ask(step.client_id, time.perf_counter() + ASK_TIMEOUT_S)
        answered = [step for step in self.steps.values() if step.answer is not None]
        for step in random.Random(seed).sample(answered, min(REPEATS_MAX, len(answered))):
            self.repeated.append(await self._ask(step.client_id, time.perf_counter() + ASK_TIMEOUT_S))
            self.steps[step.client_id] = step


def _outcome(offer: Json) -> Outcome:
    return offer["id"], offer["version"], offer["status"]


def _items(chance: random.Random) -> list[Json]:
    price = {"amount": chance.randint(*PRICES), "currency": CURRENCY}
    return [{"title": "Water", "quantity": chance.randint(1, 3), "unit_price": price}]
