"""The worker process: the nouns without doors. It needs Redis, by which its events reach the web processes."""

from __future__ import annotations

import asyncio
import logging
import signal

from domain import INDEXES, Domain
from ops.health import Health
from ops.tasks import end
from realtime import adapters
from realtime.history import History
from realtime.outbox import Flusher
from realtime.publisher import Publisher
from security import secret
from security.passwords import Passwords
from security.tokens import Tokens
from settings import Settings
from storage.mongo import Database
from workers.depth import Depth
from workers.port import Port
from workers.runner import Runner
from workers.tasks import SCHEDULE, tasks

log = logging.getLogger("parley.workers")


class Worker:
    """`start` and `stop` bracket everything that lives on the event loop."""

    def __init__(self, settings: Settings, mongo_url: str) -> None:
        self._drain_s = settings.drain_timeout_s
        self.database = Database(mongo_url, settings.mongo_db, single=settings.mongo_url is None)
        keys = secret.keys(settings.jwt_secret, settings.jwt_secret_previous, settings.data_dir)
        self.adapter = adapters.make(settings.redis_url, settings.mongo_db, keys)
        # Nobody is connected here, so nothing is ever flushed or remembered.
        self.adapter.manager.flusher, self.adapter.manager.history = Flusher(), History("worker-")
        self._passwords = Passwords(settings.password_pepper, settings.bcrypt_rounds)
        self.domain = Domain(
            settings, self.database, self.adapter, Publisher(self.adapter.manager),
            Tokens(keys, settings.access_token_ttl_s), self._passwords, lambda: (),
        )  # fmt: skip
        self.depth = Depth(self.domain.jobs)
        self.runner = Runner(self.domain.jobs, tasks(self.domain), SCHEDULE)
        self._tending: asyncio.Task[None] | None = None
        self._health = Health({"database": self.database.ping_ms, "redis": self.adapter.ping_ms}, {})
        self._port = Port(self._health, settings.host, settings.worker_port) if settings.worker_port else None

    async def start(self) -> None:
        await self.database.connect()
        await self.database.create_indexes(INDEXES)
        await self.adapter.start()
        if self._port is not None:
            await self._port.start()
        await self.runner.start()
        await self.depth.start()
        self._tending = asyncio.create_task(self.database.tend_forever(), name="transactions")

    async def stop(self) -> None:
        """What is being done is finished first, as far as the drain time goes."""
        self._health.draining = True
        try:
            await self.runner.stop(self._drain_s)
        except Exception as error:  # its jobs are due again when their leases are over
            log.warning("jobs could not be given back: %s", error)
        await end(self._tending)
        await self.depth.stop()
        for part in (self.domain.repair, self.domain.conversations, self.adapter):
            try:
                await part.stop()
            except Exception:
                log.exception("stopping %s failed", type(part).__name__)
        if self._port is not None:
            await self._port.stop()
        self._passwords.close()
        await self.database.leave()
        self.database.close()


async def work(settings: Settings, mongo_url: str) -> None:
    """Runs until SIGTERM or SIGINT."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    worker = Worker(settings, mongo_url)
    try:
        await worker.start()
        print("parley worker is working", flush=True)
        await stopping.wait()
        log.info("draining")
    finally:
        await worker.stop()
