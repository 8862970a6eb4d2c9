"""Replays human negotiations through real clients and checks that each was told everything once and in order.

`python -m bench.replay FILE [--url URL] [--at-once 50] [--limit N] [--faults] [--admin EMAIL]`. Every dialogue gets a
fresh group conversation of two people. Deals are played as offers (`bench.deals`), on credit if an administrator, whose
password comes from standard input, can give some. Turns go in the file's order and the next speaker waits until the
previous message has reached them, as people do; so a lost message shows up as a silence, a repeat as a second arrival.
Exit code 1 says that some promise was broken. A message that only `chat:sync` brought breaks one too, unless `--faults`
says that connections are being cut meanwhile. The people are a pool registered once, because a registration costs a
password hash.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import json
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from bench.clients import CommandError, ConnectionDroppedError, Json, Person, Rest
from bench.deals import Deals, give_credit
from bench.watching import BROKEN, SEEN_TIMEOUT_S, Tally, Witness, print_summary

REGISTRATIONS_AT_ONCE = 4  # password hashes are the server's CPU; more at once only queue there


ACTIONS = ("Submit-Deal", "Accept-Deal", "Reject-Deal", "Walk-Away")


class Turn(NamedTuple):
    by: int  # 0 or 1: which of the two speaks
    text: str
    action: str | None = None  # of a deal
    deal: Json | None = None


class Dialogue(NamedTuple):
    id: str
    turns: list[Turn]


def load_dialogues(path: Path) -> list[Dialogue]:
    dialogues = []
    for entry in json.loads(path.read_text("utf-8")):
        turns = [
            Turn("ab".index(turn["by"]), say(turn), turn["text"] if turn["text"] in ACTIONS else None, turn.get("deal"))
            for turn in entry["log"]
        ]
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


class Spoken(NamedTuple):
    turn: Turn
    message: Json
    sent_at: float
    again: bool  # acknowledged as a duplicate: a drop had swallowed the first acknowledgement


class Table:
    """Two people who play one dialogue after another."""

    def __init__(self, people: tuple[Person, Person], tally: Tally, run: str, settlement: str) -> None:
        self._people = people
        self._settlement = settlement
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
        deals = Deals(self._people, conversation["id"], self._settlement)
        for index, turn in enumerate(dialogue.turns):
            if spoken:
                await self._wait_seen(pair[turn.by], spoken[-1:])
            said = await self._deal(dialogue, index, deals, pair) if turn.action is not None else None
            if said is None:
                said = await self._speak(dialogue, index, conversation["id"])
                pair[turn.by].hear(said.message, said.again)
            spoken.append(said)
        first = conversation["last_seq"] + 1
        self._tally.out_of_order += [said.message["seq"] - first for said in spoken] != list(range(len(spoken)))
        for seat, witness in enumerate(pair):
            await self._wait_seen(witness, spoken)
            self._compare(witness, seat, spoken)
            told = [_essence(message) for _, message in sorted(witness.messages.items())]
            stored = [_essence(message) for message in await witness.history()]
            self._tally.history_differs += told != stored
        self._tally.offers += len(deals.states)
        self._tally.accepted += sum(status == "accepted" for status in deals.states.values())
        self._tally.wrong_offers += await deals.wrong()
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

    async def _deal(self, dialogue: Dialogue, index: int, deals: Deals, pair: list[Witness]) -> Spoken | None:
        """A step of an offer, of which its own author too is told by an event."""
        turn, sent_at = dialogue.turns[index], time.perf_counter()
        assert turn.action is not None
        step = await deals.act(turn.by, turn.action, turn.deal, f"replay-{self._run}-{dialogue.id}-{index}")
        if step is None:
            return None
        self._tally.messages += 1
        self._tally.acknowledged += 1
        message = await pair[turn.by].step(step.key)
        return Spoken(turn._replace(text=message["text"]), message, sent_at, step.again)

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
                person = Person(rest, account, ("/chat", "/offers"))
                await person.connect()
            progress.update()
            return person

        return await asyncio.gather(*(seat(number) for number in range(count)))


async def replay(
    dialogues: list[Dialogue], url: str, at_once: int, admin: tuple[str, str] | None = None
) -> tuple[Tally, float]:  # fmt: skip
    tally, run, waiting = Tally(), secrets.token_hex(4), iter(dialogues)
    async with Rest(url) as rest:
        people = await _seat_people(rest, 2 * min(at_once, len(dialogues)), run)
        if admin is not None:
            await give_credit(rest, (await rest.login(*admin)).access_token, people)
        settlement = "credit" if admin is not None else "none"
        tables = [Table(pair, tally, run, settlement) for pair in zip(people[::2], people[1::2], strict=True)]
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


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.replay", description="Replay negotiations and check them.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--at-once", type=int, default=50, help="conversations at a time")
    parser.add_argument("--limit", type=int, help="only the first N dialogues")
    parser.add_argument("--faults", action="store_true", help="connections get cut: what sync brings counts as seen")
    parser.add_argument("--admin", metavar="EMAIL", help="who gives credit; the password from standard input")
    options = parser.parse_args()
    admin = (options.admin, getpass.getpass() if sys.stdin.isatty() else input()) if options.admin else None
    dialogues = load_dialogues(options.file)[: options.limit]
    tally, elapsed = asyncio.run(replay(dialogues, options.url, max(1, options.at_once), admin))
    print_summary(tally, elapsed)
    allowed = {"recovered"} if options.faults else set()
    broken = [name.replace("_", " ") for name in BROKEN if name not in allowed and getattr(tally, name)]
    print("broken: " + ", ".join(broken) if broken else "every message was seen once, in order, by both")
    return 1 if broken or tally.dialogues < len(dialogues) else 0


if __name__ == "__main__":
    sys.exit(main())
