"""What a replay saw: what each person was told of each conversation, and the count of everything."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from bench.clients import Json, Person

SEEN_TIMEOUT_S = 15.0  # the contract tells a connected participant of a missed message within 10 s
HISTORY_PAGE = 200


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
    offers: int = 0
    accepted: int = 0
    wrong_offers: int = 0
    recovered: int = 0  # seen, but by sync rather than by an event
    ack_ms: list[float] = field(default_factory=list)
    delivery_ms: list[float] = field(default_factory=list)


BROKEN = ("missing", "repeated", "out_of_order", "altered", "history_differs", "failed", "wrong_offers", "recovered")


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

    async def step(self, key: tuple[str, int]) -> Json:
        """The message that tells of this step of an offer."""
        async with asyncio.timeout(SEEN_TIMEOUT_S):
            while True:
                for message in self.messages.values():
                    if "offer" in message and (message["offer"]["offer_id"], message["offer"]["version"]) == key:
                        return message
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
