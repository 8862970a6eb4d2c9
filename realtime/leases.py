"""Where users are connected, across processes: the directory behind presence.

Each process says which users it holds; a user is present while any live process does. In Redis a process proves that
it lives by a lease it renews; when one expires, exactly one of the others takes its entries away and learns who is
gone. So a killed process's users are offline within LEASE_S + RENEW_S, and nobody scans anything to find out.

A replica that takes over may lack the last of what its master had answered, and a Redis without persistence all of it.
So each process counts its writes there: a count that does not rise says that some are lost, and then all is said again.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from typing import Any, Protocol

from redis.asyncio import Redis
from redis.exceptions import RedisError

from contract.errors import ParleyError

LEASE_S = 20.0
RENEW_S = 5.0


class Directory(Protocol):
    """`join` and `leave` tell whether the user's presence as a whole began or ended with the call."""

    async def join(self, user_id: str) -> bool: ...
    async def leave(self, user_ids: Iterable[str]) -> list[str]: ...
    async def present(self, user_ids: list[str]) -> set[str]: ...
    async def renew(self, mine: Iterable[str]) -> list[str]:
        """Renews this process's lease; returns users whose last process turned out to be dead."""
        ...

    async def hand_over(self, after_s: float) -> bool:
        """This process goes. True: after that time others will tell who of its users did not come back to them."""
        ...


class MemoryDirectory:
    """One process: what it holds is all there is."""

    def __init__(self) -> None:
        self._users: set[str] = set()

    async def join(self, user_id: str) -> bool:
        began = user_id not in self._users
        self._users.add(user_id)
        return began

    async def leave(self, user_ids: Iterable[str]) -> list[str]:
        gone = [user_id for user_id in user_ids if user_id in self._users]
        self._users.difference_update(gone)
        return gone

    async def present(self, user_ids: list[str]) -> set[str]:
        return self._users.intersection(user_ids)

    async def renew(self, mine: Iterable[str]) -> list[str]:
        return []

    async def hand_over(self, after_s: float) -> bool:
        return False


class RedisDirectory:
    """Many processes. `user` is a set of processes, `process` a set of users; one sorted set holds the leases, another
    the counts of writes. `prefix` begins all names, and gives them one slot on a cluster.
    """

    def __init__(self, redis: Redis, prefix: str) -> None:
        self._redis = redis
        self._process = secrets.token_hex(8)
        self._leased = False
        self._lost = False
        self._writes = 0
        self._held: set[str] = set()
        self._prefix = f"{prefix}presence:"
        self._leases, self._counts = f"{self._prefix}processes", f"{self._prefix}writes"

    def _user_key(self, user_id: str) -> str:
        return f"{self._prefix}user:{user_id}"

    def _process_key(self, process: str) -> str:
        return f"{self._prefix}process:{process}"

    async def join(self, user_id: str) -> bool:
        self._held.add(user_id)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.scard(self._user_key(user_id))
            pipe.sadd(self._user_key(user_id), self._process)
            pipe.sadd(self._process_key(self._process), user_id)
            pipe.zadd(self._leases, {self._process: time.time() + LEASE_S}, nx=True)
            pipe.zincrby(self._counts, 1, self._process)
            before, _, _, new, count = await pipe.execute()
        # A lease that should have been there was lost, and with it whom we held: the next renewal says it again.
        self._lost = self._lost or bool(new and self._leased)
        self._leased = True
        self._counted(count)
        return int(before) == 0

    async def leave(self, user_ids: Iterable[str]) -> list[str]:
        users = list(user_ids)
        self._held.difference_update(users)
        return await self._remove(self._process, users)

    async def present(self, user_ids: list[str]) -> set[str]:
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for user_id in user_ids:
                    pipe.scard(self._user_key(user_id))
                counts = await pipe.execute()
        except (RedisError, OSError) as error:
            raise ParleyError("unavailable", "Presence is not known right now.", retry_after_ms=1000) from error
        return {user_id for user_id, count in zip(user_ids, counts, strict=True) if count}

    async def renew(self, mine: Iterable[str]) -> list[str]:
        users = list(mine)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.zscore(self._leases, self._process)
            pipe.zadd(self._leases, {self._process: time.time() + LEASE_S})
            pipe.zincrby(self._counts, 1, self._process)
            known, _, count = await pipe.execute()
        self._counted(count)
        lost, self._lost, self._leased = self._lost or (known is None and self._leased), False, True
        gone: list[str] = []
        if lost:
            try:
                gone += await self._say_again(users)
            except BaseException:
                self._lost = True
                raise
        expired: Any = await self._redis.zrangebyscore(self._leases, 0, time.time())
        for raw in expired:
            process = raw.decode()
            if await self._redis.zrem(self._leases, process):  # exactly one process wins this
                members: Any = await self._redis.smembers(self._process_key(process))
                held = [user.decode() for user in members]
                gone += await self._remove(process, held)
                await self._redis.delete(self._process_key(process))
                await self._redis.zrem(self._counts, process)
        return gone

    async def hand_over(self, after_s: float) -> bool:
        await self._redis.zadd(self._leases, {self._process: time.time() + after_s}, xx=True)
        return True

    def _counted(self, count: float) -> None:
        """Answers that come in another order than the writes look like a loss, which only costs saying it again."""
        self._lost = self._lost or count <= self._writes
        self._writes = int(count)

    async def _say_again(self, users: list[str]) -> list[str]:
        """Redis lost some of what it knew of us, or another process took us for dead while we hung. Returns who is gone
        by it: those whose leaving was among what was lost."""
        key = self._process_key(self._process)
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.smembers(key)
            for user_id in users:
                pipe.sadd(self._user_key(user_id), self._process)
            if users:
                pipe.sadd(key, *users)
            members, *_ = await pipe.execute()
        held = self._held.union(users)
        return await self._remove(self._process, [user for user in map(bytes.decode, members) if user not in held])

    async def _remove(self, process: str, user_ids: list[str]) -> list[str]:
        if not user_ids:
            return []
        async with self._redis.pipeline(transaction=True) as pipe:
            for user_id in user_ids:
                pipe.srem(self._user_key(user_id), process)
                pipe.scard(self._user_key(user_id))
            pipe.srem(self._process_key(process), *user_ids)
            pipe.zincrby(self._counts, 1, self._process)
            *answers, _, count = await pipe.execute()
        self._counted(count)
        pairs = zip(user_ids, answers[0::2], answers[1::2], strict=True)
        return [user_id for user_id, removed, left in pairs if removed and not left]
