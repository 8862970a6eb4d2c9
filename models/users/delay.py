"""The progressive delay on failed log-ins.

Per account and address together: five tries are free, then each failure doubles the wait, from one second to fifteen
minutes. Per account alone the same begins after fifty, so that many addresses do not help a guesser, while nobody can
lock someone else out by a few wrong tries. Counts are kept in the database, so a restart or another process forgets
nothing, and fade an hour after the last failure.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from hashlib import sha256

from contract.errors import ParleyError
from models.users.store import UserStore

FREE_PER_ADDRESS = 5
FREE_PER_ACCOUNT = 50
WAIT_MAX = timedelta(minutes=15)
MEMORY = timedelta(hours=1)
SWEEP_EVERY = 100


def wait_after(failures: int, free: int) -> timedelta:
    """How long after the last of so many failures the next try may come."""
    if failures < free:
        return timedelta(0)
    return min(timedelta(seconds=2 ** min(failures - free, 20)), WAIT_MAX)


class LoginDelay:
    def __init__(self, store: UserStore) -> None:
        self._store = store
        self._since_sweep = 0

    @staticmethod
    def _keys(email_key: str, ip: str | None) -> tuple[str, str]:
        account = sha256(email_key.encode()).hexdigest()[:32]
        return f"{account}@{ip}", account

    async def check(self, email_key: str, ip: str | None, at: datetime) -> None:
        """Raises account_locked with the time to wait."""
        pair, account = self._keys(email_key, ip)
        found = await self._store.failures([pair, account])
        wait = timedelta(0)
        for key, free in ((pair, FREE_PER_ADDRESS), (account, FREE_PER_ACCOUNT)):
            if key in found and found[key]["expires_at"] > at:
                wait = max(wait, found[key]["last_at"] + wait_after(found[key]["count"], free) - at)
        if wait > timedelta(0):
            raise ParleyError("account_locked", retry_after_ms=int(wait.total_seconds() * 1000) + 1)

    async def failed(self, email_key: str, ip: str | None, at: datetime) -> None:
        for key in self._keys(email_key, ip):
            await self._store.add_failure(key, at, MEMORY)
        self._since_sweep += 1
        if self._since_sweep >= SWEEP_EVERY:  # what guessing leaves behind is cleared by guessing
            self._since_sweep = 0
            await self._store.sweep_failures(at)

    async def succeeded(self, email_key: str, ip: str | None) -> None:
        await self._store.clear_failures(self._keys(email_key, ip)[0])
