"""Clients of Parley's public contract: a `Person` who holds one live connection, beside `bench.rest`.

Nothing here imports the server, so what works for these clients works for anyone who has read the contract. A `Person`
does what a good application does: waits when told `rate_limited` or `over_capacity`, repeats after a drop what got no
answer, renews its token when warned, and fetches by `chat:sync` whatever it missed.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import socketio

from bench.rest import Account, CommandError, Json, Patience, Rest

__all__ = ["Account", "CommandError", "ConnectionDroppedError", "Json", "Person", "Reply", "Rest"]

EventListener = Callable[[Json], None]
MessageListener = Callable[[Json, bool], None]  # (message, fetched): fetched by sync rather than told by an event

CHAT = "/chat"
OFFERS = "/offers"
ACK_TIMEOUT_S = 30.0
RETURN_TIMEOUT_S = 60.0
GAP_GRACE_S = 1.0  # an own acknowledgement may overtake another's event for a moment; that is not yet a gap
NAMESPACE_OF = {"notification": "/system", "offer": OFFERS}  # the others are named as their commands


class ConnectionDroppedError(Exception):
    """The connection ended or stayed silent before the acknowledgement came: the outcome is unknown."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An acknowledgement, and when its last attempt left and came back on this process's `perf_counter`."""

    data: Json
    sent_at: float
    acked_at: float


