"""The web process: everything is made and wired together here, and nowhere else.

`build` makes an application from settings; `main` runs it: start, serve, drain on SIGTERM, stop the database last.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time

from aiohttp import web

import settings as configuration
from contract.catalogue import COMMANDS, OPERATIONS
from contract.registry import CONNECT, NAMESPACES, connect_rate
from domain import INDEXES, Domain
from handlers.base import Namespace
from handlers.chat import ChatNamespace
from handlers.gate import Gate
from handlers.looking import Looking
from handlers.personal import PersonalNamespace
from handlers.presence import PresenceNamespace
from handlers.rechecking import Rechecking
from handlers.typing import TypingNamespace
from models.executor import Executor
from models.processes.actions import Processes
from ops import collector, logs, private, strangers
from ops.health import Health
from ops.http import Site, make_runner
from ops.lag import LoopLag
from ops.listening import Inherited, ListenError, listen
from ops.tasks import end
from realtime import adapters, drain
from realtime.admission import Admission
from realtime.connections import Connections
from realtime.engine import SocketServer
from realtime.presence import PresenceTracker
from realtime.publisher import Publisher
from rest import cors, docs, pages
from rest.cookies import Cookies
from rest.endpoint import Rest
from rest.finance import bind_finance
from rest.health import HealthRoutes
from rest.identity import IdentityRoutes
from rest.middleware import Surroundings
from security import secret
from security.limits import OperationLimits
from security.passwords import Passwords
from security.tokens import Tokens
from storage import embedded
from storage.mongo import Database, DatabaseError
from workers.depth import Depth
from workers.runner import Runner
from workers.tasks import SCHEDULE, tasks

log = logging.getLogger("parley")

BODY_BYTES_MAX = 262_144
STOP_PART_S = 4.0


class Server:
    """One web process. `start` and `stop` bracket everything that lives on the event loop."""

    def __init__(self, settings: configuration.Settings, mongo_url: str) -> None:
        self.settings = settings
        keys = secret.keys(settings.jwt_secret, settings.jwt_secret_previous, settings.data_dir)
        self.cookies = Cookies(settings.auth_cookie, keys[0].derive("csrf"), settings.production)
        self.database = Database(mongo_url, settings.mongo_db, single=settings.mongo_url is None)
        self.adapter = adapters.make(settings.redis_url, settings.mongo_db, keys)
        self.tokens = Tokens(keys, settings.access_token_ttl_s)
        self.sio = SocketServer(
            self.adapter.manager, settings.connect_timeout_s, settings.cors_origins, settings.trusted_proxies
        )
        self.sio.eio.route = settings.route
        files = strangers.files_allowed()
        self.strangers = self.sio.eio.strangers = strangers.Strangers(
            strangers.strangers_max(files), settings.rate_limit_scale
        )
        self.strangers.proxied = settings.trusted_proxies > 0
        self.connections_max = min(settings.connections_max, strangers.members_max(files))
        if self.connections_max < settings.connections_max:
            log.warning(
                "room for %d connections, not the %d of CONNECTIONS_MAX: only %d files may be open (ulimit -n)",
                self.connections_max, settings.connections_max, files,
            )  # fmt: skip
        self.sio.eio.pace(settings.rate_limit_scale and max(1.0, settings.rate_limit_scale))
        self.adapter.hand_over(self.sio.recovery)
        self.publisher = Publisher(self.adapter.manager)
        self.connections = Connections(self.publisher, self.adapter.bus, settings.connections_per_user_max)
        self.lag = LoopLag()
        self.passwords = Passwords(settings.password_pepper, settings.bcrypt_rounds)
        self.domain = Domain(
            settings, self.database, self.adapter, self.publisher, self.tokens, self.passwords,
            # Who may return gets what is told meanwhile, and nothing else would tell them.
            lambda: list({*self.connections.user_ids, *self.sio.recovery.user_ids}),
        )  # fmt: skip
        # With Redis, jobs are for the worker processes.
        self.runner = Runner(self.domain.jobs, tasks(self.domain), SCHEDULE) if self.adapter.alone else None
        self.depth = Depth(self.domain.jobs)
        self.tracker = PresenceTracker(self.connections, self.adapter.directory)
        self.tracker.listen(self.domain.presence.came, self.domain.presence.left)
        self.admission = Admission(self.connections, self.connections_max, self.lag)
        self.executor = self._executor()
        self.health = Health(
            {
                "database": self.database.ping_ms, "redis": self.adapter.ping_ms,
                "sms": None, "email": None, "push": None,
            },
            {
                "connections": lambda: len(self.connections), "commands_running": lambda: self.executor.running,
                "loop_lag_ms": lambda: round(self.lag.seconds * 1000, 3),
            },
        )  # fmt: skip
        self._tending: asyncio.Task[None] | None = None
        seen = (self.sio.eio, self.sio.manager, self.connections, self.admission, self.lag, self.health)
        self.executor.bind(Processes(*seen, lambda: self.executor.running).actions())
        self._namespaces()
        self.app = self._http()

    def _executor(self) -> Executor:
        rates = {name: operation.limit for name, operation in OPERATIONS.items()}
        rates[CONNECT] = connect_rate(self.settings.connections_per_user_max)
        executor = Executor(OperationLimits(rates, self.settings.rate_limit_scale, self.settings.redis_url))
        executor.bind(self.domain.actions())
        return executor

    def _namespaces(self) -> None:
        domain = self.domain
        self.gate = Gate(self.tokens, domain.sessions, self.connections, self.executor, self.admission)
        rooms = self.sio.manager
        looking = Looking(rooms, self.connections, self.adapter.bus)
        self.rechecking = Rechecking(
            self.connections, domain.sessions, domain.conversations, domain.departures, looking
        )
        namespaces: list[Namespace] = [
            ChatNamespace(self.gate, rooms, domain.chat.reading, looking),
            TypingNamespace(self.gate, looking),
            PresenceNamespace(self.gate, rooms, domain.presence, looking),
            *[PersonalNamespace(self.gate, rooms, name) for name in ("/offers", "/finance", "/system")],
        ]
        check_bound(namespaces)
        for namespace in namespaces:
            self.sio.mount(namespace)

    def _http(self) -> web.Application:
        settings = self.settings
        surroundings = Surroundings(settings.production, self.health, self.strangers, settings.trusted_proxies)
        cross_origin = cors.Cors(self.settings.cors_origins)
        observe, guard = surroundings.middlewares
        middlewares = [observe, cross_origin.middleware, guard]
        app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=middlewares)
        app[strangers.KEY] = self.strangers
        domain = self.domain
        rest = Rest(self.executor, self.tokens, domain.sessions, self.cookies, settings.trusted_proxies, self.strangers)
        IdentityRoutes(domain.users, domain.sessions, domain.conversations, self.tokens, self.cookies).bind_to(rest)
        HealthRoutes(self.health, settings.operators_token, settings.production).bind_to(rest, app)
        bind_finance(rest, domain.reports)
        cross_origin.add_routes(app, rest.routes())
        docs.add_docs(app, self.cookies.auth)
        pages.add_pages(app)
        self.sio.attach(app)
        return app

    async def start(self) -> None:
        self.lag.start()
        await self.database.connect()
        await self.database.create_indexes(INDEXES)
        await self.adapter.start()
        await self.connections.start()
        await self.tracker.start()
        await self.domain.typing.start()
        if self.runner is not None:
            await self.runner.start()
        await self.depth.start()
        await self.strangers.start()
        await self.rechecking.start()
        self._tending = asyncio.create_task(self.database.tend_forever(), name="transactions")

    async def drain(self) -> None:
        """Readiness off, commands in flight finished, connections closed; no more than the drain time in all."""
        self.health.draining = True
        linger = not self.adapter.alone
        await drain.drain(self.sio.eio, lambda: self.executor.running, self.settings.drain_timeout_s, linger)

    async def stop(self) -> None:
        """Whatever of it fails, because the database has just gone perhaps, the rest is done."""
        self.lag.stop()
        await end(self._tending)
        domain, runners = self.domain, [self.runner] if self.runner is not None else []
        for part in (
            *runners, self.depth, self.strangers, self.rechecking, domain.typing, self.tracker, self.connections,
            self.sio, domain.repair, domain.indexing, domain.quotas, domain.conversations, self.adapter,
        ):  # fmt: skip
            try:
                await asyncio.wait_for(part.stop(), STOP_PART_S)
            except TimeoutError:
                log.warning("stopping %s took longer than %.0f s", type(part).__name__, STOP_PART_S)
            except Exception:
                log.exception("stopping %s failed", type(part).__name__)
        self.passwords.close()
        await self.database.leave()
        self.database.close()


def check_bound(namespaces: list[Namespace]) -> None:
    """Every declared command has exactly one handler, or the process does not start."""
    for namespace in namespaces:
        declared = {command.name for command in COMMANDS.values() if command.namespace in (namespace.name, "*")}
        if namespace.bound != declared:
            raise RuntimeError(f"{namespace.name}: unbound or unknown commands {declared ^ namespace.bound}")
    if {namespace.name for namespace in namespaces} != set(NAMESPACES):
        raise RuntimeError("a declared namespace has no handler")


async def serve(settings: configuration.Settings) -> None:
    """Runs until SIGTERM or SIGINT."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stopping.set)
    if settings.mongo_url is not None:
        await run_until(settings, settings.mongo_url, stopping)
        return
    database = embedded.EmbeddedMongo(settings.data_dir)
    try:
        # Blocks while nothing else runs yet: the daemon lives as long as the thread that forks it, so that is this one.
        await run_until(settings, database.start(), stopping)
    finally:
        await asyncio.to_thread(database.stop)


