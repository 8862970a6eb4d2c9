"""Fills a running server, through its public API only, with a cast of traders and real negotiations between them.

`python -m bench.seed [--url URL]`. Twice gives the same as once: e-mails are fixed and every create and send carries a
`client_id` made from the dialogue, so the server recognises repeats. The cast shares one documented password; it is
for demonstrations and must never be used on a server that strangers can reach.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path

import aiohttp
from tqdm import tqdm

from bench.clients import Account, CommandError, ConnectionDroppedError, Json, Person, Rest
from bench.deals import Deals, Step
from bench.replay import Dialogue, load_dialogues

DIALOGUES = Path(__file__).parent / "data" / "casino_valid.json"
PASSWORD = "Parley-demo-2026"
# (first name, family name, role, business)
CAST = (
    ("Amara", "Okafor", "vendor", "Okafor Outfitters"),
    ("Ravi", "Menon", "user", "Malabar Trail Stores"),
    ("Lena", "Lindqvist", "vendor", "Lindqvist Timber & Firewood"),
    ("Tomas", "Herrera", "user", "Herrera Camp Supply"),
    ("Mei", "Tanaka", "vendor", "Tanaka Provisions"),
    ("Yusuf", "Demir", "user", "Demir Expedition Hire"),
    ("Grace", "Mbeki", "vendor", "Clearspring Water Co."),
    ("Olivier", "Laurent", "user", "Laurent Refuges"),
    ("Hana", "Kowalska", "vendor", "Kowalska Dry Goods"),
    ("Sam", "Whitaker", "user", "Whitaker Scout Camps"),
)
SITES = ("Cedar Lake", "Pine Ridge", "Eagle Pass", "Fox Hollow", "Granite Bay", "Heron Marsh")
OCCASIONS = ("Spring stock", "Summer camp", "Weekend order", "Autumn resupply", "Winter reserve")
REACTIONS = ("👍", "🤝", "🎉", "😀")
UNREAD_EVERY = 5  # each fifth conversation keeps its last messages unread for one of the two
UNREAD_MESSAGES = 3


def email_of(first_name: str) -> str:
    return f"{first_name.lower()}@parley.example"


async def enter(rest: Rest) -> list[Person]:
    people = []
    for first, family, role, business in tqdm(CAST, desc="cast", unit="user"):
        account: Account = await rest.register_or_login(
            email_of(first), PASSWORD, f"{first} {family}", role=role, business=business
        )
        person = Person(rest, account, ("/chat", "/offers"))
        await person.connect()
        people.append(person)
    return people


def plan(dialogues: list[Dialogue], people: list[Person]) -> list[tuple[Dialogue, str, tuple[Person, Person]]]:
    """Give every dialogue its own title and pair; the stride spreads each person's talks over the list."""
    pairs = list(combinations(people, 2))
    stride = 7  # shares no factor with the 45 pairs, so no pair comes twice
    planned = []
    for index, dialogue in enumerate(dialogues):
        round_, place = divmod(index, len(OCCASIONS) * len(SITES))
        title = f"{OCCASIONS[place % len(OCCASIONS)]} for {SITES[place // len(OCCASIONS)]}"
        pair = pairs[index * stride % len(pairs)]
        planned.append((dialogue, title if not round_ else f"{title} ({round_ + 1})", pair))
    return planned


async def seed_dialogue(index: int, dialogue: Dialogue, title: str, pair: tuple[Person, Person]) -> Counter[str]:
    added: Counter[str] = Counter()
    request = {"type": "group", "participant_ids": [pair[1].account.id], "title": title}
    created = await pair[0].call("chat:create", {**request, "client_id": f"seed-{dialogue.id}"})
    conversation_id = created["conversation"]["id"]
    added["conversations"] += not created.get("duplicate", False)
    sent: list[Json] = []
    deals = Deals(pair, conversation_id)
    for number, turn in enumerate(dialogue.turns):
        client_id = f"seed-{dialogue.id}-{number}"
        step = await deals.act(turn.by, turn.action, turn.deal, client_id) if turn.action is not None else None
        if step is not None:
            added["offers"] += turn.action == "Submit-Deal" and not step.again
            answer: Json = {"message": await _message_of(pair[0], conversation_id, step), "duplicate": step.again}
        else:
            payload = {"conversation_id": conversation_id, "client_id": client_id, "text": turn.text}
            answer = await pair[turn.by].call("chat:send", payload)
        added["messages"] += not answer.get("duplicate", False)
        sent.append(answer["message"])
        if turn.action == "Accept-Deal" and not answer.get("duplicate", False):
            emoji = REACTIONS[index % len(REACTIONS)]
            await pair[1 - turn.by].call("chat:react", {"message_id": sent[-1]["id"], "emoji": emoji, "on": True})
            added["reactions"] += 1
    last_speaker = dialogue.turns[-1].by
    for seat, person in enumerate(pair):
        unread = UNREAD_MESSAGES if index % UNREAD_EVERY == 0 and seat != last_speaker else 0
        mark = sent[-1 - unread]["seq"]
        await person.call("chat:read", {"conversation_id": conversation_id, "seq": mark})
    return added


async def _message_of(person: Person, conversation_id: str, step: Step) -> Json:
    """The message that tells of a step."""
    page = await person.call("chat:history", {"conversation_id": conversation_id, "after_seq": 0, "limit": 200})
    for message in reversed(page["messages"]):
        if "offer" in message and (message["offer"]["offer_id"], message["offer"]["version"]) == step.key:
            found: Json = message
            return found
    raise CommandError({"code": "not_found", "message": "a step of an offer has no message"})


async def seed(url: str) -> Counter[str]:
    added: Counter[str] = Counter()
    async with Rest(url) as rest:
        people = await enter(rest)
        try:
            planned = plan(load_dialogues(DIALOGUES), people)
            # One after another, so that the newest activity is the same conversation on every server.
            for index, (dialogue, title, pair) in enumerate(tqdm(planned, desc="conversations", unit="talk")):
                added += await seed_dialogue(index, dialogue, title, pair)
        finally:
            await asyncio.gather(*(person.close() for person in people))
    return added


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.seed", description="Fill a running server with a demo.")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    options = parser.parse_args()
    try:
        added = asyncio.run(seed(options.url))
    except (CommandError, ConnectionDroppedError, aiohttp.ClientError) as error:
        print(f"stopped: {error}", file=sys.stderr)
        return 1
    print(
        ", ".join(f"{added[name]} {name}" for name in ("conversations", "messages", "offers", "reactions")) + " added"
    )
    print(f"\n{'e-mail':<28}{'name':<20}{'role':<9}business")
    for first, family, role, business in CAST:
        print(f"{email_of(first):<28}{first + ' ' + family:<20}{role:<9}{business}")
    print(f"\npassword for all: {PASSWORD}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
