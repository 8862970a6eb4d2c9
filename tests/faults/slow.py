"""A client that can stop reading: its own socket with small buffers, and nothing that reads behind its back."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
from typing import Any
from urllib.parse import urlsplit

from tests.support import PATIENCE_S

TEXT, BINARY, CLOSE = 1, 2, 8
RECEIVE_BYTES = 4_096


class SlowReader:
    """A WebSocket by hand, which reads only while one of its methods that receive is awaited. It takes no offsets."""

    def __init__(self, url: str) -> None:
        self._where = urlsplit(url)
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        self._socket.setblocking(False)
        self._buffer = b""
        self.sid = ""

    async def __aenter__(self) -> SlowReader:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self._socket, (self._where.hostname, self._where.port))
        key = base64.b64encode(os.urandom(16)).decode()
        await self._write(
            f"GET /socket.io/?EIO=4&transport=websocket&recovery=0 HTTP/1.1\r\nHost: {self._where.netloc}\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        while b"\r\n\r\n" not in self._buffer:
            assert await self._more()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        self.sid = json.loads((await self.text())[1:])["sid"]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._socket.close()

    async def connect(self, namespace: str, token: str) -> None:
        await self.send(f"40{namespace}," + json.dumps({"token": token}))
        assert (await self.text()).startswith(f"40{namespace},")

    async def ask(self, namespace: str, name: str, payload: dict[str, Any]) -> None:
        """Skips events until the command is acknowledged."""
        await self.send(f"42{namespace},7" + json.dumps([name, payload]))
        while not (packet := await self.text()).startswith(f"43{namespace},7"):
            pass
        assert '"ok":true' in packet

    async def send(self, packet: str) -> None:
        await self._frame(TEXT, packet.encode())

    async def text(self) -> str:
        kind, payload = await self._receive()
        assert kind == TEXT, (kind, payload)
        return payload.decode()

    async def until_closed(self) -> tuple[list[str], int]:
        """(all that the server still says, the code that it closes with), which is answered."""
        said: list[str] = []
        while True:
            kind, payload = await self._receive()
            if kind == CLOSE:
                await self._frame(CLOSE, payload)
                assert not await self._more(), "something follows the close frame"
                return said, int.from_bytes(payload[:2], "big")
            said.append(payload.decode())

    async def _receive(self) -> tuple[int, bytes]:
        """One frame of a server: never masked, never in fragments."""
        await self._have(2)
        assert self._buffer[0] & 0xF0 == 0x80
        kind, size, start = self._buffer[0] & 0x0F, self._buffer[1], 2
        if size >= 126:
            start += 2 if size == 126 else 8
            await self._have(start)
            size = int.from_bytes(self._buffer[2:start], "big")
        await self._have(start + size)
        payload, self._buffer = self._buffer[start : start + size], self._buffer[start + size :]
        return kind, payload

    async def _have(self, size: int) -> None:
        while len(self._buffer) < size:
            assert await self._more(), "the server has gone without a close frame"

    async def _more(self) -> bool:
        data = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self._socket, 65_536), PATIENCE_S)
        self._buffer += data
        return bool(data)

    async def _frame(self, kind: int, payload: bytes) -> None:
        """Masked with zeros."""
        size = len(payload)
        length = bytes((0x80 | size,)) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
        await self._write(bytes((0x80 | kind,)) + length + b"\0\0\0\0" + payload)

    async def _write(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._socket, data)
