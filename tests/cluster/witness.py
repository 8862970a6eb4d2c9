"""A person who notes when it was cut off and when it came back, and sends all the while."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from bench.clients import CommandError, Person

Json = dict[str, Any]


class Witness(Person):
    """`cut` and `back`: moments on this process's `monotonic`. `refused`: what connects were answered."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.cut: list[float] = []
        self.back: list[float] = []
        self.refused: list[Json] = []
        self.acked: dict[str, Json] = {}
        self.told: list[int] = []
        self.on("system:draining", lambda payload: self.told.append(payload["retry_after_ms"]))
        self._sending = True

    def _connected(self, namespace: str) -> None:
        super()._connected(namespace)
        if self._online.is_set():
            self.back.append(time.monotonic())

    def _dropped(self, reason: str) -> None:
        if self._online.is_set():
            self.cut.append(time.monotonic())
        super()._dropped(reason)

    def _refused(self, namespace: str, error: Any) -> None:
        super()._refused(namespace, error)
        if isinstance(error, dict) and "data" in error:  # by a server, and not by a proxy or the network
            self.refused.append(error["data"])

    async def send_on(self, conversation: Json, pause_s: float) -> None:
        """One message after the other, each until it is acknowledged; whatever is no reason to try again is raised."""
        number = 0
        while self._sending:
            number += 1
            client_id = f"{self.account.id}-{number}"
            payload = {"conversation_id": conversation["id"], "client_id": client_id, "text": f"this is {number}"}
            while True:
                try:
                    self.acked[client_id] = (await self.call("chat:send", payload))["message"]
                    break
                except CommandError as error:
                    if error.code != "unavailable" or error.retry_after_ms is None:
                        raise
                    await asyncio.sleep(error.retry_after_ms / 1000)
            await asyncio.sleep(pause_s)

    def enough(self) -> None:
        self._sending = False

    async def returns(self, times: int) -> None:
        """Until it has come back so often."""
        async with asyncio.timeout(60):
            while len(self.back) <= times:
                await asyncio.sleep(0.02)


def slots_of(moments: list[float], slot_s: float = 0.1) -> set[int]:
    return {int(moment / slot_s) for moment in moments}
