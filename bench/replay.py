"""Replays human negotiations through real clients and checks that each was told everything once and in order.

`python -m bench.replay FILE [--url URL] [--at-once 50] [--limit N] [--faults]`. Every dialogue gets a fresh group
conversation of two people. Turns go in the file's order and the next speaker waits until the previous message has
reached them, as people do; so a lost message shows up as a silence, a repeat as a second arrival. Exit code 1 says that
some promise was broken. A message that only `chat:sync` brought breaks one too, unless `--faults` says that connections
are being cut meanwhile. The people are a pool registered once, because a registration costs a password hash.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from bench.clients import CommandError, ConnectionDroppedError, Json, Person, Rest

SEEN_TIMEOUT_S = 15.0  # the contract tells a connected participant of a missed message within 10 s
HISTORY_PAGE = 200
REGISTRATIONS_AT_ONCE = 4  # password hashes are the server's CPU; more at once only queue there


class Turn(NamedTuple):
    by: int  # 0 or 1: which of the two speaks
    text: str


class Dialogue(NamedTuple):
    id: str
    turns: list[Turn]


def load_dialogues(path: Path) -> list[Dialogue]:
    dialogues = []
    for entry in json.loads(path.read_text("utf-8")):
        turns = [Turn("ab".index(turn["by"]), say(turn)) for turn in entry["log"]]
        dialogues.append(Dialogue(str(entry["dialogue_id"]), turns))
    return dialogues


def say(turn: Json) -> str:
    """What a person would write for a turn: their words, or an action put into words."""
    match turn["text"]:
        case "Submit-Deal":
            deal = turn["deal"]
            return f"Deal proposed: I take {_goods(deal['proposer_gets'])}; you take {_goods(deal['other_gets'])}."
        case "Accept-Deal":
            return "Deal accepted."
        case "Reject-Deal":
            return "Deal rejected."
        case "Walk-Away":
            return "I am walking away from this deal."
        case text:
            return str(text)


def _goods(share: dict[str, int]) -> str:
    return ", ".join(f"{count} {good}" for good, count in sorted(share.items()) if count) or "nothing"


@dataclass(slots=True)
class Tally:
    """What happened; every field named in `BROKEN` must end at zero."""

    dialogues: int = 0
    messages: int = 0
    acknowledged: int = 0
    seen: int = 0
    missing: int = 0
    repeated: int = 0
    out_of_order: int = 0
    altered: int = 0
    history_differs: int = 0
    failed: int = 0
    recovered: int = 0  # seen, but by sync rather than by an event
    ack_ms: list[float] = field(default_factory=list)
    delivery_ms: list[float] = field(default_factory=list)


BROKEN = ("missing", "repeated", "out_of_order", "altered", "history_differs", "failed", "recovered")


class Witness:
    """What one person saw of one conversation, own messages by acknowledgement and others by event."""

    def __init__(self, person: Person, conversation: Json, tally: Tally) -> None:
        self.person = person
        self.messages: dict[int, Json] = {}
        self.arrived_at: dict[int, float] = {}
        self._conversation_id = conversation["id"]
        self._first_seq = conversation["last_seq"] + 1  # creation itself may have left a system message
        self._tally = tally
        self._fetched: set[int] = set()
        self._news = asyncio.Event()

    def hear(self, message: Json, fetched: bool) -> None:
        seq = message["seq"]
        if message["conversation_id"] != self._conversation_id or seq < self._first_seq:
            return
        if seq in self.messages:
            # An event may cross the fetch that already brought its message; that is no second telling.
            self._tally.repeated += not fetched and seq not in self._fetched
            self._fetched.discard(seq)
            return
        self._tally.out_of_order += not fetched and max(self.messages, default=0) > seq
        if fetched:
            self._tally.recovered += 1
            self._fetched.add(seq)
        self._tally.seen += 1
        self.messages[seq] = message
        self.arrived_at[seq] = time.perf_counter()
        self._news.set()

    async def has_seen(self, seqs: Iterable[int]) -> None:
        wanted = set(seqs)
        while not wanted <= self.messages.keys():
            self._news.clear()
            await self._news.wait()

    async def history(self) -> list[Json]:
        found: list[Json] = []
        last, has_more = self._first_seq - 1, True
        while has_more:
            query = {"conversation_id": self._conversation_id, "after_seq": last, "limit": HISTORY_PAGE}
            page = await self.person.call("chat:history", query)
            found += page["messages"]
            has_more = page["has_more"] and bool(page["messages"])
            last = found[-1]["seq"] if found else last
        return found


class Spoken(NamedTuple):
    turn: Turn
    message: Json
    sent_at: float
    again: bool  # acknowledged as a duplicate: a drop had swallowed the first acknowledgement


class Table:
    """Two people who play one dialogue after another."""

    def __init__(self, people: tuple[Person, Person], tally: Tally, run: str) -> None:
        self._people = people
        self._tally = tally
        self._run = run
        # Kept after a dialogue's end, so that a late repeat is still recognised as one.
        self._witnesses: dict[tuple[int, str], Witness] = {}
        for seat, person in enumerate(people):
            person.on_message(partial(self._hear, seat))

    def _hear(self, seat: int, message: Json, fetched: bool) -> None:
        witness = self._witnesses.get((seat, message["conversation_id"]))
        if witness:
            witness.hear(message, fetched)

    async def play(self, dialogue: Dialogue) -> None:
        conversation = await self._open(dialogue)
        pair = [Witness(person, conversation, self._tally) for person in self._people]
        self._witnesses |= {(seat, conversation["id"]): witness for seat, witness in enumerate(pair)}
        spoken: list[Spoken] = []
        for index, turn in enumerate(dialogue.turns):
            if spoken:
                await self._wait_seen(pair[turn.by], spoken[-1:])
            spoken.append(await self._speak(dialogue, index, conversation["id"]))
            pair[turn.by].hear(spoken[-1].message, spoken[-1].again)
        first = conversation["last_seq"] + 1
        self._tally.out_of_order += [said.message["seq"] - first for said in spoken] != list(range(len(spoken)))
        for seat, witness in enumerate(pair):
            await self._wait_seen(witness, spoken)
            self._compare(witness, seat, spoken)
            told = [_essence(message) for _, message in sorted(witness.messages.items())]
            stored = [_essence(message) for message in await witness.history()]
            self._tally.history_differs += told != stored
        self._tally.dialogues += 1

    async def _open(self, dialogue: Dialogue) -> Json:
        opener, other = self._people
        request = {"type": "group", "participant_ids": [other.account.id], "title": f"Negotiation {dialogue.id}"}
        client_id = f"replay-{self._run}-{dialogue.id}"
        conversation: Json = (await opener.call("chat:create", {**request, "client_id": client_id}))["conversation"]
        for person in self._people:
            person.follow(conversation)
        return conversation

    async def _speak(self, dialogue: Dialogue, index: int, conversation_id: str) -> Spoken:
        turn = dialogue.turns[index]
        client_id = f"replay-{self._run}-{dialogue.id}-{index}"
        payload = {"conversation_id": conversation_id, "client_id": client_id, "text": turn.text}
        self._tally.messages += 1
        reply = await self._people[turn.by].ask("chat:send", payload)
        self._tally.acknowledged += 1
        self._tally.ack_ms.append((reply.acked_at - reply.sent_at) * 1000)
        return Spoken(turn, reply.data["message"], reply.sent_at, reply.data.get("duplicate", False))

    async def _wait_seen(self, witness: Witness, spoken: list[Spoken]) -> None:
        """Give up after a while: the message is then counted missing and the dialogue goes on."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SEEN_TIMEOUT_S):
                await witness.has_seen(said.message["seq"] for said in spoken)

    def _compare(self, witness: Witness, seat: int, spoken: list[Spoken]) -> None:
        for said in spoken:
            seq = said.message["seq"]
            if seq not in witness.messages:
                self._tally.missing += 1
                continue
            self._tally.altered += witness.messages[seq]["text"] != said.turn.text
            if said.turn.by != seat:
                self._tally.delivery_ms.append((witness.arrived_at[seq] - said.sent_at) * 1000)


