"""kill -9 of the web process under a load of acknowledged sends, again and again on one DATA_DIR."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

from bench.clients import Account, CommandError, ConnectionDroppedError, Person
from tests.support import Crowd, Process, group

ROUNDS = 5
SENDERS = 4
Json = dict[str, Any]


class Load:
    """What was sent over all rounds: `acked` by client_id, and `unanswered`, of which nobody knows yet."""

    def __init__(self, conversation_id: str) -> None:
        self.conversation_id = conversation_id
        self.acked: dict[str, Json] = {}
        self.unanswered: dict[str, Account] = {}

    def payload(self, client_id: str) -> Json:
        return {"conversation_id": self.conversation_id, "client_id": client_id, "text": f"this is {client_id}"}

    async def send_until_cut(self, person: Person, name: str, enough: asyncio.Event, limit: int) -> None:
        """One send after the other, four at a time, until the connection drops; `enough` once `limit` were acked."""
        for number in range(100_000):
            client_ids = [f"{name}-{number}-{lane}" for lane in range(4)]
            answers = await asyncio.gather(*[self._send(person, client_id) for client_id in client_ids])
            if len(self.acked) >= limit:
                enough.set()
            if not all(answers):
                return

    async def _send(self, person: Person, client_id: str) -> bool:
        try:
            reply = await person._attempt("chat:send", self.payload(client_id), "/chat")
        except (ConnectionDroppedError, CommandError):
            self.unanswered[client_id] = person.account
            return False
        self.acked[client_id] = reply.data["message"]
        return True


async def close_all(crowd: Crowd) -> None:
    """Also what a client that was trying to come back to a dead server leaves open. Used by other files too."""
    await crowd.close()
    for person in crowd._people:
        session = person._socket.eio.http
        if session is not None and not session.closed:
            await session.close()


async def whole_history(person: Person, conversation_id: str) -> list[Json]:
    messages: list[Json] = []
    while True:
        after = messages[-1]["seq"] if messages else 0
        page = await person.call("chat:history", {"conversation_id": conversation_id, "after_seq": after, "limit": 200})
        messages += page["messages"]
        if not page["has_more"]:
            return messages


async def check(load: Load, crowd: Crowd, people: list[Person]) -> None:
    """Nothing acknowledged is lost, nothing is doubled, the sequence is whole; then the unanswered are sent again."""
    listed = (await people[0].call("chat:sync", {"cursors": {}}))["conversations"]
    assert [entry["conversation"]["id"] for entry in listed] == [load.conversation_id]
    history = await whole_history(people[0], load.conversation_id)
    assert [message["seq"] for message in history] == list(range(1, len(history) + 1))
    assert listed[0]["conversation"]["last_seq"] == len(history)
    stored = {message["client_id"]: message for message in history}
    assert len(stored) == len(history)
    for client_id, message in load.acked.items():
        assert stored[client_id] == message
    senders = {person.account.id: person for person in people}
    for client_id, account in load.unanswered.items():
        again = await senders[account.id].call("chat:send", load.payload(client_id))
        assert again.get("duplicate", False) is (client_id in stored)
        if client_id in stored:
            assert again["message"] == stored[client_id]
        load.acked[client_id] = again["message"]
    load.unanswered.clear()
    assert len(await whole_history(people[0], load.conversation_id)) == len(load.acked)


async def test_no_acknowledged_message_is_lost_and_none_is_doubled(tmp_path: Path) -> None:
    process = Process(tmp_path, RATE_LIMIT_SCALE="0").start()
    chance = random.Random(20260301)
    try:
        crowd = Crowd(process.url)
        people = [await crowd.person(f"P{number}", ("/chat",)) for number in range(SENDERS)]
        accounts = [person.account for person in people]
        load = Load((await group(*people))["id"])
        for number in range(ROUNDS):
            enough = asyncio.Event()
            limit = len(load.acked) + chance.randint(20, 120)
            sending = [
                asyncio.create_task(load.send_until_cut(person, f"r{number}-p{index}", enough, limit))
                for index, person in enumerate(people)
            ]
            await asyncio.wait_for(enough.wait(), 60)
            process.kill()
            await asyncio.gather(*sending)
            assert load.unanswered
            await close_all(crowd)
            process.start()
            crowd = Crowd(process.url)
            people = [await crowd.connect(account, ("/chat",)) for account in accounts]
            await check(load, crowd, people)
        assert len(load.acked) > ROUNDS * 20
        await close_all(crowd)
    finally:
        process.kill()
