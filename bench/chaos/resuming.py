"""python-socketio's client with connection state recovery, as the official JavaScript client does it.

With each CONNECT goes the private id of the connection before and the offset of the last event that came. A server that
still has both answers with the same private id, and sends what was missed before anything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import socketio
from socketio import packet


@dataclass(slots=True)
class Place:
    """Where a namespace's events had come to. `resumed`: the last CONNECT went on from there."""

    pid: str
    offset: str | None = None
    resumed: bool = False


class ResumingClient(socketio.AsyncClient):  # type: ignore[misc]
    """For one connection; `places`, by namespace, go from each client to the next.

    The methods are python-socketio's own, which has no other place for this: `tests/faults/test_chaos_device.py` fails
    if one of them is not called any more.
    """

    def __init__(self, places: dict[str, Place], **options: Any) -> None:
        super().__init__(**options)
        self._places = places

    async def _send_packet(self, pkt: packet.Packet) -> None:
        place = self._places.get(pkt.namespace)
        if pkt.packet_type == packet.CONNECT and place is not None:
            pkt.data = {"pid": place.pid, "offset": place.offset, **pkt.data}
        await super()._send_packet(pkt)

    async def _handle_connect(self, namespace: str, data: dict[str, Any]) -> None:
        before, pid = self._places.get(namespace), data.get("pid")
        if pid is None:
            self._places.pop(namespace, None)
        elif before is not None and before.pid == pid:
            before.resumed = True
        else:
            self._places[namespace] = Place(pid, before.offset if before is not None else None)
        await super()._handle_connect(namespace, data)

    async def _handle_event(self, namespace: str, id: int | None, data: list[Any]) -> None:
        place = self._places.get(namespace)
        offset = data.pop() if place is not None and len(data) > 1 and isinstance(data[-1], str) else None
        await super()._handle_event(namespace, id, data)
        if place is not None and offset is not None:
            place.offset = offset
