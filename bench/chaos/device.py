"""One device of a person: what a good application does on a bad network, with a journal of all that it is told.

It comes back after every drop and fetches what it missed (`chat:sync`). It hands messages on in `seq` order: one that
comes too early is held, and if what is missing does not come by itself, that conversation is fetched. `chat:head` makes
it fetch too. Beyond that it never asks, so what it knows at the end of a run is what the server told it of.

One that resumes does not ask after a drop either, if the server says that it goes on where it was. It fetches only
where it had sent something that got no answer: nobody is told of their own messages by an event.

Every connection is a new python-socketio client: a client that reconnects by itself can lose the drop that happens
while it is connecting, and then believes for ever that it is connected.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from contextlib import suppress
from typing import Literal

import socketio

from bench.chaos.journal import Acked, Changed, Down, Essence, Failed, Handed, Head, Heard, Journal, Sent, Up
from bench.chaos.resuming import Place, ResumingClient
from bench.clients import (
    CHAT,
    GAP_GRACE_S,
    OFFERS,
    Account,
    CommandError,
    ConnectionDroppedError,
    Json,
    Person,
    Reply,
    Rest,
)

CONNECT_TIMEOUT_S = 15.0
RETURN_MIN_S, RETURN_MAX_S = 0.2, 2.0
REPAIR_PAUSE_S = 1.0
HISTORY_PAGE = 200
PATIENT_SHARE = 0.7  # of what is sent that is repeated until it is answered
ASK_TIMEOUT_S = 60.0  # for an answer, when everything is up
# What the contract calls retryable, as far as these commands can meet it.
RETRYABLE = ("unavailable", "timeout", "conflict", "internal_error")

By = Literal["event", "fetch", "ack"]


class Device(Person):
    """`cursors`: everything up to here was handed to the application. `resumes`: by connection state recovery."""

    def __init__(
        self, name: str, url: str, account: Account, transports: tuple[str, ...] = ("websocket",), resumes: bool = False
    ) -> None:
        super().__init__(Rest(url), account, (CHAT, OFFERS))
        self.transports = transports
        self.resumes = resumes
        self._places: dict[str, Place] = {}
        self.journal = Journal(name, account.id, resumes)
        self._handlers = self._socket.handlers  # of every socket that is still listened to
        self.connection = 0
        self._last_up = 0
        self._up = False
        self._closing = False
        self._behind = False  # it was away, and has not asked yet what it missed
        self._doubtful: set[str] = set()  # conversations in which a send got no answer, if it resumes
        self._held: dict[str, dict[int, tuple[Essence, By]]] = defaultdict(dict)
        self._ends: dict[str, int] = {}  # how far conversations go, by what it was told
        self._news = asyncio.Event()
        self._synced_at: str | None = None
        self.latest: dict[str, Essence] = {}  # of each conversation, what was handed on last
        self.versions: dict[str, int] = {}  # of messages that are known to have been changed, by id

    # Connecting

    async def connect(self) -> None:
        """Returns once it is connected, however often that has to be tried."""
        pause_s = RETURN_MIN_S
        while not self._closing and not await self._try():
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))
            pause_s = min(pause_s * 2, RETURN_MAX_S)

    async def close(self) -> None:
        self._closing = True
        self._went("closed")
        for task in self._tasks.values():
            task.cancel()
        await self._discard(self._socket)
        await self._rest.__aexit__()

    async def _try(self) -> bool:
        self.connection += 1
        self._refusals.clear()
        self._socket = ResumingClient(self._places, handle_sigint=False, reconnection=False)
        self._socket.handlers = self._handlers
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await super().connect()
        except Exception as error:  # whatever a dying connection makes the libraries raise, the answer is the same
            refused = isinstance(error, CommandError) and "code" in self._refusals.get(CHAT, {})
            code = str(self._refusals[CHAT]["code"]) if refused else type(error).__name__
            self.journal.records.append(Failed(time.perf_counter(), self.connection, "connect", code))
        else:
            if self._socket.eio.state == "connected":
                return True
        self._went("not connected")
        await self._discard(self._socket)
        return False

    async def _where(self) -> str:
        return await super()._where() + ("?recovery=1" if self.resumes else "")

    @staticmethod
    async def _discard(socket: socketio.AsyncClient) -> None:
        """Nothing more is heard from it."""
        socket.handlers = {}  # not cleared: all sockets share them
        with suppress(Exception):  # it may be in any state
            async with asyncio.timeout(1):
                await socket.disconnect()
        http = socket.eio.http
        if http is not None and not http.closed:
            await http.close()

    def _connected(self, namespace: str) -> None:
        if namespace != CHAT:
            return
        place = self._places.get(CHAT)
        resumed = place is not None and place.resumed
        self.journal.records.append(Up(time.perf_counter(), self.connection, self._last_up if resumed else 0))
        self._last_up = self.connection
        self._up = True
        self._online.set()
        self._behind = self._behind or not resumed
        self._start("repair", self._repair())

    def _dropped(self, reason: str) -> None:
        self._went(str(reason))
        if not self._closing:
            self._start("connect", self.connect())

    def _went(self, reason: str) -> None:
        if self._up:
            self.journal.records.append(Down(time.perf_counter(), self.connection, reason))
        self._up = False
        super()._dropped(reason)

    @property
    def up(self) -> bool:
        return self._up

    # Sending

    async def until_answered(
        self, command: str, payload: Json, deadline: float = float("inf"), namespace: str = CHAT
    ) -> Json:
        """Repeats what may be repeated. Raises what came last once the deadline, on `perf_counter`, has passed."""
        while True:
            try:
                return (await self._attempt(command, payload, namespace)).data
            except (CommandError, ConnectionDroppedError) as error:
                hopeless = isinstance(error, CommandError) and error.code not in RETRYABLE
                if hopeless or time.perf_counter() > deadline:
                    raise
            await asyncio.sleep(REPAIR_PAUSE_S * random.uniform(0.5, 1.5))

    async def _attempt(self, command: str, payload: Json, namespace: str) -> Reply:
        connection, records = self.connection, self.journal.records
        if command == "chat:send":
            records.append(
                Sent(time.perf_counter(), connection, payload["conversation_id"], payload["client_id"])
            )  # fmt: skip
        try:
            reply = await super()._attempt(command, payload, namespace)
        except (CommandError, ConnectionDroppedError) as error:
            code = error.code if isinstance(error, CommandError) else "dropped"
            records.append(Failed(time.perf_counter(), connection, command, code))
            if self.resumes and command == "chat:send" and code == "dropped":
                self._doubtful.add(payload["conversation_id"])
                self._start("repair", self._repair())
            raise
        if command == "chat:send":
            message, duplicate = reply.data["message"], reply.data.get("duplicate", False)
            records.append(
                Acked(reply.acked_at, connection, message["conversation_id"], Essence.of(message), duplicate,
                      reply.sent_at)
            )  # fmt: skip
        return reply

    # Hearing

    def _hear(self, namespace: str, event: str, payload: Json) -> None:
        if event == "chat:message":
            message = payload["message"]
            self.journal.records.append(
                Heard(time.perf_counter(), self.connection, message["conversation_id"], Essence.of(message))
            )
            self._learn(message, fetched=False)
        elif event == "chat:message_updated":
            self.learn_version(payload["message"])
        elif event == "chat:head":
            conversation, last_seq = payload["conversation_id"], payload["last_seq"]
            self.journal.records.append(Head(time.perf_counter(), self.connection, conversation, last_seq))
            self._reaches(conversation, last_seq)

    def _learn(self, message: Json, fetched: bool | None) -> None:
        self.learn_version(message)
        conversation, essence = message["conversation_id"], Essence.of(message)
        cursor = self.cursors.get(conversation, 0)
        if essence.seq <= cursor:
            return
        by: By = "ack" if fetched is None else "fetch" if fetched else "event"
        held = self._held[conversation]
        held.setdefault(essence.seq, (essence, by))
        while cursor + 1 in held:
            cursor += 1
            ready, came_by = held.pop(cursor)
            record = Handed(time.perf_counter(), self.connection, conversation, ready, came_by)
            self.journal.records.append(record)
            self.latest[conversation] = ready
        self.cursors[conversation] = cursor
        self._reaches(conversation, essence.seq)
        self._news.set()

    def learn_version(self, message: Json) -> None:
        version = message["version"]
        if version > self.versions.get(message["id"], 1):
            self.versions[message["id"]] = version
            place = message["conversation_id"], message["seq"]
            self.journal.records.append(Changed(time.perf_counter(), self.connection, *place, version))

    async def has(self, conversation: str, seq: int, timeout_s: float) -> bool:
        """Whether the application was given this message in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.cursors.get(conversation, 0) < seq:
                    self._news.clear()
                    await self._news.wait()
        return self.cursors.get(conversation, 0) >= seq

    # Fetching

    def _reaches(self, conversation: str, seq: int) -> None:
        self._ends[conversation] = max(seq, self._ends.get(conversation, 0))
        if self._ends[conversation] > self.cursors.get(conversation, 0):
            self._start("repair", self._repair())

    def lacking(self) -> list[str]:
        """Conversations that go further than what it has."""
        return [name for name, end in self._ends.items() if end > self.cursors.get(name, 0)]

    async def _repair(self) -> None:
        while self._behind or self.lacking() or self._doubtful:
            try:
                if self._behind:
                    await self.sync()
                else:
                    await asyncio.sleep(GAP_GRACE_S)
                    for conversation in {*self.lacking(), *self._doubtful}:
                        await self._fetch(conversation)
            except (CommandError, ConnectionDroppedError):  # the journal has it
                await asyncio.sleep(REPAIR_PAUSE_S)

    async def sync(self) -> None:
        more, since = True, {"changed_since": self._synced_at} if self._synced_at else {}
        began: str | None = None
        while more:
            self._behind = False
            try:
                page = await self.call("chat:sync", {"cursors": dict(self.cursors), **since})
            except BaseException:
                self._behind = True
                raise
            began = began or page["synced_at"]
            for entry in page["conversations"]:
                self.cursors.setdefault(entry["conversation"]["id"], 0)
                for message in entry["messages"]:
                    self._learn(message, fetched=True)
                for message in entry["changed"]:
                    self.learn_version(message)
                self._reaches(entry["conversation"]["id"], entry["conversation"]["last_seq"])
            more = page["more"] and any(entry["messages"] for entry in page["conversations"])
        self._synced_at = began

    async def _fetch(self, conversation: str) -> None:
        """One conversation only: to ask for all would hide that nobody told of the others."""
        query = {"conversation_id": conversation, "after_seq": self.cursors.get(conversation, 0), "limit": HISTORY_PAGE}
        self._doubtful.discard(conversation)
        try:
            messages = (await self.call("chat:history", query))["messages"]
        except BaseException:
            self._doubtful.add(conversation)
            raise
        for message in messages:
            self._learn(message, fetched=True)
