"""Several web processes on one port and a worker by one command: `python formation.py --web 4`, or `make run WEB=4`.

It owns what they share: a listening socket for each of them (docs/decisions/0021), the embedded database where there is
no MONGO_URL, and the secret. A process that ends is started again, after a pause that grows while it does not last.
SIGTERM and SIGINT drain all of them; SIGHUP replaces them one after the other, each only when its successor is ready.
Why this is not a library: docs/decisions/0015.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import signal
import socket
import sys
from collections.abc import Callable

import settings as configuration
from ops import private
from ops.child import Kind, put, say
from ops.listening import ListenError, listen
from ops.slot import Slot
from security import secret
from storage import embedded

PROCESSES_MAX = 64
STOP_GRACE_S = 5.0  # beyond the drain time, before a process is killed
WEB = Kind(("server.py",), b"parley listening on ")
WORKER = Kind(("-m", "workers"), b"parley worker is working")


class FormationError(RuntimeError):
    """The formation cannot start; the text is for the operator."""


class Formation:
    """Runs a web process for each of `sockets`, and a worker, until told to stop. `prepare` makes what they share."""

    def __init__(
        self, sockets: list[list[socket.socket]], stop_within_s: float, url: str, prepare: Callable[[], dict[str, str]]
    ) -> None:  # fmt: skip
        self._sockets = sockets
        self._stop_within_s = stop_within_s
        self._url = url
        self._prepare = prepare
        self._slots: list[Slot] = []
        self._stopping = asyncio.Event()
        self._rolling: asyncio.Task[None] | None = None
        self._started = False
        self._in_terminal = sys.stdin.isatty()

    async def run(self) -> int:
        """0: every process drained."""
        loop = asyncio.get_running_loop()
        for told in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(told, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._hung_up)
        # Blocks while nothing else runs yet: the database lives as long as the thread that forks it, so it is this one.
        self._make_slots(self._prepare())
        for slot in self._slots:
            slot.start()
        try:
            await self._all_ready()
            self._started = True
            if not self._stopping.is_set():
                put(f"parley listening on {self._url}\n".encode())
            await self._stopping.wait()
        finally:
            self._stopping.set()
            if self._rolling is not None:
                self._rolling.cancel()
            say("draining")
            for one in itertools.chain(*self._sockets):
                one.close()  # a connection that comes now is refused, not left in a queue until the end
            drained = await asyncio.gather(*[slot.stop() for slot in self._slots], return_exceptions=True)
        for one_drained in drained:
            if isinstance(one_drained, BaseException):  # only now: what the others use stays until they have drained
                raise one_drained
        return 0 if all(drained) else 1

    def _make_slots(self, shared: dict[str, str]) -> None:
        everyone = [one.fileno() for one in itertools.chain(*self._sockets)]
        for number, sockets in enumerate(self._sockets, 1):
            own = [one.fileno() for one in sockets]
            env = {
                **shared, "ROUTE": f"w{number}", "PORT_FDS": ",".join(map(str, own)),
                "PORT_FDS_OTHERS": ",".join(str(fd) for fd in everyone if fd not in own),
            }  # fmt: skip
            self._slots.append(Slot(f"w{number}", WEB, env, everyone, self._stop_within_s, self._changed))
        worker = {**shared, "ROUTE": "worker"}
        self._slots.append(Slot("worker", WORKER, worker, (), self._stop_within_s, lambda: None))

    def _changed(self) -> None:
        """While a web process is missing, the others also accept what comes to its queue: nobody waits for it."""
        if self._stopping.is_set():
            return
        web = self._slots[: len(self._sockets)]
        missing = not all(slot.serving for slot in web)
        for slot in web:
            for child in slot.serving:
                child.accept_on_all(missing)

    async def _all_ready(self) -> None:
        """Also returns when told to stop. Raises FormationError if one cannot start: the others could not either."""

        async def all_are() -> None:
            for slot in self._slots:
                await slot.ready.wait()

        over = (all_are(), self._stopping.wait(), *[slot.failed.wait() for slot in self._slots])
        waiting = [asyncio.ensure_future(one) for one in over]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for one in waiting:
            one.cancel()
        for slot in self._slots:
            if slot.failed.is_set():
                raise FormationError(f"{slot.name} ended before it was ready; its last lines say why")

    def _hung_up(self) -> None:
        """Someone asks for a rolling restart, or the terminal that this runs in was closed."""
        if self._in_terminal and not sys.stdin.isatty():
            self._stopping.set()
        elif not self._started:
            say("is starting still, with the code there is; nothing is restarted")
        elif self._rolling is not None and not self._rolling.done():
            say("is restarting already")
        else:
            self._rolling = asyncio.create_task(self._replace_all())

    async def _replace_all(self) -> None:
        say("restarting one process after the other")
        for slot in self._slots:
            if not await slot.replace():
                say(f"the restart ends here: {slot.name} and those after it are not replaced")
                return
            say(f"{slot.name} is ready again")
        say("restarted")


def run(settings: configuration.Settings, count: int) -> int:
    host = settings.host
    database = None if settings.mongo_url else embedded.EmbeddedMongo(settings.data_dir)
    try:
        sockets = listen(host, settings.port, count)
    except ListenError as error:
        raise FormationError(error.strerror) from None
    port = sockets[0][0].getsockname()[1]

    def prepare() -> dict[str, str]:
        return configuration.environment(
            PORT=str(port), MONGO_URL=settings.mongo_url or (database.start() if database else ""),
            JWT_SECRET=settings.jwt_secret or secret.load_or_create(settings.data_dir),
        )  # fmt: skip

    stop_within_s = settings.drain_timeout_s + STOP_GRACE_S
    try:
        return asyncio.run(Formation(sockets, stop_within_s, f"http://{host}:{port}", prepare).run())
    finally:
        if database is not None:
            database.stop()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python formation.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--web", type=int, required=True, metavar="N", help="how many web processes")
    count = parser.parse_args().web
    if not 2 <= count <= PROCESSES_MAX:
        parser.error(f"--web must be between 2 and {PROCESSES_MAX}; one process is: python server.py")
    private.be_private()
    try:
        settings = configuration.load()
        if settings.redis_url is None:
            raise FormationError(
                "several processes need a Redis to hear of each other: set REDIS_URL, such as "
                "redis://127.0.0.1:6379/0, or run one process"
            )
        return run(settings, count)
    except (configuration.SettingsError, secret.SecretError, embedded.EmbeddedError, FormationError) as error:
        print(f"parley cannot start: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
