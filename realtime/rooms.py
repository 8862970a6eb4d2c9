"""Who is in which room, and the walk over a room that delivers to it.

Two indexes: room → members and member → its rooms, so that joining, leaving and a connection's end cost what that
connection is in, whatever the number of others. Everything here is synchronous: between a look at a room and the append
to its members' outboxes nothing else runs.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Sequence
from typing import Any

from contract.registry import VOLATILE
from ops.metrics import ENGINE
from realtime.history import History, Source
from realtime.outbox import Flusher
from realtime.packets import Outgoing
from realtime.session import Session


class Member:
    """One connection in one namespace. `sid` is its Socket.IO id; `connected` once its log-in was accepted.

    `attached` is of `realtime.connections`; `kept`, `pid` and `joined` are recovery's. `outlet` has the link that gets
    what is published: the session, or `Held`. There are many of these: nothing stands in one that can be made.
    """

    __slots__ = ("attached", "connected", "handler", "joined", "kept", "outlet", "pid", "rooms", "session", "sid")

    def __init__(self, sid: str, session: Session, handler: Any) -> None:
        self.sid = sid
        self.session = session
        self.outlet: Session | Held | _Nowhere = session
        self.handler = handler
        self.rooms: tuple[str, ...] = ()
        self.attached = self.connected = self.kept = False
        self.pid: str | None = None
        self.joined = 0


class Held:
    """Stands for the session and its link while a member that returns is in its rooms, but not welcomed yet."""

    dirty = True  # nobody is to flush it

    def __init__(self) -> None:
        self.packets: list[Outgoing] = []

    @property
    def link(self) -> Held:
        return self

    def send_latest(self, key: Hashable, packet: Outgoing) -> None:
        self.packets.append(packet)


class _Nowhere:
    """The outlet of a member that has gone and may return: the history keeps what it misses."""

    dirty = True

    @property
    def link(self) -> _Nowhere:
        return self

    @property
    def packets(self) -> _Nowhere:
        return self

    def append(self, packet: Outgoing) -> None:
        ENGINE.deliveries -= 1

    def send_latest(self, key: Hashable, packet: Outgoing) -> None:
        ENGINE.deliveries -= 1


_NOWHERE = _Nowhere()


class _Space:
    """The members and rooms of a namespace."""

    __slots__ = ("members", "rooms")

    def __init__(self) -> None:
        self.members: dict[str, Member] = {}
        self.rooms: dict[str, set[Member]] = {}

    def in_room(self, room: str) -> Collection[Member]:
        """A member's own id is a room of one."""
        found = self.rooms.get(room)
        if found is not None:
            return found
        member = self.members.get(room)
        return () if member is None else (member,)


