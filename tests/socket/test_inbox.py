"""What one connection asks is answered in order, whatever takes how long; and it cannot ask without end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from contract.types import Empty
from models.conversations.actions import Conversations
from models.messages.store import MessageStore
from realtime.inbox import WAITING_BYTES_MAX, WAITING_MAX
from realtime.session import Session
from tests.socket.protocol import Json, Place, Polling
from tests.support import PATIENCE_S, Raw, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

READ_MAX = 262_144  # what a transport may hand over at once, before it can be told to pause


@pytest_asyncio.fixture(loop_scope="module")
async def raw(place: Place) -> AsyncIterator[Raw]:
    """Ada's connection to /chat."""
    async with Raw(place.url) as connection:
        assert (await connection.connect("/chat", place.ada.access_token)).startswith("40/chat,")
        yield connection


class Held:
    """A command that does not end before it is told to; `replace` makes one of any other."""

    def __init__(self, handlers: dict[str, Any]) -> None:
        self._handlers = handlers
        self.begun: list[Any] = []
        self.go_on = asyncio.Event()

    def replace(self, patch: pytest.MonkeyPatch, name: str, holds: bool = True) -> None:
        async def handler(connection: Any, context: Any, payload: Any) -> Empty:
            self.begun.append(name)
            if holds:
                await self.go_on.wait()
            return Empty()

        patch.setitem(self._handlers, name, (self._handlers[name][0], handler))


@pytest.fixture
def held(place: Place, monkeypatch: pytest.MonkeyPatch) -> Held:
    """`chat:list` is held; `chat:search` only notes that it was begun."""
    made = Held(place.server.sio.namespace_handlers["/chat"]._handlers)
    made.replace(monkeypatch, "chat:list")
    made.replace(monkeypatch, "chat:search", holds=False)
    return made


def command(number: int, name: str, payload: Json | None = None) -> str:
    return f"42/chat,{number}" + json.dumps([name, {} if payload is None else payload])


def sending(place: Place, number: int, name: str) -> str:
    payload = {"conversation_id": place.conversation, "client_id": f"{name}-{number}", "text": f"{name} {number}"}
    return command(number, "chat:send", payload)


async def answers(receive: Callable[[], Any], count: int) -> list[Json]:
    """The acknowledgements of the next `count` commands, which must be numbered from 0 in this order."""
    found: list[Json] = []
    while len(found) < count:
        packet = await receive()
        assert packet is not None, f"closed after {len(found)}"
        if packet.startswith("43"):
            prefix = f"43/chat,{len(found)}["
            assert packet.startswith(prefix), packet[:80]
            found.append(json.loads(packet[len(prefix) - 1 :])[0])
    return found


def session_of(place: Place, client: Raw) -> Session:
    return place.server.sio.eio.sockets[client.handshake["sid"]]


def waiting(session: Session) -> list[str | bytes]:
    return [] if session.inbox is None else list(session.inbox._waiting)


async def test_commands_of_all_kinds_are_answered_in_order(place: Place, raw: Raw) -> None:
    here = {"conversation_id": place.conversation}
    kinds: list[tuple[str, Json]] = [
        ("chat:get", here),
        ("chat:leave", here),
        ("chat:nothing", {}),
        ("chat:list", {}),
        ("chat:get", {"x": 1}),
    ]
    for number in range(60):
        if number % 6 == 5:
            await raw.send(sending(place, number, "mixed"))
        else:
            await raw.send(command(number, *kinds[number % 6]))
    found = await answers(raw.receive, 60)
    assert [answer["ok"] for answer in found] == [True, True, False, True, False, True] * 10


async def test_a_slow_command_holds_those_behind_it_and_nobody_else(place: Place, raw: Raw, held: Held) -> None:
    here = {"conversation_id": place.conversation}
    frames = [command(0, "chat:list"), command(1, "chat:get", here), command(2, "chat:leave", here)]
    await raw.send(frames[0])
    await until(lambda: held.begun == ["chat:list"])
    for frame in (*frames[1:], sending(place, 3, "behind"), command(4, "chat:search", {"query": "x"})):
        await raw.send(frame)
    session = session_of(place, raw)
    await until(lambda: len(waiting(session)) == 4)
    await place.undisturbed()
    assert len(waiting(session)) == 4
    assert held.begun == ["chat:list"]
    held.go_on.set()
    assert all(answer["ok"] for answer in await answers(raw.receive, 5))
    await until(lambda: session.inbox is None)


class SlowStore:
    """Messages become durable when it is told so."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.go_on = asyncio.Event()
        genuine = MessageStore.append

        async def append(store: MessageStore, documents: list[Any]) -> tuple[int, str | None]:
            await self.go_on.wait()
            return await genuine(store, documents)

        patch.setattr(MessageStore, "append", append)


async def test_sends_of_a_burst_are_numbered_in_their_order(place: Place, raw: Raw) -> None:
    for number in range(64):
        await raw.send(sending(place, number, "burst"))
    messages = [answer["data"]["message"] for answer in await answers(raw.receive, 64)]
    assert [message["text"] for message in messages] == [f"burst {number}" for number in range(64)]
    assert [message["seq"] - messages[0]["seq"] for message in messages] == list(range(64))


async def test_sends_do_not_wait_for_each_other_and_others_wait_for_them(
    place: Place, raw: Raw, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are on their way to the database before the first is durable; what is no send begins behind them all."""
    store = SlowStore(monkeypatch)
    for number in range(20):
        await raw.send(sending(place, number, "overlap"))
    await raw.send(command(20, "chat:search", {"query": "x"}))
    await raw.send(sending(place, 21, "overlap"))
    executor, session = place.server.executor, session_of(place, raw)
    await until(lambda: executor.running == 20)
    await until(lambda: len(waiting(session)) == 1)
    await place.undisturbed()
    assert (executor.running, held.begun) == (20, [])
    store.go_on.set()
    found = await answers(raw.receive, 22)
    assert held.begun == ["chat:search"]
    messages = [answer["data"]["message"] for answer in found[:20] + found[21:]]
    assert [message["seq"] - messages[0]["seq"] for message in messages] == list(range(21))


