"""A client that does not read what it is sent costs the server a bounded amount, the others nothing, itself a sync."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from bench.clients import Account, Person
from contract.rooms import user_room
from realtime import websocket
from realtime.outbox import BYTES_MAX, Outbox
from realtime.packets import Outgoing
from server import Server
from settings import Settings
from tests.faults.slow import SlowReader
from tests.socket.protocol import Polling
from tests.support import PATIENCE_S, Crowd, Heard, serving, until

Json = dict[str, Any]
Run = Callable[[Coroutine[Any, Any, None]], None]
TEXT = "😀" * 10_000  # as long as a message may be: 40 kB
PUBLISHED_MAX = 24 * 1_048_576  # by then any client that does not read must have been noticed
MIB = 1_048_576


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Each event loop has flow control of its own."""
    chosen: Run = request.param
    return chosen


class Talk:
    """Ada sends, Ben listens, Cem is the one who does not read."""

    def __init__(self, server: Server, url: str, crowd: Crowd) -> None:
        self.server = server
        self.url = url
        self.crowd = crowd
        self.ada: Person
        self.heard: Heard
        self.cem: Account
        self.id = ""
        self.sent = 0

    async def begin(self) -> Talk:
        self.ada = await self.crowd.person("Ada", ("/chat", "/typing"))
        ben = await self.crowd.person("Ben", ("/chat",))
        self.heard = Heard(ben, "chat:message")
        self.cem = await self.crowd.account("Cem")
        payload = {"type": "group", "participant_ids": [ben.account.id, self.cem.id], "client_id": "talk"}
        self.id = (await self.ada.call("chat:create", payload))["conversation"]["id"]
        return self

    async def send(self) -> None:
        self.sent += 1
        payload = {"conversation_id": self.id, "client_id": f"big-{self.sent}", "text": TEXT}
        await self.ada.call("chat:send", payload)

    async def send_until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            assert self.sent * len(TEXT.encode()) < PUBLISHED_MAX, "it could go on for ever"
            await self.send()

    def gone(self, sid: str) -> bool:
        return sid not in self.server.sio.eio.sockets

    async def others_heard_all(self) -> None:
        await until(lambda: len(self.heard.all) >= self.sent)
        seqs = [payload["message"]["seq"] for _, payload in self.heard.all]
        assert seqs == list(range(1, self.sent + 1))

    async def sync_brings(self, seen: int) -> None:
        """Cem comes back with what he has, and gets exactly the rest."""
        person = await self.crowd.connect(self.cem, ("/chat",))
        missed: list[Json] = []
        more = True
        while more:
            page = await person.call("chat:sync", {"cursors": {self.id: seen + len(missed)}})
            missed += [message for entry in page["conversations"] for message in entry["messages"]]
            more = page["more"] or any(entry["has_more"] for entry in page["conversations"])
        assert [message["seq"] for message in missed] == list(range(seen + 1, self.sent + 1))
        assert {message["text"] for message in missed} == {TEXT}

    async def metric(self, name: str) -> float:
        async with self.crowd.rest._session.get(f"{self.url}/metrics") as response:
            found = re.search(rf"^{name} (\S+)$", await response.text(), re.MULTILINE)
        assert found is not None, name
        return float(found[1])


