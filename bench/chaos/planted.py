"""A web process with a bug planted in it, to prove that the checker finds it. The product has no flag for this.

`python -m bench.chaos.planted PLANT ONE_IN` patches the server and then runs it like `python server.py`. Bugs of
delivery are planted at the last place before the socket, in the frames of one connection, behind everything that could
mend them:

- `drop`: a message is not delivered to a connection, and neither is any `chat:head` of its conversation from then on;
- `twice`: a message is delivered twice;
- `swap`: a message is delivered behind the next one of its conversation.

Others are where they say:

- `hush`: a change of a message is not told;
- `lapse`: a connection that is resumed does not get one of the events that it missed;
- `forget`: a message is acknowledged and told of, and was never stored;
- `keep`: the hold of a cancelled deal is not released.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import server
from bench.chaos.plan import PLANTS
from contract.chat_commands import MESSAGE_UPDATED
from models.messages.store import MessageStore
from models.offers.settlement import Moved, Settlement
from realtime.packets import Outgoing
from realtime.publisher import Publisher
from realtime.recovery import Claim
from realtime.websocket import WebSocketLink

_EVENT = re.compile(rb'42/chat,\["chat:(message|head)",.*?"conversation_id":"([^"]+)"', re.DOTALL)

# What one link does with one event: (event, conversation, frame) → the frames that go out instead.
Treat = Callable[[bytes, bytes, bytes], list[bytes]]


def frames(data: bytes) -> Iterator[bytes]:
    """WebSocket frames of a server, which never masks them."""
    start = 0
    while start < len(data):
        size, head = data[start + 1], 2
        if size >= 126:
            head += 2 if size == 126 else 8
            size = int.from_bytes(data[start + 2 : start + head], "big")
        yield data[start : start + head + size]
        start += head + size


class Plant:
    """How the events of one connection are treated. `lucky` says whether it happens this time."""

    def __init__(self, name: str, lucky: Callable[[], bool]) -> None:
        self._treat: Treat = {"drop": self._drop, "twice": self._twice, "swap": self._swap}[name]
        self._lucky = lucky
        self._silent: set[bytes] = set()
        self._late: dict[bytes, bytes] = {}

    def treat(self, data: bytes) -> bytes:
        out: list[bytes] = []
        for frame in frames(data):
            found = _EVENT.search(frame[:2000])
            out += self._treat(found[1], found[2], frame) if found else [frame]
        return b"".join(out)

    def _drop(self, event: bytes, conversation: bytes, frame: bytes) -> list[bytes]:
        if event == b"head":
            return [] if conversation in self._silent else [frame]
        if self._lucky():
            self._silent.add(conversation)
            return []
        return [frame]

    def _twice(self, event: bytes, conversation: bytes, frame: bytes) -> list[bytes]:
        return [frame, frame] if event == b"message" and self._lucky() else [frame]

    def _swap(self, event: bytes, conversation: bytes, frame: bytes) -> list[bytes]:
        if event == b"head":
            return [frame]
        if conversation in self._late:
            return [frame, self._late.pop(conversation)]
        if self._lucky():
            self._late[conversation] = frame
            return []
        return [frame]


def plant_in_links(name: str, lucky: Callable[[], bool]) -> None:
    write, lost = WebSocketLink.write, WebSocketLink.connection_lost
    plants: dict[int, Plant] = defaultdict(lambda: Plant(name, lucky))

    def planted_write(self: WebSocketLink, data: bytes) -> None:
        if data := plants[id(self)].treat(data):
            write(self, data)

    def planted_lost(self: WebSocketLink, exc: Exception | None) -> None:
        plants.pop(id(self), None)
        lost(self, exc)

    WebSocketLink.write = planted_write  # type: ignore[method-assign]
    WebSocketLink.connection_lost = planted_lost  # type: ignore[method-assign]


def plant_in_store(lucky: Callable[[], bool]) -> None:
    append = MessageStore.append

    async def planted_append(self: MessageStore, documents: list[dict[str, Any]]) -> tuple[int, Any]:
        return (len(documents), None) if lucky() else await append(self, documents)

    MessageStore.append = planted_append  # type: ignore[method-assign]


def plant_in_publisher(lucky: Callable[[], bool]) -> None:
    publish = Publisher.publish

    async def planted_publish(self: Publisher, event: Any, *rest: Any, **more: Any) -> None:
        if event is not MESSAGE_UPDATED or not lucky():
            await publish(self, event, *rest, **more)

    Publisher.publish = planted_publish  # type: ignore[method-assign]


def plant_in_recovery(lucky: Callable[[], bool]) -> None:
    welcome = Claim.welcome

    def planted_welcome(self: Claim, member: Any) -> list[Outgoing] | None:
        missed = welcome(self, member)
        return missed and [packet for packet in missed if not lucky()]

    Claim.welcome = planted_welcome  # type: ignore[method-assign]


def plant_in_settlement(lucky: Callable[[], bool]) -> None:
    settle = Settlement.settle

    async def planted_settle(self: Settlement, offer: Any, action: Any, *rest: Any) -> Moved | None:
        return None if action == "cancel" and lucky() else await settle(self, offer, action, *rest)

    Settlement.settle = planted_settle  # type: ignore[method-assign, assignment]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.chaos.planted", description="A server with a bug in it.")
    parser.add_argument("plant", choices=PLANTS)
    parser.add_argument(
        "one_in", type=int, help="how often: once in so many deliveries, messages, missed events or cancellations"
    )
    options = parser.parse_args()
    chance = random.Random()

    def lucky() -> bool:
        return chance.randrange(options.one_in) == 0

    if options.plant == "forget":
        plant_in_store(lucky)
    elif options.plant == "hush":
        plant_in_publisher(lucky)
    elif options.plant == "lapse":
        plant_in_recovery(lucky)
    elif options.plant == "keep":
        plant_in_settlement(lucky)
    else:
        plant_in_links(options.plant, lucky)
    return server.main()


if __name__ == "__main__":
    sys.exit(main())