async def run_until(settings: configuration.Settings, url: str, stopping: asyncio.Event) -> None:
    server = Server(settings, url)
    runner = make_runner(server.app)
    inherited = Inherited(runner, settings.port_fds, settings.port_fds_others) if settings.port_fds else None
    try:
        await server.start()
        await runner.setup()
        if inherited is not None:
            await inherited.start()
        else:
            # Without Redis two processes would not know of each other's clients: sharing the port is then a mistake.
            shared = settings.redis_url is not None
            for listening in listen(settings.host, settings.port, 1, shared)[0]:
                await Site(runner, listening).start()
        port = runner.addresses[0][1]
        print(f"parley listening on http://{settings.host}:{port}", flush=True)
        await stopping.wait()
        log.info("draining")
        if inherited is not None:
            await inherited.stop()
        deadline = time.monotonic() + settings.drain_timeout_s
        await server.drain()
        if inherited is not None:
            await inherited.finish(deadline - time.monotonic())
    finally:
        await runner.cleanup()
        await server.stop()


def main() -> int:
    collector.spare()
    private.be_private()
    strangers.raise_file_limit()
    try:
        settings = configuration.load()
        logs.configure(settings.log_level, settings.data_dir / "logs", settings.route)
        private.close_to_others(settings.data_dir)
        try:
            import uvloop
        except ImportError:
            asyncio.run(serve(settings))
        else:
            uvloop.run(serve(settings))
    except (
        configuration.SettingsError, logs.LogError, secret.SecretError, embedded.EmbeddedError, DatabaseError,
    ) as error:  # fmt: skip
        print(f"parley cannot start: {error}", file=sys.stderr)
        return 1
    except ListenError as error:
        print(f"parley cannot start: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
