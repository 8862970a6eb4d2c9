"""A Redis cluster, reached like one server: all that a deployment keeps and says there has one slot.

So it has one order and one place that can fail, as on a single server; docs/decisions/0022 says why. Each connection
goes to the node that has the slot. Which one that is the nodes are asked every time, each about itself: of those that
claim the slot the one with the highest epoch has it, which is the cluster's own rule. What a node says of others may be
long out of date, and a replica accepts sharded subscriptions and publications without a word.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from redis.asyncio.connection import Connection, ConnectionPool, parse_url
from redis.crc import key_slot
from redis.exceptions import ClusterDownError, ConnectionError, MovedError, ReadOnlyError, RedisError

log = logging.getLogger("parley.relay")

PORT = 6379
ASK_S = 1.0
# Once a node claims the slot, another one that does has so long to say so as well.
RIVAL_S = 0.2
NODES_MAX = 64
# The nodes that are known; those of the slot that they name; and once more, if the slot has just moved there.
ROUNDS = 3

_EPOCH = re.compile(r"^cluster_my_epoch:(\d{1,20})\s*$", re.MULTILINE)

Address = tuple[str, int]


class _Answer(NamedTuple):
    """What a node says: whether it has the slot, since which epoch, and which nodes it believes to serve it."""

    address: Address
    claims: bool
    epoch: int
    nodes: list[Address]


class _SlotConnection(Connection):
    """Goes to the owner of the slot; ends when the node that it leads to says that this is another one now."""

    def __init__(self, *, owner: Owner, **options: Any) -> None:
        super().__init__(**options)
        self._owner = owner

    async def _connect(self) -> None:
        self.host, self.port = await self._owner.find()
        await super()._connect()  # type: ignore[no-untyped-call]

    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*args, **options)
        except (MovedError, ReadOnlyError, ClusterDownError) as error:
            await self.disconnect(nowait=True)
            raise ConnectionError(f"{self.host}:{self.port} does not serve the slot: {error}") from error


class SlotPool(ConnectionPool):
    """Connections to the node of a cluster that has the slot of `key`. `url`: `redis+cluster://host:port,host:port`."""

    def __init__(self, url: str, key: str, **options: Any) -> None:
        parts = urlsplit(url)
        credentials, at, hosts = parts.netloc.rpartition("@")
        given: dict[str, Any] = {**parse_url(f"redis://{credentials}{at}?{parts.query}"), **options}
        self.owner = Owner([_address(host) for host in hosts.split(",")], key_slot(key.encode()), given)
        super().__init__(connection_class=_SlotConnection, owner=self.owner, **given)

    async def ensure_connection(self, connection: Any) -> None:
        """One that leads to a node that had the slot before is not used again, though that node may well answer."""
        if connection.is_connected and (connection.host, connection.port) != self.owner.address:
            await connection.disconnect(nowait=True)
        await super().ensure_connection(connection)


def _address(host: str) -> Address:
    name, _, port = host.rpartition(":") if ":" in host else (host, "", str(PORT))
    return name.strip("[]"), int(port)


class Owner:
    """Finds the node that has a slot. `address`: where it was last found."""

    def __init__(self, startup: Iterable[Address], slot: int, options: dict[str, Any]) -> None:
        self._startup = list(startup)
        self._slot = slot
        self._options = options
        self._known: list[Address] = []
        self._finding: asyncio.Task[Address] | None = None
        self.address: Address | None = None

    async def find(self) -> Address:
        """One search for all who ask meanwhile. Raises ConnectionError while no node says that it has the slot."""
        if self._finding is None:
            self._finding = asyncio.create_task(self._search(), name="relay-slot")
            self._finding.add_done_callback(self._found)
        return await asyncio.shield(self._finding)

    def _found(self, task: asyncio.Task[Address]) -> None:
        self._finding = None
        if not task.cancelled():
            task.exception()  # those who waited know, and there may be none left

    async def _search(self) -> Address:
        asked: set[Address] = set()
        failures: list[str] = []
        candidates = [*self._startup, *self._known]
        for _ in range(ROUNDS):
            answers = await self._ask_all([one for one in dict.fromkeys(candidates) if one not in asked], failures)
            asked.update(candidates)
            candidates = [node for answer in answers for node in answer.nodes][:NODES_MAX]
            claims = [answer for answer in answers if answer.claims]
            if claims:
                best = max(claims, key=lambda answer: answer.epoch)
                if best.address != self.address:
                    log.info("slot %d of the Redis cluster is at %s:%d", self._slot, *best.address)
                self.address, self._known = best.address, list(dict.fromkeys(best.nodes))
                return best.address
        raise ConnectionError(f"no node of the Redis cluster says that it has slot {self._slot}; {'; '.join(failures)}")

    async def _ask_all(self, addresses: list[Address], failures: list[str]) -> list[_Answer]:
        """Those that answer in time; the others must not hold up what one of them knows."""
        tasks = {asyncio.create_task(self._ask(address)): address for address in addresses}
        answers: list[_Answer] = []
        waiting, wait_s = set(tasks), ASK_S
        deadline = asyncio.get_running_loop().time() + ASK_S
        try:
            while waiting and wait_s > 0:
                done, waiting = await asyncio.wait(waiting, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    try:
                        answers.append(task.result())
                    except (RedisError, OSError, ValueError, LookupError) as error:
                        failures.append("{}:{}: {}".format(*tasks[task], error))
                wait_s = deadline - asyncio.get_running_loop().time()
                if any(answer.claims for answer in answers):
                    wait_s = min(wait_s, RIVAL_S) if done else 0.0
        finally:
            for task in waiting:
                task.cancel()
        failures += ["{}:{}: no answer".format(*tasks[task]) for task in waiting]
        return answers

    async def _ask(self, address: Address) -> _Answer:
        options = {**self._options, "host": address[0], "port": address[1]}
        node = Connection(**options)
        try:
            await node.connect()  # type: ignore[no-untyped-call]
            for words in (("MYID",), ("INFO",), ("SLOTS",)):
                await node.send_command("CLUSTER", *words)
            identity, info, slots = [await node.read_response() for _ in range(3)]
        finally:
            await node.disconnect(nowait=True)
        epoch = _EPOCH.search(_text(info))
        if epoch is None:
            raise ValueError("CLUSTER INFO has no cluster_my_epoch")
        for first, last, *nodes in slots:
            if first <= self._slot <= last:
                # A node that does not know its own name, or must not tell it, is where it was asked.
                named = [(_text(host) or address[0], int(port)) for host, port, *_ in nodes]
                claims = _text(nodes[0][2]) == _text(identity)
                return _Answer(address, claims, int(epoch[1]), named)
        return _Answer(address, False, 0, [])


def _text(given: bytes | str | None) -> str:
    return given.decode() if isinstance(given, bytes) else given or ""
