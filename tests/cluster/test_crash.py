"""kill -9 of one of two processes: its people go on at the other and miss nothing."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from bench.clients import CommandError, ConnectionDroppedError, Person
from tests.cluster.test_across import Scene, two_processes
from tests.faults.test_kill import close_all
from tests.support import PATIENCE_S, Heard, Process, group

OFFLINE_WITHIN_S = 45.0
TOLD_WITHIN_S = PATIENCE_S
Json = dict[str, Any]


class Sender:
    """Sends one message after the other until the connection drops or it is told to stop."""

    def __init__(self, person: Person, conversation: Json) -> None:
        self.person = person
        self.id = conversation["id"]
        self.acked: dict[str, Json] = {}
        self.unanswered: Json | None = None
        self.stopped = False
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        number = 0
        while not self.stopped:
            number += 1
            client_id = f"{self.person.account.id}-{number}"
            payload = {"conversation_id": self.id, "client_id": client_id, "text": f"this is {number}"}
            try:
                reply = await self.person._attempt("chat:send", payload, "/chat")
            except (ConnectionDroppedError, CommandError):
                self.unanswered = payload
                return
            self.acked[client_id] = reply.data["message"]

    async def until(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.acked) < count:
                await asyncio.sleep(0.005)


async def whole_history(person: Person, conversation_id: str, after: int = 0) -> list[Json]:
    messages: list[Json] = []
    while True:
        place = {"conversation_id": conversation_id, "after_seq": after, "limit": 200}
        page = await person.call("chat:history", place)
        messages += page["messages"]
        if not page["has_more"]:
            return messages
        after = messages[-1]["seq"]


async def missed_by(person: Person, cursors: dict[str, int]) -> list[Json]:
    """What chat:sync returns over all its pages."""
    messages: list[Json] = []
    cursors = dict(cursors)
    while True:
        page = await person.call("chat:sync", {"cursors": cursors})
        for entry in page["conversations"]:
            messages += entry["messages"]
            if entry["messages"]:
                cursors[entry["conversation"]["id"]] = entry["messages"][-1]["seq"]
        if not page["more"] and not any(entry["has_more"] for entry in page["conversations"]):
            return messages


async def test_after_a_kill_nothing_is_missed_and_the_lost_are_offline(
    tmp_path: Path, mongo_url: str, redis_url: str
) -> None:
    with two_processes(tmp_path, mongo_url, redis_url) as (a, b):
        scene = Scene(a.url, b.url)
        try:
            await check_kill(scene, a)
        finally:
            await close_all(scene.crowd)


async def check_kill(scene: Scene, a: Process) -> None:
    ada, cleo, ben = [
        await scene.person(name, url) for name, url in (("Ada", scene.a), ("Cleo", scene.a), ("Ben", scene.b))
    ]
    status = Heard(ben, "user:status_change")
    conversation = await group(ada, cleo, ben)
    await ben.call("presence:subscribe", {"user_ids": [ada.account.id, cleo.account.id]})
    senders = [Sender(person, conversation) for person in (ada, cleo, ben)]
    await senders[0].until(60)
    a.kill()
    killed_at = time.monotonic()
    await asyncio.gather(senders[0].task, senders[1].task)
    await senders[2].until(len(senders[2].acked) + 20)
    cursor = ada.cursors[conversation["id"]]
    returned = await scene.device(ada.account, scene.b)
    senders[2].stopped = True
    await senders[2].task
    assert senders[2].unanswered is None

    history = await whole_history(ben, conversation["id"])
    assert [message["seq"] for message in history] == list(range(1, len(history) + 1))
    assert cursor < len(history)
    assert await missed_by(returned, {conversation["id"]: cursor}) == history[cursor:]
    await check_nothing_lost(senders, returned, history)
    async with asyncio.timeout(TOLD_WITHIN_S):
        while ben.cursors[conversation["id"]] < len(history):
            await asyncio.sleep(0.05)
    left_s = OFFLINE_WITHIN_S - (time.monotonic() - killed_at)
    await status.wait("user:status_change", left_s, user_id=cleo.account.id, status="offline")
    assert ("offline", ada.account.id) not in [(told["status"], told["user_id"]) for _, told in status.all]
    seen = await ben.call("presence:subscribe", {"user_ids": [ada.account.id, cleo.account.id]})
    assert {told["user_id"]: told["status"] for told in seen["presences"]} == {
        ada.account.id: "online", cleo.account.id: "offline",
    }  # fmt: skip


async def check_nothing_lost(senders: list[Sender], returned: Person, history: list[Json]) -> None:
    stored = {message["client_id"]: message for message in history}
    for sender in senders:
        for client_id, message in sender.acked.items():
            assert stored[client_id] == message
    unanswered = senders[0].unanswered
    assert unanswered is not None
    again = await returned.call("chat:send", unanswered)
    assert again.get("duplicate", False) is (unanswered["client_id"] in stored)
