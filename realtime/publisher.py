"""`publish`: the one way anything reaches clients.

An event is a declaration of the contract, so its namespace and its name are never spelled here or by callers.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from contract.registry import Event
from ops.metrics import EVENTS_PUBLISHED, PUBLISH_FAILURES

log = logging.getLogger("parley.publisher")


@dataclass(frozen=True, slots=True)
class Order:
    """The place of an event in a sequence that every process must deliver in order. See `realtime.ordering`."""

    key: str
    seq: int
    settled: bool


class Manager(Protocol):
    """What a client manager of `realtime.managers` is to us here."""

    async def emit(
        self, event: str, data: Any, namespace: str, room: Sequence[str], skip_sid: str | None,
        latest: Hashable, order: Order | None, local: bool, everywhere: bool, whole: str | None,
    ) -> None: ...  # fmt: skip


class Publisher:
    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    async def publish(
        self,
        event: Event,
        rooms: Sequence[str],
        payload: msgspec.Struct,
        *,
        origin: str | None = None,
        order: Order | None = None,
        local: bool = False,
        everywhere: bool = False,
        whole: str | None = None,
    ) -> None:
        """Sends `payload` to every connection in `rooms`, once each, except `origin`; `local`: of this process only.

        `everywhere`: by the channel that all processes hear, however few the rooms are. For events whose rooms differ
        from one to the next, while those of a room must stay in order. `whole`: what the event tells the state of. A
        process that gets it late, when others may have told of a newer state, tells of that again; see `Late`.

        Never raises: what is published has already happened, so a failure to tell is logged and counted, and must not
        turn the acknowledgement of a durable change into an error.
        """
        if not rooms:
            return
        EVENTS_PUBLISHED.labels(event.name).inc()
        latest = tuple(getattr(payload, field) for field in event.latest_by) or None
        try:
            await self._manager.emit(
                event.name, payload, event.namespace, rooms, origin, latest, order, local, everywhere, whole
            )
        except Exception:
            PUBLISH_FAILURES.labels(event.name).inc()
            log.exception("publishing %s failed", event.name)
