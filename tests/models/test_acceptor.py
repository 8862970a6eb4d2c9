"""Connections are let in a few in each turn of the loop, by address; floods wait or are closed, others are not."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ops import acceptor as module
from ops.acceptor import ENTER_PER_TURN, Acceptor
from ops.strangers import LATE_FROM_ALL, Strangers
from tests.support import until

FLOOD, OTHER, MACHINE = "127.0.66.1", "127.0.66.2", "127.0.0.1"


class Door:
    """An Acceptor and clients of it. `entered`: from where, and in which turn of the loop, in their order."""

    def __init__(self, most: int, strangers: Strangers) -> None:
        self.strangers = strangers
        self.entered: list[tuple[int, str]] = []
        self.turn = 0
        self._listening = socket.socket()
        self._listening.bind(("127.0.0.1", 0))
        self._listening.listen(1_024)
        self._clients: list[socket.socket] = []
        self._transports: list[asyncio.Transport] = []
        self.acceptor = Acceptor(self._protocol, strangers, most)  # type: ignore[arg-type]

    def _protocol(self) -> asyncio.Protocol:
        door = self

        class Entered(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                door._transports.append(transport)
                address = transport.get_extra_info("peername")[0]
                door.entered.append((door.turn, address))
                door.strangers.came(transport, transport.abort, door.strangers.share_of((address, 0)))

        return Entered()

    def knock(self, address: str, count: int) -> list[socket.socket]:
        """Connects so often from there; all of them are in the kernel's queue then."""
        clients = []
        for _ in range(count):
            client = socket.socket()
            client.settimeout(10)
            client.bind((address, 0))
            client.connect(self._listening.getsockname())
            clients.append(client)
        self._clients += clients
        return clients

    def refuse(self, address: str) -> None:
        """So much there that it is late for a minute."""
        for _ in range(1_000):
            self.strangers.refusals.note(address)

    def open(self) -> None:
        self.acceptor.listen(self._listening)

    async def count_turns(self) -> None:
        while True:
            self.turn += 1
            await asyncio.sleep(0)

    def entered_from(self, address: str) -> int:
        return sum(one == address for _, one in self.entered)

    async def close(self) -> None:
        self.acceptor.leave(self._listening)
        await self.acceptor.stop()
        for transport in self._transports:
            transport.abort()
        for client in self._clients:
            client.close()
        await asyncio.sleep(0)


def is_closed(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    made = Door(16, Strangers(1_000, 1.0))
    turns = asyncio.create_task(made.count_turns())
    yield made
    turns.cancel()
    await made.close()


async def test_few_enter_in_a_turn_and_addresses_take_turns(door: Door) -> None:
    door.knock(FLOOD, 15)
    door.knock(OTHER, 1)
    door.open()
    await until(lambda: len(door.entered) == 16)
    turns = [turn for turn, _ in door.entered]
    assert max(turns.count(turn) for turn in turns) <= ENTER_PER_TURN
    assert [address for _, address in door.entered].index(OTHER) <= 2 * ENTER_PER_TURN


async def test_when_too_many_wait_the_address_with_most_loses_its_newest(door: Door) -> None:
    flood = door.knock(FLOOD, 40)
    other = door.knock(OTHER, 4)
    door.open()
    await until(lambda: door.entered_from(OTHER) == 4 and not door.acceptor.waiting)
    assert not any(is_closed(one) for one in other)
    assert any(is_closed(one) for one in flood)
    assert door.entered_from(FLOOD) + sum(is_closed(one) for one in flood) == 40


async def test_of_this_machine_and_of_proxies_none_is_closed_and_none_late(door: Door) -> None:
    door.knock(MACHINE, 200)
    door.open()
    await until(lambda: len(door.entered) == 200)
    door.strangers.proxied = True
    door.knock(FLOOD, LATE_FROM_ALL + 40)
    await until(lambda: door.entered_from(FLOOD) == LATE_FROM_ALL + 40)


async def test_who_has_many_strangers_or_refusals_is_late_and_others_are_not(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LATE_PER_S", 0.001)  # not within this test
    door.open()
    door.refuse(FLOOD)
    late = door.knock(FLOOD, 10)
    await until(lambda: door.acceptor.waiting == 10)
    door.knock(OTHER, 10)
    await until(lambda: door.entered_from(OTHER) == 10)
    assert door.entered_from(FLOOD) == 0
    for number in range(LATE_FROM_ALL // 2):
        door.strangers.came(number, lambda: None, OTHER)
    assert door.strangers.is_late(OTHER)
    await door.acceptor.stop()
    assert all(client.recv(1) == b"" for client in late)


async def test_who_is_late_gets_in(door: Door) -> None:
    door.refuse(FLOOD)
    door.knock(FLOOD, 10)
    door.open()
    await until(lambda: door.entered_from(FLOOD) == 10)


async def test_late_ones_have_the_room_that_strangers_leave(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LATE_PER_S", 0.001)
    door.strangers._most = 40  # three quarters, and of these one address a quarter
    door.refuse(FLOOD)
    flood = door.knock(FLOOD, 30)
    door.open()
    await until(lambda: sum(is_closed(one) for one in flood) == 22)
    assert door.acceptor.waiting == 8


async def test_strangers_get_back_the_room_that_late_ones_have(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    door.strangers._most = 160
    monkeypatch.setattr(module, "LATE_PER_S", 0.001)
    door.refuse(FLOOD)
    flood = door.knock(FLOOD, 20)
    door.open()
    await until(lambda: door.acceptor.waiting == 20)
    for number in range(110):
        door.strangers.came(number, lambda: None)
    assert door.strangers.room_for_late == 10
    door.refuse(OTHER)
    other = door.knock(OTHER, 1)
    await until(lambda: door.acceptor.waiting == 10)
    assert sum(is_closed(one) for one in flood) == 11  # of those that have most, and the newcomer is not
    assert not is_closed(other[0])


async def test_without_files_it_waits_and_goes_on(door: Door) -> None:
    door.knock(OTHER, 3)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = door._clients[-1].fileno() + 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        door.open()
        await until(lambda: door.acceptor._complained_at > 0)
        assert not door.entered
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    await until(lambda: door.entered_from(OTHER) == 3)
