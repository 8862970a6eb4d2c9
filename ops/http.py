"""The HTTP server's own limits: what it takes before any route is asked."""

from __future__ import annotations

from aiohttp import web

from ops import strangers

HEADER_BYTES_MAX = 16_384
# Longer than nginx and HAProxy keep theirs (60 s), so that it is not we who end one that they are about to use.
KEEP_ALIVE_S = 75.0
READ_AHEAD_BYTES = 16_384  # of a body nobody has asked for yet; aiohttp keeps up to twice as much
LINGER_S = 2.0  # so long the rest of a refused body is read and thrown away
SHUTDOWN_S = 1.0  # so long a request that is being answered may go on when the process ends


class _Runner(web.AppRunner):
    """Lets the application's strangers know of every connection."""

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        if (known := self.app.get(strangers.KEY)) is not None:
            known.watch(server)
        return server


def make_runner(app: web.Application) -> web.AppRunner:
    """Lines and headers have a size, bodies are not inflated, connections that are kept have an end."""
    return _Runner(
        app, access_log=None, shutdown_timeout=SHUTDOWN_S, handler_cancellation=False,
        max_line_size=HEADER_BYTES_MAX, max_field_size=HEADER_BYTES_MAX, auto_decompress=False,
        keepalive_timeout=KEEP_ALIVE_S, lingering_time=LINGER_S, read_bufsize=READ_AHEAD_BYTES,
    )  # fmt: skip
