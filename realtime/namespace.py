"""What the engine asks of the handlers of a namespace, and what passes between the two."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from realtime.inbox import Overlapping
from realtime.recovery import Claim
from realtime.rooms import Member


@dataclass(slots=True)
class Incoming:
    """A complete packet of a client. `data` of an event: its name, then its arguments."""

    kind: int
    namespace: str
    number: int | None
    data: Any


class ConnectRefused(Exception):
    """`reason` is the data of the CONNECT_ERROR."""

    def __init__(self, reason: Any) -> None:
        super().__init__(reason)
        self.reason = reason


Reply = msgspec.Struct | list[Any]
Outcome = Reply | Coroutine[Any, Any, Reply | None]


class Namespace(Protocol):
    """What handles the packets of one namespace."""

    name: str
    recovers: bool  # its members may return after a loss, see `realtime.recovery`
    attachments_max: int  # how many binary attachments an event may have

    async def connect(self, member: Member, auth: Any, claim: Claim | None) -> None:
        """Raises ConnectRefused."""
        ...

    def parting(self, member: Member) -> tuple[str, list[str]]:
        """(user, state): what `claim.begin` gives back to it if the client returns."""
        ...

    def disconnect(self, member: Member) -> None: ...

    def overlaps(self, name: str) -> bool:
        """Whether events of this name are `Overlapping`."""
        ...

    def receive(self, member: Member, packet: Incoming) -> Outcome | Overlapping[Reply | None]:
        """The acknowledgement of an event, now or to come; None if `acknowledge` was called already. Never raises."""
        ...
