"""Who is in which room, and the walk over a room that delivers to it.

Two indexes: room → members and member → its rooms, so that joining, leaving and a connection's end cost what that
connection is in, whatever the number of others. Everything here is synchronous: between a look at a room and the append
to its members' outboxes nothing else runs.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable
from typing import Any

from ops.metrics import ENGINE
from realtime.outbox import Flusher
from realtime.packets import Outgoing
from realtime.session import Session


class Member:
    """One connection in one namespace. `sid` is its Socket.IO id; `connected` once its log-in was accepted."""

    __slots__ = ("connected", "handler", "rooms", "session", "sid")

    def __init__(self, sid: str, session: Session, handler: Any) -> None:
        self.sid = sid
        self.session = session
        self.handler = handler
        self.rooms: list[str] = []
        self.connected = False


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
    """The rooms of a process. `flusher` writes what `deliver` appends."""

    flusher: Flusher

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

    def remove(self, member: Member) -> None:
        """Out of the namespace and all its rooms."""
        namespace = member.handler.name
        member.session.members.pop(namespace, None)
        space = self._spaces[namespace]
        space.members.pop(member.sid, None)
        for room in member.rooms:
            self._discard(space, room, member)
        member.rooms = []

    def enter(self, sid: str, room: str, namespace: str) -> None:
        """Nothing happens if the connection has gone meanwhile."""
        space = self._spaces.get(namespace)
        member = space.members.get(sid) if space else None
        if space is None or member is None or room in member.rooms:
            return
        member.rooms.append(room)
        members = space.rooms.get(room)
        if members is None:
            space.rooms[room] = {member}
            self.room_opened(room)
        else:
            members.add(member)

    def leave(self, sid: str, room: str, namespace: str) -> None:
        space = self._spaces.get(namespace)
        member = space.members.get(sid) if space else None
        if space is not None and member is not None and room in member.rooms:
            member.rooms.remove(room)
            self._discard(space, room, member)

    def _discard(self, space: _Space, room: str, member: Member) -> None:
        members = space.rooms.get(room)
        if members is not None:
            members.discard(member)
            if not members:
                del space.rooms[room]
                self.room_closed(room)

    def room_opened(self, room: str) -> None:
        """The first member of this process is in it."""

    def room_closed(self, room: str) -> None:
        """The last one has left."""

    async def reach(self, member: Member) -> None:
        """Returns when what other processes publish to the member's rooms comes here, or cannot."""

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
        self, namespace: str, rooms: Iterable[str], packet: Outgoing, skip: str | None, latest: Hashable = None
    ) -> None:
        """Puts the packet into the outbox of everyone in the rooms except `skip`. `latest`: see the outbox."""
        members = self.in_rooms(namespace, rooms)
        ENGINE.deliveries += len(members)
        if latest is not None:
            # A copy: whoever is cut off for not reading leaves its rooms.
            for member in tuple(members):
                if member.sid != skip:
                    member.session.link.send_latest(latest, packet)
                else:
                    ENGINE.deliveries -= 1
            return
        dirty = self.flusher.dirty
        for member in members:
            link = member.session.link
            if member.sid == skip:
                ENGINE.deliveries -= 1
                continue
            # What `link.send` does, without the calls: this line runs for every recipient of everything.
            link.packets.append(packet)
            if not link.dirty:
                link.dirty = True
                dirty.append(link)
        if dirty:
            self.flusher.schedule()