def _essence(message: Json) -> tuple[Any, ...]:
    return tuple(message[name] for name in ("seq", "id", "sender_id", "client_id", "text"))


async def _seat_people(rest: Rest, count: int, run: str) -> list[Person]:
    gate = asyncio.Semaphore(REGISTRATIONS_AT_ONCE)
    with tqdm(total=count, desc="registering", unit="user") as progress:

        async def seat(number: int) -> Person:
            async with gate:
                email = f"replay-{run}-{number}@bench.example"
                account = await rest.register(email, secrets.token_urlsafe(16), f"Replay {number}")
                person = Person(rest, account)
                await person.connect()
            progress.update()
            return person

        return await asyncio.gather(*(seat(number) for number in range(count)))


async def replay(dialogues: list[Dialogue], url: str, at_once: int) -> tuple[Tally, float]:
    tally, run, waiting = Tally(), secrets.token_hex(4), iter(dialogues)
    async with Rest(url) as rest:
        people = await _seat_people(rest, 2 * min(at_once, len(dialogues)), run)
        tables = [Table(pair, tally, run) for pair in zip(people[::2], people[1::2], strict=True)]
        started = time.perf_counter()
        with tqdm(total=len(dialogues), desc="replaying", unit="talk") as progress:
            await asyncio.gather(*(_keep_playing(table, waiting, tally, progress) for table in tables))
        elapsed = time.perf_counter() - started
        await asyncio.gather(*(person.close() for person in people))
    return tally, elapsed


