"""What a client notes of a run, in the order in which it happened. The checker reads nothing else of the clients.

Times are of the harness's `perf_counter`, the same for all. A connection is known by its number on its device: every
reconnection has a new one.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any, Literal, NamedTuple

Json = dict[str, Any]


class Essence(NamedTuple):
    """What a message is to everyone: equal for all who were told of it, or something was altered."""

    seq: int
    id: str
    sender_id: str
    client_id: str
    text: int  # a checksum of it

    @classmethod
    def of(cls, message: Json) -> Essence:
        text = zlib.crc32(message["text"].encode())
        return cls(message["seq"], message["id"], message["sender_id"], message["client_id"] or "", text)


class Up(NamedTuple):
    """Connected: from here on every event is to come, or from the connection on that it `continues`."""

    at: float
    connection: int
    continues: int = 0


class Down(NamedTuple):
    at: float
    connection: int
    reason: str


class Sent(NamedTuple):
    """One attempt to send a message."""

    at: float
    connection: int
    conversation: str
    client_id: str


class Acked(NamedTuple):
    """Its acknowledgement; `sent_at` is of the attempt that got it."""

    at: float
    connection: int
    conversation: str
    message: Essence
    duplicate: bool
    sent_at: float


class Heard(NamedTuple):
    """The event `chat:message`, as it came."""

    at: float
    connection: int
    conversation: str
    message: Essence


class Head(NamedTuple):
    """The event `chat:head`, as it came."""

    at: float
    connection: int
    conversation: str
    last_seq: int


class Handed(NamedTuple):
    """Given to the application: once for each message, in the order of the conversation."""

    at: float
    connection: int
    conversation: str
    message: Essence
    by: Literal["event", "fetch", "ack"]


class Changed(NamedTuple):
    """A message has a higher version than it was known to have."""

    at: float
    connection: int
    conversation: str
    seq: int
    version: int


class Failed(NamedTuple):
    """A command that was refused or got no answer, or a connection that could not be made."""

    at: float
    connection: int
    what: str
    code: str


Record = Up | Down | Sent | Acked | Heard | Head | Handed | Changed | Failed


class Journal:
    """Everything one device of one person noted."""

    def __init__(self, device: str, user_id: str, resumes: bool = False) -> None:
        self.device = device
        self.user_id = user_id
        self.resumes = resumes
        self.records: list[Record] = []

    def lives(self) -> dict[int, int]:
        """Connection → the first one of its life, which goes on as long as each was resumed by the next."""
        first: dict[int, int] = {}
        for record in self.records:
            if isinstance(record, Up):
                first[record.connection] = first.get(record.continues, record.connection)
        return first

    def write(self, path: Path, since: float) -> None:
        """One JSON array a line, the time in seconds after `since`."""
        with path.open("w") as lines:
            for record in self.records:
                fields = [type(record).__name__.lower(), round(record.at - since, 4), *record[1:]]
                lines.write(json.dumps(fields) + "\n")
