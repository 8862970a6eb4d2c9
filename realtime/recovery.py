"""Connection state recovery, as the official Socket.IO client speaks it (docs/decisions/0013).

A member whose client keeps offsets gets a private id (`pid`) with its CONNECT, and each event an offset behind its
payload. A client that lost its connection comes back with both, to any process, and if the process that had it is there
and remembers everything since, it goes on under its old id, in its old rooms, with exactly what it missed.

    connected --lost--> parked --claimed within RETURN_S, by its user--> connected, here or elsewhere
                        parked --too late, or too much happened--> forgotten

Who returns on another process is asked about there: the new process first enters the rooms, holding what is published
to them, and only then asks the old one to let go and say what was missed. So nothing falls between the two, and what
both have is recognised by its publisher's number. What is not certain to be everything is nothing: the client then
starts afresh, and fetches what it missed (`chat:sync`).
"""

from __future__ import annotations

import hmac
import secrets
import time
from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from hashlib import blake2s
from typing import Any, NamedTuple, Protocol

import msgspec

from ops.metrics import RECOVERY
from ops.tasks import until
from realtime.history import RETURN_S, Delivered, History, Source
from realtime.packets import Outgoing
from realtime.rooms import Held, Member, Rooms

PARKED_MAX = 50_000
PID_MAX = 64
# What one process delivered, another has delivered so much later at most.
SEEN_S = 10.0
COMPLETE_WAIT_S = 1.0
LOOK_EVERY_S = 0.005


class Parted(msgspec.Struct, array_like=True):
    """What a member was when it was last here. `state` is its namespace's own, `joined` when its events began."""

    namespace: str
    sid: str
    user_id: str
    rooms: list[str]
    state: list[str]
    joined: int


class Missed(msgspec.Struct, array_like=True):
    """One missed event: its publisher's number for it, and the packet."""

    source: Source | None
    text: bytes


class Given(NamedTuple):
    """By the process that had it. `seen`: what its client got there lately, which others may deliver a little later."""

    missed: list[Missed]
    seen: list[Source]


class Elsewhere(Protocol):
    """The other processes. None: nobody has it, or nobody says so in time."""

    complete: Callable[[Collection[str]], bool]
    """Everything that was published to the rooms has gone out here."""

    async def find(self, pid: str, namespace: str, user_id: str) -> tuple[str, Parted] | None:
        """(process, what it had)."""
        ...

    async def fetch(self, process: str, pid: str, rooms: list[str], offset: str | None) -> Given | None: ...


@dataclass(slots=True)
class _Place:
    """`member` stays in its rooms, so that what is published to them is remembered here."""

    member: Member
    parted: Parted
    until: float


class Recovery:
    """`end` ends the connection of a member that is still believed to be there. `elsewhere`: None when alone."""

    def __init__(self, rooms: Rooms, history: History, end: Callable[[Member], None]) -> None:
        self.rooms = rooms
        self.history = history
        self._end = end
        self.elsewhere: Elsewhere | None = None
        self._key = secrets.token_bytes(32)
        self._others: dict[str, Member] = {}  # by a private id that is not made of its own
        self._parked: OrderedDict[str, _Place] = OrderedDict()
        RECOVERY.parked = lambda: len(self._parked)

    @property
    def user_ids(self) -> set[str]:
        """Those who have lost a connection and may return."""
        return {place.parted.user_id for place in self._parked.values()}

    # A member's life

    def joined(self, member: Member, since: int | None, anew: bool) -> None:
        """A new member: from here on it can be recovered, or from the number `since`. `anew`: it has an older one's id,
        and must not find its private id again: that would tell the client that it has missed nothing."""
        member.joined = self.history.number if since is None else since
        self.keep(member, f"{member.sid}:{secrets.token_urlsafe(12)}" if anew else None)

    def keep(self, member: Member, pid: str | None = None) -> None:
        """`pid`: another one than is made of its id, of another process perhaps."""
        member.kept, member.pid = True, pid if pid != self._made(member.sid) else None
        if member.pid is not None:
            self._others[member.pid] = member
        self.history.followers += 1

    def pid_of(self, member: Member) -> str | None:
        """By which it may return. Made of its id and of what only this process knows, so that nobody has to keep it."""
        if not member.kept:
            return None
        return member.pid or self._made(member.sid)

    def _made(self, sid: str) -> str:
        return f"{sid}:{urlsafe_b64encode(blake2s(sid.encode(), key=self._key, digest_size=12).digest()).decode()}"

    def left(self, member: Member, user_id: str, state: list[str], may_return: bool) -> bool:
        """It is not a member any more; whether it may come back, and its rooms remember it."""
        pid = self.pid_of(member)
        if pid is None:
            self.rooms.remove(member)
            return False
        member.kept = False
        if self._others.get(pid) is member:
            del self._others[pid]
        self.rooms.remove(member, from_rooms=not may_return)
        if not may_return:
            self.history.followers -= 1
            return False
        parted = Parted(member.handler.name, member.sid, user_id, list(member.rooms), state, member.joined)
        self._parked[pid] = _Place(member, parted, time.monotonic() + RETURN_S)
        self.expire()
        return True

    def expire(self) -> None:
        """Who has not returned in time is forgotten."""
        at = time.monotonic()
        self.history.expire(at)
        while self._parked:
            place = next(iter(self._parked.values()))
            if place.until > at and len(self._parked) <= PARKED_MAX:
                return
            self._parked.popitem(last=False)
            self._forget(place)

    def _forget(self, place: _Place) -> None:
        self.history.followers -= 1
        self.rooms.leave_all(place.member)

    # Coming back

    def look_up(self, pid: str, namespace: str, user_id: str) -> Parted | None:
        """What this user was here under that id. A connection that is still believed to be there is ended."""
        member = self._holder(pid, namespace)
        if member is not None and member.handler.parting(member)[0] == user_id:
            self._end(member)
        self.expire()
        place = self._parked.get(pid)
        if place is None or place.parted.namespace != namespace or place.parted.user_id != user_id:
            return None
        return place.parted

    def _holder(self, pid: str, namespace: str) -> Member | None:
        member = self._others.get(pid) or self.rooms.member(namespace, pid.rpartition(":")[0])
        if member is None or member.handler.name != namespace:
            return None
        known = self.pid_of(member)
        return member if known is not None and hmac.compare_digest(known, pid) else None

    def let_go(self, pid: str, rooms: list[str], offset: str | None) -> tuple[list[Delivered], list[Source]] | None:
        """Forgets it, and says what of these rooms it missed, and got lately; None if that is not certain."""
        place = self._parked.pop(pid, None)
        if place is None:
            return None
        parted = place.parted
        number = self.history.number_of(offset) if offset is not None else None
        # An offset of another process, or of an earlier beginning here, means that nothing was received since.
        after = max(parted.joined, number or 0)
        missed = self.history.since(parted.namespace, {*rooms, parted.sid}, parted.sid, after)
        self._forget(place)
        if missed is None:
            return None
        return missed, self.history.sources(parted.namespace, rooms, after, SEEN_S)

    def claim(self, namespace: str, auth: Any) -> Claim | None:
        """What the data of a CONNECT asks for, if it asks to go on where it was."""
        pid, offset = (auth.get("pid"), auth.get("offset")) if isinstance(auth, dict) else (None, None)
        if not isinstance(pid, str) or not 0 < len(pid) <= PID_MAX or not pid.isascii():
            return None
        return Claim(self, namespace, pid, offset if isinstance(offset, str) else None)


