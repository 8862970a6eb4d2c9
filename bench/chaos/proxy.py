"""A TCP proxy in front of the servers for one device, through which its network fails.

Its lines can be cut, frozen in either direction (nothing passes, not even an end, and nothing is lost) or slowed. A
connection that is made through it goes to a server that is up, as a load balancer would send it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

HOST = "127.0.0.1"
CHUNK_BYTES = 65_536

Direction = Literal["to_server", "to_client"]
DIRECTIONS: tuple[Direction, Direction] = ("to_server", "to_client")
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Line:
    """One connection: two streams in each direction, of which one is read and one is written."""

    def __init__(self, client: Streams, server: Streams, port: int) -> None:
        self.port = port  # of the server
        self._ends = (client[1], server[1])
        self._open = {direction: asyncio.Event() for direction in DIRECTIONS}
        for gate in self._open.values():
            gate.set()
        self._bytes_per_s, self._slow_until = 1, 0.0  # towards the client
        self._pumps = [
            asyncio.ensure_future(self._pump("to_server", client[0], server[1])),
            asyncio.ensure_future(self._pump("to_client", server[0], client[1])),
        ]

    async def carry(self) -> None:
        """Until either side has ended, or it was cut."""
        await asyncio.wait(self._pumps, return_when=asyncio.FIRST_COMPLETED)
        self.cut()
        await asyncio.gather(*self._pumps, *(end.wait_closed() for end in self._ends), return_exceptions=True)

    def cut(self) -> None:
        for pump in self._pumps:
            pump.cancel()
        for end in self._ends:
            end.transport.abort()

    async def freeze(self, directions: tuple[Direction, ...], seconds: float) -> None:
        for direction in directions:
            self._open[direction].clear()
        try:
            await asyncio.sleep(seconds)
        finally:
            for direction in directions:
                self._open[direction].set()

    async def slow(self, bytes_per_s: int, seconds: float) -> None:
        self._bytes_per_s, self._slow_until = bytes_per_s, time.monotonic() + seconds
        await asyncio.sleep(seconds)

    async def _pump(self, direction: Direction, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await self._read(direction, source):
                sink.write(data)
                await sink.drain()

    async def _read(self, direction: Direction, source: asyncio.StreamReader) -> bytes:
        data = await source.read(CHUNK_BYTES)
        slow_s = self._slow_until - time.monotonic() if direction == "to_client" else 0.0
        if slow_s > 0:  # nothing more is read meanwhile, so that the server feels it
            await asyncio.sleep(min(slow_s, len(data) / self._bytes_per_s))
        await self._open[direction].wait()  # an end is held as well: a dead network says nothing
        return data


class Proxy:
    """Listens on a port of its own. `dial(home)` gives the port of a server that is up, at best `home`, or None."""

    def __init__(self, dial: Callable[[int], int | None], home: int) -> None:
        self._dial = dial
        self.home = home
        self._server: asyncio.Server | None = None
        self._carrying: set[asyncio.Task[None]] = set()
        self.lines: set[Line] = set()
        self.url = ""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, HOST, 0)
        self.url = f"http://{HOST}:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.cut()
        if self._carrying:
            await asyncio.wait(self._carrying)

    def cut(self) -> None:
        for line in list(self.lines):
            line.cut()

    def send_home(self) -> None:
        """Home is up again: what went elsewhere meanwhile is cut, and will return."""
        for line in list(self.lines):
            if line.port != self.home:
                line.cut()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)
        port = self._dial(self.home)
        if port is None:
            writer.transport.abort()
            return
        try:
            server = await asyncio.open_connection(HOST, port)
        except OSError:
            writer.transport.abort()
            return
        line = Line((reader, writer), server, port)
        self.lines.add(line)
        try:
            await line.carry()
        finally:
            self.lines.discard(line)
