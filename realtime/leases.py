"""Where users are connected, across processes: the directory behind presence.

Each process says which users it holds; a user is present while any live process does. In Redis a process proves that
it lives by a lease it renews; when one expires, exactly one of the others takes its entries away and learns who is
gone. So a killed process's users are offline within LEASE_S + RENEW_S, and nobody scans anything to find out.
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
_PROCESSES = "parley:presence:processes"


def _user_key(user_id: str) -> str:
    return f"parley:presence:user:{user_id}"


def _process_key(process: str) -> str:
    return f"parley:presence:process:{process}"


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
    """Many processes. `user` is a set of processes, `process` a set of users, and a sorted set holds the leases."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._process = secrets.token_hex(8)
        self._leased = False
        self._lost = False

    async def join(self, user_id: str) -> bool:
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.scard(_user_key(user_id))
            pipe.sadd(_user_key(user_id), self._process)
            pipe.sadd(_process_key(self._process), user_id)
            pipe.zadd(_PROCESSES, {self._process: time.time() + LEASE_S}, nx=True)
            before, _, _, new = await pipe.execute()
        # A lease that should have been there was lost, and with it whom we held: the next renewal says it again.
        self._lost = self._lost or bool(new and self._leased)
        self._leased = True
        return int(before) == 0

    async def leave(self, user_ids: Iterable[str]) -> list[str]:
        return await self._remove(self._process, list(user_ids))

    async def present(self, user_ids: list[str]) -> set[str]:
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for user_id in user_ids:
                    pipe.scard(_user_key(user_id))
                counts = await pipe.execute()
        except (RedisError, OSError) as error:
            raise ParleyError("unavailable", "Presence is not known right now.", retry_after_ms=1000) from error
        return {user_id for user_id, count in zip(user_ids, counts, strict=True) if count}

    async def renew(self, mine: Iterable[str]) -> list[str]:
        users = list(mine)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.zscore(_PROCESSES, self._process)
            pipe.zadd(_PROCESSES, {self._process: time.time() + LEASE_S})
            known, _ = await pipe.execute()
        lost, self._lost, self._leased = self._lost or (known is None and self._leased), False, True
        if lost and users:
            await self._announce_again(users)
        gone: list[str] = []
        expired: Any = await self._redis.zrangebyscore(_PROCESSES, 0, time.time())
        for raw in expired:
            process = raw.decode()
            if await self._redis.zrem(_PROCESSES, process):  # exactly one process wins this
                members: Any = await self._redis.smembers(_process_key(process))
                held = [user.decode() for user in members]
                gone += await self._remove(process, held)
                await self._redis.delete(_process_key(process))
        return gone

    async def hand_over(self, after_s: float) -> bool:
        await self._redis.zadd(_PROCESSES, {self._process: time.time() + after_s}, xx=True)
        return True

    async def _announce_again(self, users: list[str]) -> None:
        """Redis lost what it knew of us, or another process took us for dead while we hung."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for user_id in users:
                pipe.sadd(_user_key(user_id), self._process)
            pipe.sadd(_process_key(self._process), *users)
            await pipe.execute()

    async def _remove(self, process: str, user_ids: list[str]) -> list[str]:
        if not user_ids:
            return []
        async with self._redis.pipeline(transaction=True) as pipe:
            for user_id in user_ids:
                pipe.srem(_user_key(user_id), process)
                pipe.scard(_user_key(user_id))
            pipe.srem(_process_key(process), *user_ids)
            answers = await pipe.execute()
        pairs = zip(user_ids, answers[0:-1:2], answers[1:-1:2], strict=True)
        return [user_id for user_id, removed, left in pairs if removed and not left]