class Claim:
    """One attempt to return: `begin`, then the rooms are entered, then `finish`, and at last `welcome`.

    `close` at its end in any case. From `begin` on the member's `outlet` holds what is published to it.
    """

    def __init__(self, recovery: Recovery, namespace: str, pid: str, offset: str | None) -> None:
        self._recovery = recovery
        self._history = recovery.history
        self._namespace = namespace
        self._pid = pid
        self._offset = offset
        self._process: str | None = None
        self._fetched: Given | None = None
        self._began = 0
        self._held: Held | None = None
        self.parted: Parted | None = None
        self.unseen: list[Outgoing] = []  # what came meanwhile, for a member that begins anew, and since when
        self.unseen_since: int | None = None

    async def begin(self, member: Member, user_id: str) -> Parted | None:
        """What it was, if it is this user's. Its old id is the member's from here on."""
        parted = self._recovery.look_up(self._pid, self._namespace, user_id)
        if parted is None and self._recovery.elsewhere is not None:
            found = await self._recovery.elsewhere.find(self._pid, self._namespace, user_id)
            if found is not None:
                self._process, parted = found
        if parted is None:
            return None
        if not self._recovery.rooms.rename(member, parted.sid):
            return None
        self.parted = parted
        self._held = member.outlet = Held()
        self._history.followers += 1
        self._began = self._history.number
        return parted

    async def finish(self, member: Member) -> None:
        """Asks the process that had it to let go. What others publish to the member's rooms comes here by now."""
        if self.parted is not None and self._process is not None and self._recovery.elsewhere is not None:
            rooms = list(member.rooms)
            self._fetched = await self._recovery.elsewhere.fetch(self._process, self._pid, rooms, self._offset)
            complete = self._recovery.elsewhere.complete
            await until(lambda: complete(rooms), COMPLETE_WAIT_S, LOOK_EVERY_S)  # late here, and sent again

    def welcome(self, member: Member) -> list[Outgoing] | None:
        """Everything it missed up to this moment; None if that cannot be had, and it begins anew.

        Without a pause between this and sending it.
        """
        if self._held is None:
            return None
        held, member.outlet = self._held.packets, member.session
        missed = self._missed(member)
        if missed is None:
            self.unseen, self.unseen_since = held, self._began
            return None
        self._recovery.keep(member, self._pid)
        return missed + [packet for packet in held if not packet.offset]

    def close(self, member: Member) -> None:
        if self._held is not None:
            member.outlet = member.session
            self._history.followers -= 1

    def _missed(self, member: Member) -> list[Outgoing] | None:
        assert self.parted is not None
        history, rooms = self._history, list(member.rooms)
        if self._process is None:
            delivered = self._recovery.let_go(self._pid, rooms, self._offset)
            member.joined = self.parted.joined
            return None if delivered is None else [entry.packet for entry in delivered[0]]
        here = history.since(self._namespace, rooms, self.parted.sid, self._began)
        elsewhere = self._recovery.elsewhere
        if self._fetched is None or here is None or elsewhere is None or not elsewhere.complete(rooms):
            return None
        known = {*self._fetched.seen, *(missed.source for missed in self._fetched.missed)} - {None}
        events = [(missed.source, missed.text) for missed in self._fetched.missed]
        events += [(entry.source, entry.packet.text) for entry in here if entry.source not in known]
        member.joined = history.number
        return [self._number_anew(member.sid, source, text) for source, text in events]

    def _number_anew(self, sid: str, source: Source | None, text: bytes) -> Outgoing:
        """Offsets of this process, so that a client that is cut off again in the middle returns to the right place."""
        packet = Outgoing(text)
        self._history.add(self._namespace, [sid], None, packet, source)
        return packet
