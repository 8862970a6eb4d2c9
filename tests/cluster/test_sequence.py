"""Many people on two processes write into one conversation at once: one sequence, for everyone, each message once."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.clients import Person
from tests.cluster.test_across import Scene, two_processes
from tests.faults.test_kill import close_all
from tests.support import PATIENCE_S, group

SENDERS = 4
EACH = 50
TOTAL = SENDERS * EACH
Json = dict[str, Any]


class Witness:
    """One connection: the messages it got to know of, by event or by its own acknowledgement, as they came in."""

    def __init__(self, person: Person) -> None:
        self.person = person
        self.by_event: list[Json] = []
        self.all: list[Json] = []
        self.order: list[tuple[int, str]] = []  # seq, and how it was told
        self.full = asyncio.Event()
        person.on("chat:message", self._told)

    def _told(self, payload: Json) -> None:
        self.by_event.append(payload["message"])
        self._note(payload["message"], "event")

    def _note(self, message: Json, how: str) -> None:
        self.all.append(message)
        self.order.append((message["seq"], how))
        if len(self.all) >= TOTAL:
            self.full.set()

    async def send(self, payload: Json) -> Json:
        """The acknowledgement is noted at the moment it arrives, not when this task goes on."""
        acknowledged: asyncio.Future[Json] = asyncio.get_running_loop().create_future()

        def acknowledge(answer: Json) -> None:
            if answer["ok"]:
                self._note(answer["data"]["message"], "ack")
            acknowledged.set_result(answer)

        await self.person._socket.emit("chat:send", payload, namespace="/chat", callback=acknowledge)
        answer = await asyncio.wait_for(acknowledged, 60)
        assert answer["ok"], answer
        data: Json = answer["data"]
        return data


def payloads(conversation: Json, sender: int) -> list[Json]:
    return [
        {"conversation_id": conversation["id"], "client_id": f"s{sender}-{number}", "text": f"{number} of {sender}"}
        for number in range(EACH)
    ]


async def history(person: Person, conversation: Json) -> list[Json]:
    place = {"conversation_id": conversation["id"], "after_seq": 0, "limit": 200}
    page = await person.call("chat:history", place)
    assert page["has_more"] is False
    found: list[Json] = page["messages"]
    return found


def check_witness(witness: Witness, stored: list[Json]) -> None:
    """Each message once; events rise; and with its own acknowledgements in between, all of it rises."""
    assert sorted(message["seq"] for message in witness.all) == list(range(1, TOTAL + 1))
    assert sorted(witness.all, key=lambda message: int(message["seq"])) == stored
    events = [message["seq"] for message in witness.by_event]
    assert events == sorted(events)


async def test_two_hundred_concurrent_sends_make_one_sequence(tmp_path: Path, mongo_url: str, redis_url: str) -> None:
    with two_processes(tmp_path, mongo_url, redis_url) as (a, b):
        scene = Scene(a.url, b.url)
        try:
            await check_sequence(scene)
        finally:
            await close_all(scene.crowd)


async def check_sequence(scene: Scene) -> None:
    places = [scene.a, scene.a, scene.b, scene.b, scene.a, scene.b]
    people = [await scene.person(f"P{number}", url) for number, url in enumerate(places)]
    witnesses = [Witness(person) for person in people]
    conversation = await group(*people)
    sends = [witnesses[sender].send(payload) for sender in range(SENDERS) for payload in payloads(conversation, sender)]
    acked = await asyncio.gather(*sends)
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*[witness.full.wait() for witness in witnesses])
    stored = await history(people[0], conversation)
    assert [message["seq"] for message in stored] == list(range(1, TOTAL + 1))
    assert sorted((answer["message"] for answer in acked), key=lambda message: int(message["seq"])) == stored
    assert not any("duplicate" in answer for answer in acked)
    for witness in witnesses:
        check_witness(witness, stored)
    await check_repeats(scene, people, conversation, stored)
    for witness in witnesses:
        assert len(witness.all) == TOTAL  # nobody was told anything by the repeats
    for witness in witnesses:
        late = [(one, other) for one, other in pairwise(witness.order) if other[0] < one[0]]
        assert late == []


async def check_repeats(scene: Scene, people: list[Person], conversation: Json, stored: list[Json]) -> None:
    """All of them again, each through the other process."""
    by_client_id = {message["client_id"]: message for message in stored}
    others = [scene.b, scene.b, scene.a, scene.a]
    devices = [await scene.device(person.account, url) for person, url in zip(people, others, strict=False)]
    wanted = [(device, payload) for sender, device in enumerate(devices) for payload in payloads(conversation, sender)]
    repeats = await asyncio.gather(*[device.call("chat:send", payload) for device, payload in wanted])
    for (_, payload), repeat in zip(wanted, repeats, strict=True):
        assert repeat == {"message": by_client_id[payload["client_id"]], "duplicate": True}
    assert await history(people[4], conversation) == stored
    assert await history(people[5], conversation) == stored