async def _keep_playing(table: Table, waiting: Iterator[Dialogue], tally: Tally, progress: tqdm[Any]) -> None:
    for dialogue in waiting:
        try:
            await table.play(dialogue)
        except (CommandError, ConnectionDroppedError) as error:
            tally.failed += 1
            tqdm.write(f"dialogue {dialogue.id}: {error}", file=sys.stderr)
        progress.update()


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0.0


def print_summary(tally: Tally, elapsed: float) -> None:
    counts = [name for name in Tally.__slots__ if not name.endswith("_ms")]
    rows = [(name.replace("_", " "), f"{getattr(tally, name):,}") for name in counts]
    rows.append(("messages/s", f"{tally.acknowledged / elapsed:,.0f}"))
    for name, values in (("ack", tally.ack_ms), ("delivery", tally.delivery_ms)):
        rows += [(f"{name} p{share} ms", f"{percentile(values, share / 100):.1f}") for share in (50, 99)]
    rows.append(("elapsed s", f"{elapsed:.1f}"))
    for name, value in rows:
        print(f"{name:<16}{value:>12}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.replay", description="Replay negotiations and check them.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--at-once", type=int, default=50, help="conversations at a time")
    parser.add_argument("--limit", type=int, help="only the first N dialogues")
    parser.add_argument("--faults", action="store_true", help="connections get cut: what sync brings counts as seen")
    options = parser.parse_args()
    dialogues = load_dialogues(options.file)[: options.limit]
    tally, elapsed = asyncio.run(replay(dialogues, options.url, max(1, options.at_once)))
    print_summary(tally, elapsed)
    allowed = {"recovered"} if options.faults else set()
    broken = [name.replace("_", " ") for name in BROKEN if name not in allowed and getattr(tally, name)]
    print("broken: " + ", ".join(broken) if broken else "every message was seen once, in order, by both")
    return 1 if broken or tally.dialogues < len(dialogues) else 0


if __name__ == "__main__":
    sys.exit(main())