class Rooms:
    """The rooms of a process. `flusher` writes what `deliver` appends; `history` remembers it."""

    flusher: Flusher
    history: History

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._spaces: dict[str, _Space] = {}

    def admit(self, member: Member) -> None:
        namespace = member.handler.name
        space = self._spaces.get(namespace)
        if space is None:
            space = self._spaces[namespace] = _Space()
        space.members[member.sid] = member
        member.session.members[namespace] = member

    def remove(self, member: Member, from_rooms: bool = True) -> None:
        """Out of the namespace, and all its rooms; or it stays in these as one that nothing is sent to."""
        namespace = member.handler.name
        member.session.members.pop(namespace, None)
        self._spaces[namespace].members.pop(member.sid, None)
        if from_rooms:
            self.leave_all(member)
        else:
            member.outlet = _NOWHERE

    def leave_all(self, member: Member) -> None:
        space = self._spaces[member.handler.name]
        for room in member.rooms:
            self._discard(space, room, member)
        member.rooms = ()

    def rename(self, member: Member, sid: str) -> bool:
        """Gives it another id; False if that is taken."""
        members = self._spaces[member.handler.name].members
        if sid in members:
            return False
        del members[member.sid]
        member.sid = sid
        members[sid] = member
        return True

    def enter(self, sid: str, room: str, namespace: str) -> None:
        """Nothing happens if the connection has gone meanwhile."""
        space = self._spaces.get(namespace)
        member = space.members.get(sid) if space else None
        if space is None or member is None or room in member.rooms:
            return
        member.rooms = (*member.rooms, room)
        members = space.rooms.get(room)
        if members is None:
            space.rooms[room] = {member}
            self.room_opened(room)
        else:
            members.add(member)

    def leave(self, sid: str, room: str, namespace: str) -> bool:
        """False if it was not in it."""
        space = self._spaces.get(namespace)
        member = space.members.get(sid) if space else None
        if space is None or member is None or room not in member.rooms:
            return False
        member.rooms = tuple(one for one in member.rooms if one != room)
        self._discard(space, room, member)
        return True

    def _discard(self, space: _Space, room: str, member: Member) -> None:
        members = space.rooms.get(room)
        if members is not None:
            members.discard(member)
            if not members:
                del space.rooms[room]
                self.room_closed(room)

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Namespace → (its members, its rooms)."""
        return {name: (len(space.members), len(space.rooms)) for name, space in self._spaces.items()}

    def room_opened(self, room: str) -> None:
        """The first member of this process is in it."""

    def room_closed(self, room: str) -> None:
        """The last one has left."""

    async def reach(self, member: Member) -> None:
        """Returns when what other processes publish to the member's rooms comes here, or cannot."""

    def member(self, namespace: str, sid: str) -> Member | None:
        space = self._spaces.get(namespace)
        return space.members.get(sid) if space is not None else None

    def _is_member(self, namespace: str, sid: str) -> bool:
        space = self._spaces.get(namespace)
        return space is not None and sid in space.members

    def origin_here(self, namespace: str, sid: str | None) -> str | None:
        """Whom an event need not be sent to: its origin, unless that is gone and will not get the acknowledgement."""
        return sid if sid is not None and self._is_member(namespace, sid) else None

    def anyone_in(self, namespace: str, rooms: Iterable[str]) -> bool:
        space = self._spaces.get(namespace)
        return space is not None and not space.rooms.keys().isdisjoint(rooms)

    def in_rooms(self, namespace: str, rooms: Iterable[str]) -> Collection[Member]:
        """Everyone in any of the rooms, once."""
        space = self._spaces.get(namespace)
        if space is None:
            return ()
        found = [space.in_room(room) for room in rooms]
        return found[0] if len(found) == 1 else set().union(*found)

    def deliver(
        self, namespace: str, rooms: Sequence[str], packet: Outgoing, skip: str | None, latest: Hashable = None,
        source: Source | None = None,
    ) -> None:  # fmt: skip
        """Puts the packet into the outbox of everyone in the rooms except `skip`. `latest`: see the outbox."""
        # What is said to one connection, of its own log-in, is not for whoever comes after it.
        if self.history.followers and namespace not in VOLATILE and not self._is_member(namespace, rooms[0]):
            self.history.add(namespace, rooms, skip, packet, source)
        members = self.in_rooms(namespace, rooms)
        ENGINE.deliveries += len(members)
        if latest is not None:
            # A copy: whoever is cut off for not reading leaves its rooms.
            for member in tuple(members):
                if member.sid != skip:
                    member.outlet.link.send_latest(latest, packet)
                else:
                    ENGINE.deliveries -= 1
            return
        dirty = self.flusher.dirty
        for member in members:
            link = member.outlet.link
            if member.sid == skip:
                ENGINE.deliveries -= 1
                continue
            # What `link.send` does, without the calls: this line runs for every recipient of everything.
            link.packets.append(packet)
            if not link.dirty:
                link.dirty = True
                dirty.append(link)  # type: ignore[arg-type]  # `Held` is always dirty
        if dirty:
            self.flusher.schedule()