class Person:
    """An account with one live connection to the chosen namespaces, over the transports of Engine.IO in this order."""

    transports: tuple[str, ...] = ("websocket",)

    def __init__(self, rest: Rest, account: Account, namespaces: tuple[str, ...] = (CHAT,)) -> None:
        self.account = account
        self.cursors: dict[str, int] = {}  # conversation -> everything up to this seq is known here
        self._rest = rest
        self._namespaces = namespaces
        self._ahead: dict[str, set[int]] = defaultdict(set)  # seqs known above a gap
        self._event_listeners: dict[str, list[EventListener]] = defaultdict(list)
        self._message_listeners: list[MessageListener] = []
        self._waiting: set[asyncio.Future[tuple[Json, float]]] = set()
        self._tasks: dict[str, asyncio.Task[Any]] = {}
        self._online = asyncio.Event()
        self._refusals: dict[str, Json] = {}
        self._welcome_at = 0.0
        self._greeted = False
        self._socket = socketio.AsyncClient(handle_sigint=False, reconnection_delay=0.5, reconnection_delay_max=5)
        for namespace in namespaces:
            self._socket.on("*", partial(self._hear, namespace), namespace=namespace)
            self._socket.on("connect", partial(self._connected, namespace), namespace=namespace)
            self._socket.on("connect_error", partial(self._refused, namespace), namespace=namespace)
            self._socket.on("disconnect", self._dropped, namespace=namespace)

    async def connect(self) -> None:
        # Functions, because each reconnection asks again: the token may be newer, and a refusal may have said when.
        how = {"auth": lambda: {"token": self.account.access_token}, "wait_timeout": ACK_TIMEOUT_S}
        names, patience = list(self._namespaces), Patience()
        while True:
            self._refusals.clear()
            try:
                await self._socket.connect(self._where, transports=list(self.transports), namespaces=names, **how)
                return
            except socketio.exceptions.ConnectionError:
                if not self._refusals:
                    raise
            await patience.wait(CommandError(next(iter(self._refusals.values()))))

    async def _where(self) -> str:
        """The address, which is asked before every attempt: the moment to wait as long as the last refusal said."""
        await asyncio.sleep(self._welcome_at - time.monotonic())
        return self._rest.url

    async def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await self._socket.shutdown()

    async def drop(self) -> None:
        """Cut the connection as a lost network does; it comes back by itself and catches up."""
        await self._socket.eio.ws.close()

    def on(self, event: str, listener: EventListener) -> None:
        self._event_listeners[event].append(listener)

    def on_message(self, listener: MessageListener) -> None:
        self._message_listeners.append(listener)

    def follow(self, conversation: Json) -> None:
        """Take a conversation as read up to now, so that only later messages count as missed."""
        self.cursors[conversation["id"]] = max(self.cursors.get(conversation["id"], 0), conversation["last_seq"])

    async def call(self, command: str, payload: Json, namespace: str | None = None) -> Json:
        return (await self.ask(command, payload, namespace)).data

    async def ask(self, command: str, payload: Json, namespace: str | None = None) -> Reply:
        prefix = command.partition(":")[0]
        where, patience = namespace or NAMESPACE_OF.get(prefix, f"/{prefix}"), Patience()
        while True:
            try:
                return await self._attempt(command, payload, where)
            except CommandError as error:
                await patience.wait(error)
            except ConnectionDroppedError:  # any command may be repeated: by nature, or by its client_id
                if not patience.lasts() or not await self._back_online():
                    raise

    async def _back_online(self) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._online.wait(), RETURN_TIMEOUT_S)
        return self._online.is_set()

    async def sync(self) -> None:
        """Fetch all that was missed and hand it to the message listeners, oldest first."""
        more = True
        while more:
            page = await self.call("chat:sync", {"cursors": dict(self.cursors)})
            for entry in page["conversations"]:
                for message in entry["messages"]:
                    self._learn(message, fetched=True)
            more = page["more"] and any(entry["messages"] for entry in page["conversations"])  # or it would not end

    async def _attempt(self, command: str, payload: Json, namespace: str) -> Reply:
        acknowledged: asyncio.Future[tuple[Json, float]] = asyncio.get_running_loop().create_future()

        def acknowledge(answer: Json) -> None:
            if not acknowledged.done():
                acknowledged.set_result((answer, time.perf_counter()))

        self._waiting.add(acknowledged)
        sent_at = time.perf_counter()
        try:
            await self._socket.emit(command, payload, namespace=namespace, callback=acknowledge)
            answer, acked_at = await asyncio.wait_for(acknowledged, ACK_TIMEOUT_S)
        except socketio.exceptions.BadNamespaceError:
            raise ConnectionDroppedError(f"{command}: not connected to {namespace}") from None
        except TimeoutError:
            raise ConnectionDroppedError(f"{command}: no acknowledgement within {ACK_TIMEOUT_S:.0f} s") from None
        finally:
            self._waiting.discard(acknowledged)
        if not answer["ok"]:
            raise CommandError(answer["error"])
        if command == "chat:send":
            self._learn(answer["data"]["message"], fetched=None)
        return Reply(answer["data"], sent_at, acked_at)

    def _hear(self, namespace: str, event: str, payload: Json) -> None:
        if event == "chat:message":
            self._learn(payload["message"], fetched=False)
        elif event == "chat:head" and payload["last_seq"] > self.cursors.get(payload["conversation_id"], 0):
            self._start("sync", self._close_gap(payload["conversation_id"], payload["last_seq"]))
        elif event == "auth:expiring":
            self._start("renew", self._renew(namespace))
        for listener in self._event_listeners.get(event, ()):
            listener(payload)

    def _learn(self, message: Json, fetched: bool | None) -> None:
        """Note one more known message; `fetched=None` is an own one, which its caller has in hand already."""
        conversation, seq = message["conversation_id"], message["seq"]
        cursor, ahead = self.cursors.get(conversation, 0), self._ahead[conversation]
        ahead.add(seq)
        while cursor + 1 in ahead:
            cursor += 1
        self._ahead[conversation] = {later for later in ahead if later > cursor}
        self.cursors[conversation] = cursor
        if self._ahead[conversation]:
            self._start("sync", self._close_gap(conversation, seq))
        if fetched is not None:
            for listener in self._message_listeners:
                listener(message, fetched)

    async def _close_gap(self, conversation: str, last_seq: int) -> None:
        await asyncio.sleep(GAP_GRACE_S)
        if self.cursors.get(conversation, 0) < last_seq:
            await self.sync()

    async def _renew(self, namespace: str) -> None:
        await self._rest.refresh(self.account)
        await self.call("auth:refresh", {"token": self.account.access_token}, namespace)

    def _connected(self, namespace: str) -> None:
        if self._socket.namespaces.keys() >= set(self._namespaces):
            self._online.set()
        if namespace == CHAT and self._greeted:
            self._start("sync", self.sync())
        self._greeted = self._greeted or namespace == CHAT

    def _refused(self, namespace: str, error: Any) -> None:
        refusal: Json = error.get("data", {}) if isinstance(error, dict) else {"message": str(error)}
        self._refusals[namespace] = refusal
        self._welcome_at = time.monotonic() + (refusal.get("retry_after_ms") or 0) / 1000

    def _dropped(self, reason: str) -> None:
        self._online.clear()
        for acknowledged in self._waiting:
            if not acknowledged.done():
                acknowledged.set_exception(ConnectionDroppedError(reason))

    def _start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """One task of a name at a time: a second warning or gap while the first is being dealt with adds nothing."""
        running = self._tasks.get(name)
        if running is not None and not running.done():
            work.close()
            return
        self._tasks[name] = asyncio.create_task(work)
