"""Redis stopped under load, then subscribers cut off: what clients lack afterwards, beside stock python-socketio.

`python -m bench.outage [--seconds 30]`. Two processes, people on both who all talk in one room, ten seconds after Redis
has come back. Parley's people fetch what they are told that they lack, as its contract has it; the stock server's have
nobody to ask.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import socketio
from redis.asyncio import Redis

from bench.across import parleys, redis, stocks
from bench.clients import CommandError, Json, Person, Rest
from bench.processes import BenchError, Target, prepare_this_process
from bench.redis_server import RedisServer

PEOPLE = 8
PAUSE_S = 0.05
CALM_S = 2.0
CONVERGED_WITHIN_S = 10.0


@dataclass
class Tally:
    """Who said what, and who has what."""

    said: set[str] = field(default_factory=set)
    heard: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    refused: int = 0
    stopped: bool = False

    def missing(self) -> int:
        return sum(len(self.said - self.heard[person]) for person in range(PEOPLE))


async def talk(tally: Tally, person: int, say: Callable[[str], Any]) -> None:
    number = 0
    while not tally.stopped:
        number += 1
        text = f"{person}-{number}"
        try:
            await say(text)
        except CommandError:
            tally.refused += 1
        else:
            tally.said.add(text)
            tally.heard[person].add(text)  # one's own
        await asyncio.sleep(PAUSE_S)


async def go_through(server: RedisServer, seconds: float, tally: Tally, talks: list[asyncio.Task[None]]) -> float:
    """Seconds until nobody lacked anything after Redis was back; infinite if somebody still does."""
    await asyncio.sleep(CALM_S)
    server.stop()
    await asyncio.sleep(seconds)
    server.start()
    back_at = time.monotonic()
    await asyncio.sleep(CALM_S)
    client: Any = Redis.from_url(server.url)
    await client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    await client.aclose()
    await asyncio.sleep(CALM_S)
    tally.stopped = True
    await asyncio.gather(*talks)
    while tally.missing() and time.monotonic() < back_at + 2 * CALM_S + CONVERGED_WITHIN_S:
        await asyncio.sleep(0.05)
    return time.monotonic() - back_at if not tally.missing() else float("inf")


async def ours(server: RedisServer, targets: tuple[Target, Target], seconds: float) -> tuple[Tally, float]:
    tally = Tally()
    rests = [Rest(target.url) for target in targets]
    people = []
    for number in range(PEOPLE):
        account = await rests[0].register(f"p{number}@outage.example", "correct horse battery", f"P {number}")
        people.append(Person(rests[number % 2], account))
        await people[-1].connect()
    others = [person.account.id for person in people[1:]]
    made = {"type": "group", "title": "Outage", "participant_ids": others, "client_id": "outage"}
    conversation = (await people[0].call("chat:create", made))["conversation"]["id"]

    def hear(number: int, message: Json) -> None:
        if message["kind"] == "text":
            tally.heard[number].add(message["text"])

    talks = []
    for number, person in enumerate(people):
        person.on_message(lambda message, fetched, number=number: hear(number, message))  # type: ignore[misc]

        async def say(text: str, person: Person = person) -> None:
            payload = {"conversation_id": conversation, "client_id": text, "text": text}
            await person._attempt("chat:send", payload, "/chat")

        talks.append(asyncio.create_task(talk(tally, number, say)))
    took_s = await go_through(server, seconds, tally, talks)
    for person in people:
        await person.close()
    for rest in rests:
        await rest.__aexit__()
    return tally, took_s


async def theirs(server: RedisServer, targets: tuple[Target, Target], seconds: float) -> tuple[Tally, float]:
    tally = Tally()
    clients, talks = [], []
    for number in range(PEOPLE):
        client = socketio.AsyncClient(handle_sigint=False)
        client.on("message", lambda data, number=number: tally.heard[number].add(data["text"]), namespace="/chat")
        await client.connect(targets[number % 2].url, transports=["websocket"], namespaces=["/chat"])
        clients.append(client)

        async def say(text: str, client: socketio.AsyncClient = client) -> None:
            await client.call("message", {"text": text}, namespace="/chat", timeout=60)

        talks.append(asyncio.create_task(talk(tally, number, say)))
    took_s = await go_through(server, seconds, tally, talks)
    for client in clients:
        await client.disconnect()
    return tally, took_s


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.outage", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30, help="without Redis")
    options = parser.parse_args()
    prepare_this_process()
    print("| | said and acknowledged | refused | deliveries missing | everyone had everything after Redis's return |")
    print("|---|---|---|---|---|")
    try:
        for name, side, run in (("Parley", parleys, ours), ("stock AsyncRedisManager", stocks, theirs)):
            with redis() as server, side(server.url) as targets:
                tally, took_s = asyncio.run(run(server, targets, options.seconds))
            when = f"{took_s:.1f} s" if took_s < float("inf") else "never"
            expected = len(tally.said) * (PEOPLE - 1)
            print(
                f"| {name} | {len(tally.said)} | {tally.refused} | {tally.missing()} of {expected} | {when} |",
                flush=True,
            )
    except BenchError as error:
        print(f"stopped: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
