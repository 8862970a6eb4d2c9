"""A real Redis cluster on loopback: three masters, each with a replica. For tests and the chaos harness."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from redis import Redis
from redis.crc import key_slot
from redis.exceptions import RedisError

from bench.redis_server import HOST, command, free_ports
from storage.embedded import die_with_parent

MASTERS = 3
# After so long without an answer a node is taken for dead, and its replica elected. Redis's own default is 15 s.
NODE_TIMEOUT_MS = 2_000
START_WAIT_S = 30.0
ASK_TIMEOUT_S = 1.0
LOOK_EVERY_S = 0.1


class Address(NamedTuple):
    """`bus`: the port by which nodes speak to each other."""

    port: int
    bus: int


def addresses(ports: Iterator[int]) -> list[Address]:
    """Of as many nodes as a cluster has here."""
    return [Address(next(ports), next(ports)) for _ in range(2 * MASTERS)]


def node_command(address: Address, directory: Path) -> list[str]:
    """Runs one node. `directory` keeps what it knows of the cluster, and no data: like any replica, it fetches that."""
    return [
        *command(address.port), "--cluster-enabled", "yes", "--cluster-port", str(address.bus),
        "--cluster-node-timeout", str(NODE_TIMEOUT_MS), "--cluster-replica-validity-factor", "0",
        "--dir", str(directory),
    ]  # fmt: skip


def create(nodes: Sequence[Address]) -> None:
    """Makes a cluster of nodes that listen and are empty. Raises RuntimeError with what redis-cli says."""
    names = [f"{HOST}:{node.port}@{node.bus}" for node in nodes]
    made = subprocess.run(
        ["redis-cli", "--cluster", "create", *names, "--cluster-replicas", "1", "--cluster-yes"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    if made.returncode != 0:
        raise RuntimeError(f"redis-cli could not make the cluster:\n{made.stdout}{made.stderr}")


def ask(port: int, *words: str) -> Any:
    """What one node answers; raises redis-py's errors."""
    with Redis(HOST, port, socket_timeout=ASK_TIMEOUT_S, socket_connect_timeout=ASK_TIMEOUT_S) as node:
        return node.execute_command(*words)


def is_whole(ports: Iterable[int]) -> bool:
    """Whether all of them answer that the cluster is well, and that each master has its replica."""
    for port in ports:
        try:
            if ask(port, "CLUSTER INFO")["cluster_state"] != "ok":
                return False
            known = ask(port, "CLUSTER NODES").values()
            role = ask(port, "ROLE")
        except RedisError:
            return False
        if len(known) != 2 * MASTERS or any("fail" in node["flags"] for node in known):
            return False
        if sum("master" in node["flags"].split(",") for node in known) != MASTERS:
            return False
        if role[0] == b"slave" and role[3] != b"connected":
            return False
    return True


def master_of(ports: Iterable[int], key: str) -> int | None:
    """The port of the node that has the slot of a key, by its own word; None while none says so."""
    slot = key_slot(key.encode())
    for port in ports:
        with contextlib.suppress(RedisError):
            for node in ask(port, "CLUSTER NODES").values():
                mine = "myself" in node["flags"] and "master" in node["flags"]
                if mine and any(int(span[0]) <= slot <= int(span[-1]) for span in node["slots"]):
                    return port
    return None


class RedisCluster:
    """Its nodes can be killed, frozen and started again one by one."""

    def __init__(self) -> None:
        self._nodes = addresses(free_ports())
        self._directory = tempfile.TemporaryDirectory(prefix="parley-redis-")
        self.running: dict[int, subprocess.Popen[bytes]] = {}  # by port

    @property
    def ports(self) -> list[int]:
        return [node.port for node in self._nodes]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"{HOST}:{port}" for port in self.ports)

    def start(self) -> RedisCluster:
        """Returns when it is well. Raises FileNotFoundError where Redis is not installed."""
        for port in self.ports:
            self.start_node(port)
        create(self._nodes)
        self.wait_until_whole()
        return self

    def start_node(self, port: int) -> None:
        """Also again, after a kill: it comes back as the replica of whichever node took its place.

        It lives as long as the thread that calls this.
        """
        node = next(node for node in self._nodes if node.port == port)
        directory = Path(self._directory.name) / str(port)
        directory.mkdir(exist_ok=True)
        self.running[port] = subprocess.Popen(
            node_command(node, directory), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            preexec_fn=die_with_parent,
        )  # fmt: skip
        deadline = time.monotonic() + START_WAIT_S
        while True:
            try:
                ask(port, "PING")
                return
            except RedisError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(LOOK_EVERY_S)

    def wait_until_whole(self) -> None:
        deadline = time.monotonic() + START_WAIT_S
        while not is_whole(self.ports):
            if time.monotonic() > deadline:
                raise TimeoutError("the Redis cluster did not become whole")
            time.sleep(LOOK_EVERY_S)

    def master_of(self, key: str) -> int:
        """Its port. Raises LookupError while the slot of the key has no master."""
        port = master_of(self.running, key)
        if port is None:
            raise LookupError(f"no node has {key}")
        return port

    def other_master(self, key: str) -> int:
        """The port of a master that does not have the slot of the key."""
        own = self.master_of(key)
        return next(port for port in self.running if port != own and ask(port, "ROLE")[0] == b"master")

    def replica_of(self, port: int) -> int:
        """The port of a master's replica."""
        return int(ask(port, "ROLE")[2][0][1])

    def move_slot(self, key: str, target: int) -> None:
        """Gives the slot of the key, which must be empty, to another master."""
        source, slot = self.master_of(key), str(key_slot(key.encode()))
        names = {port: ask(port, "CLUSTER MYID").decode() for port in (source, target)}
        ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", names[source])
        ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", names[target])
        for port in (target, source):
            ask(port, "CLUSTER", "SETSLOT", slot, "NODE", names[target])

    def kill(self, port: int) -> None:
        """kill -9."""
        process = self.running.pop(port)
        process.kill()
        process.wait()

    def freeze(self, port: int) -> None:
        self.running[port].send_signal(signal.SIGSTOP)

    def thaw(self, port: int) -> None:
        self.running[port].send_signal(signal.SIGCONT)

    def mend(self) -> None:
        """Starts and thaws whatever is not up, and waits until all is well."""
        for port in self.ports:
            if port in self.running:
                self.thaw(port)
            else:
                self.start_node(port)
        self.wait_until_whole()

    def stop(self) -> None:
        for port in list(self.running):
            self.kill(port)
        self._directory.cleanup()
