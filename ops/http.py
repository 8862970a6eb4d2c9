"""The HTTP server's own limits: what it takes before any route is asked."""

from __future__ import annotations

import socket
from typing import Any

from aiohttp import web

from ops import strangers
from ops.acceptor import Acceptor

HEADER_BYTES_MAX = 16_384
# Longer than nginx and HAProxy keep theirs (60 s), so that it is not we who end one that they are about to use.
KEEP_ALIVE_S = 75.0
READ_AHEAD_BYTES = 16_384  # of a body nobody has asked for yet; aiohttp keeps up to twice as much
LINGER_S = 2.0  # so long the rest of a refused body is read and thrown away
SHUTDOWN_S = 1.0  # so long a request that is being answered may go on when the process ends


class Runner(web.AppRunner):
    """Its connections are accepted a few in a turn, and the application's strangers know of each."""

    acceptor: Acceptor

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        known = self.app[strangers.KEY]
        known.watch(server)
        self.acceptor = Acceptor(server, known, strangers.waiting_max(strangers.files_allowed()))
        return server

    @property
    def addresses(self) -> list[Any]:
        return self.acceptor.addresses

    async def cleanup(self) -> None:
        if self.server is not None:
            for site in list(self.sites):
                await site.stop()
            await self.acceptor.stop()  # before the server, which would be given what waits
        await super().cleanup()


class Site(web.BaseSite):
    """Accepts on a listening socket, which is its own from then on."""

    def __init__(self, runner: Runner, listening: socket.socket) -> None:
        super().__init__(runner)
        self._acceptor, self._listening = runner.acceptor, listening

    @property
    def name(self) -> str:
        host, port = self._listening.getsockname()[:2]
        return f"http://{host}:{port}"

    async def start(self) -> None:
        await super().start()
        self._acceptor.listen(self._listening)

    async def stop(self) -> None:
        await super().stop()
        self._acceptor.leave(self._listening)


def make_runner(app: web.Application) -> Runner:
    """Lines and headers have a size, bodies are not inflated, connections that are kept have an end."""
    return Runner(
        app, access_log=None, shutdown_timeout=SHUTDOWN_S, handler_cancellation=False,
        max_line_size=HEADER_BYTES_MAX, max_field_size=HEADER_BYTES_MAX, auto_decompress=False,
        keepalive_timeout=KEEP_ALIVE_S, lingering_time=LINGER_S, read_bufsize=READ_AHEAD_BYTES,
    )  # fmt: skip