def talking(run: Run, settings: Settings, mongo_url: str, story: Callable[[Talk], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with serving(settings, mongo_url) as (server, url):
            crowd = Crowd(url)
            try:
                async with asyncio.timeout(3 * PATIENCE_S):
                    await story(await Talk(server, url, crowd).begin())
            finally:
                await crowd.close()

    run(main())


class Peak:
    """The most that ever waited for a connection, looked at before the bound is kept."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.waiting_bytes = 0
        genuine = Outbox.flush

        def flush(outbox: Outbox) -> None:
            self.waiting_bytes = max(self.waiting_bytes, sum(len(packet.frame) for packet in outbox.packets))
            genuine(outbox)

        patch.setattr(Outbox, "flush", flush)


def seqs_of(said: list[str]) -> list[int]:
    """Of the messages among these packets."""
    prefix = '42/chat,["chat:message",'
    return [json.loads(packet[len("42/chat,") :])[1]["message"]["seq"] for packet in said if packet.startswith(prefix)]


def test_it_is_closed_and_told_why_and_nobody_loses_anything(
    run: Run, settings: Settings, mongo_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "CLOSE_WAIT_S", 30.0)  # time to read what is in the buffers up to the close frame
    peak = Peak(monkeypatch)

    async def story(talk: Talk) -> None:
        closed = await talk.metric("parley_slow_connections_closed_total")
        async with SlowReader(talk.url) as slow:
            await slow.connect("/chat", talk.cem.access_token)
            await talk.send_until(lambda: talk.gone(slow.sid))
            assert talk.sent * len(TEXT.encode()) > BYTES_MAX
            assert await talk.metric("parley_slow_connections_closed_total") == closed + 1
            assert not talk.server.connections.of_user(talk.cem.id)
            said, code = await slow.until_closed()
        assert (said[-1], code) == ("1", 1013)
        seen = seqs_of(said)
        assert seen == list(range(1, len(seen) + 1))
        assert len(seen) < talk.sent
        await talk.send()
        await talk.others_heard_all()
        await talk.sync_brings(len(seen))

    talking(run, settings, mongo_url, story)
    assert BYTES_MAX < peak.waiting_bytes < BYTES_MAX + 1.1 * len(TEXT.encode())


def test_one_that_reads_again_in_time_has_missed_nothing(run: Run, settings: Settings, mongo_url: str) -> None:
    """Of who is typing it hears only how it is now."""

    async def story(talk: Talk) -> None:
        async with SlowReader(talk.url) as slow:
            await slow.connect("/chat", talk.cem.access_token)
            await slow.connect("/typing", talk.cem.access_token)
            await slow.ask("/chat", "chat:join", {"conversation_id": talk.id})
            link: Any = talk.server.sio.eio.sockets[slow.sid].link
            await talk.send_until(lambda: link.blocked)
            superseded = await talk.metric("parley_latest_superseded_total")
            for _ in range(4):
                await talk.send()
                await talk.ada.call("typing:start", {"conversation_id": talk.id})
                await talk.ada.call("typing:stop", {"conversation_id": talk.id})
            assert await talk.metric("parley_latest_superseded_total") == superseded + 7
            assert await talk.metric("parley_blocked_connections") == 1
            assert await talk.metric("parley_backlog_bytes") == link.waiting_bytes > 4 * len(TEXT.encode())
            said: list[str] = []
            while len(seqs_of(said[-1:])) == 0 or seqs_of(said[-1:]) != [talk.sent]:
                said.append(await slow.text())
            said.append(await slow.text())
            await talk.send()
            said.append(await slow.text())
        assert seqs_of(said) == list(range(1, talk.sent + 1))
        typing = [packet for packet in said if packet.startswith("42/typing,")]
        assert [packet.split('"')[1] for packet in typing] == ["typing:stop"]
        await talk.others_heard_all()

    talking(run, settings, mongo_url, story)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4_096


def test_those_that_never_read_take_no_memory(
    run: Run, settings: Settings, mongo_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even their sockets: they are cut off when they do not answer the close frame."""
    monkeypatch.setattr(websocket, "CLOSE_WAIT_S", 0.2)
    peak = Peak(monkeypatch)
    size = 65_536

    async def story(talk: Talk) -> None:
        async with SlowReader(talk.url) as one, SlowReader(talk.url) as two, SlowReader(talk.url) as three:
            slow = (one, two, three)
            for reader in slow:
                await reader.connect("/chat", talk.cem.access_token)
            links: list[Any] = [talk.server.sio.eio.sockets[reader.sid].link for reader in slow]
            before, most = resident_bytes(), 0
            for number in range(2_000):
                packet = Outgoing(f'42/chat,["chat:test","{number:0{size}}"]'.encode())
                talk.server.sio.manager.deliver("/chat", [user_room(talk.cem.id)], packet, None)
                while talk.server.sio.eio.flusher.dirty:
                    await asyncio.sleep(0)
                if number % 50 == 0:
                    most = max(most, resident_bytes())
            assert all(talk.gone(reader.sid) for reader in slow)
            assert most - before < 32 * MIB, f"{2_000 * size // MIB} MiB were published to each of three"
            await until(lambda: all(link.transport is None for link in links))
            assert [link.packets for link in links] == [[], [], []]

    talking(run, settings, mongo_url, story)
    assert BYTES_MAX < peak.waiting_bytes < BYTES_MAX + 1.1 * size


def test_a_session_that_never_polls_is_closed(settings: Settings, mongo_url: str) -> None:
    async def story(talk: Talk) -> None:
        closed = await talk.metric("parley_slow_connections_closed_total")
        async with Polling(talk.url) as polling:
            await polling.connect("/chat", talk.cem.access_token)
            sid = polling.handshake["sid"]
            link: Any = talk.server.sio.eio.sockets[sid].link
            await talk.send_until(lambda: talk.gone(sid))
            assert BYTES_MAX < talk.sent * (len(TEXT.encode()) + 1_000) < 1.1 * BYTES_MAX
            assert await talk.metric("parley_slow_connections_closed_total") == closed + 1
            assert (await polling.poll())[0] == 400
            assert sum(len(packet.frame) for packet in link.packets) < 100
            assert not talk.server.connections.of_user(talk.cem.id)
        await talk.others_heard_all()
        await talk.sync_brings(0)

    talking(asyncio.run, settings, mongo_url, story)


def test_a_session_that_polls_slowly_gets_it_all(settings: Settings, mongo_url: str) -> None:
    async def story(talk: Talk) -> None:
        async with Polling(talk.url) as polling:
            await polling.connect("/chat", talk.cem.access_token)
            said: list[str] = []
            for _ in range(3):
                for _ in range(15):
                    await talk.send()
                said += (await polling.poll())[1]
            assert talk.sent * len(TEXT.encode()) > 1.5 * BYTES_MAX
            assert seqs_of(said) == list(range(1, talk.sent + 1))

    talking(asyncio.run, settings, mongo_url, story)