async def test_a_send_waits_until_the_one_before_has_its_place(
    place: Place, raw: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, genuine = asyncio.Event(), Conversations.require_recent

    async def slow(self: Conversations, user_id: str, conversation_id: str) -> Any:
        if place.server.executor.running == 1:
            await go_on.wait()
        return await genuine(self, user_id, conversation_id)

    monkeypatch.setattr(Conversations, "require_recent", slow)
    for number in range(5):
        await raw.send(sending(place, number, "placed"))
    session = session_of(place, raw)
    await until(lambda: len(waiting(session)) == 4)
    assert place.server.executor.running == 1
    go_on.set()
    messages = [answer["data"]["message"] for answer in await answers(raw.receive, 5)]
    assert [message["seq"] - messages[0]["seq"] for message in messages] == list(range(5))


async def test_what_is_asked_behind_sends_sees_them_all(
    place: Place, raw: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SlowStore(monkeypatch)
    for number in range(20):
        await raw.send(sending(place, number, "seen"))
    await raw.send(command(20, "chat:history", {"conversation_id": place.conversation, "limit": 20}))
    await until(lambda: len(waiting(session_of(place, raw))) == 0)
    await place.undisturbed()
    store.go_on.set()
    found = await answers(raw.receive, 21)
    messages = found[20]["data"]["messages"]
    assert messages == [answer["data"]["message"] for answer in found[:20]]


@pytest.mark.parametrize(
    ("count", "size"), [(WAITING_MAX * 8, 0), (4_000, 4_000)], ids=["many commands", "big commands"]
)
async def test_a_connection_that_asks_too_much_is_not_read_from(
    place: Place, raw: Raw, held: Held, count: int, size: int
) -> None:
    """What it sends beyond stays with it; in the end all is answered, in order."""
    session = session_of(place, raw)
    transport: Any = session.link.transport  # type: ignore[union-attr]
    assert transport.is_reading()
    await raw.send(command(0, "chat:list"))
    await until(lambda: held.begun == ["chat:list"])

    async def flood() -> None:
        for number in range(1, count):
            await raw.send(command(number, "nothing" + "x" * size))

    flooding = asyncio.ensure_future(flood())
    await until(lambda: session.inbox is not None and session.inbox.full and not transport.is_reading())
    for _ in range(20):
        await asyncio.sleep(0.005)
        here = waiting(session)
        assert not transport.is_reading()
        if size:
            assert WAITING_BYTES_MAX < sum(map(len, here)) <= WAITING_BYTES_MAX + READ_MAX + 2 * size
            assert not flooding.done(), "16 MB are nowhere else than with the client"
        else:
            assert WAITING_MAX < len(here) <= WAITING_MAX + READ_MAX // len(here[0])
    await place.undisturbed()
    held.go_on.set()
    found = await answers(raw.receive, count)
    await flooding
    assert [found[0]["ok"], *{answer["error"]["code"] for answer in found[1:]}] == [True, "unknown_command"]
    await until(transport.is_reading)


async def test_what_waits_when_the_connection_is_lost_is_not_begun(place: Place, held: Held) -> None:
    async with Raw(place.url) as raw:
        await raw.connect("/chat", place.ada.access_token)
        await raw.send(command(0, "chat:list"))
        await until(lambda: held.begun == ["chat:list"])
        session = session_of(place, raw)
        for number in range(1, 6):
            await raw.send(sending(place, number, "lost"))
            await raw.send(command(number + 10, "chat:search", {"query": "x"}))
        await until(lambda: len(waiting(session)) == 10)
        assert raw._socket is not None
        transport = raw._socket._writer.transport
        assert transport is not None
        transport.abort()
        await until(lambda: session.closed)
    held.go_on.set()
    await until(lambda: session.inbox is None)
    assert held.begun == ["chat:list"]
    page = await place.bystander.ask("/chat", "chat:history", {"conversation_id": place.conversation, "limit": 20})
    assert not [message for message in page["data"]["messages"] if message["text"].startswith("lost")]


async def test_a_send_that_was_begun_is_done_though_its_connection_is_lost(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SlowStore(monkeypatch)
    async with Raw(place.url) as raw:
        await raw.connect("/chat", place.ada.access_token)
        await raw.send(sending(place, 1, "begun"))
        await until(lambda: place.server.executor.running == 1)
        session = session_of(place, raw)
    await until(lambda: session.closed)
    store.go_on.set()
    while '"text":"begun 1"' not in (await place.bystander.receive() or "closed"):
        pass


async def test_a_post_is_answered_when_there_is_room_again(place: Place, held: Held) -> None:
    async with Polling(place.url) as polling:
        await polling.connect("/chat", place.ada.access_token)
        count = WAITING_MAX + 10
        assert await polling.post(command(0, "chat:list")) == 200
        posting = asyncio.ensure_future(polling.post(*(command(number, "nothing") for number in range(1, count))))
        session = place.server.sio.eio.sockets[polling.handshake["sid"]]
        await until(lambda: len(waiting(session)) == count - 1)
        await place.undisturbed()
        assert not posting.done()
        held.go_on.set()
        assert await asyncio.wait_for(posting, PATIENCE_S) == 200
        assert len(await answers(polling.receive, count)) == count
