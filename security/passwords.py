"""Password hashes: bcrypt over a keyed digest, off the event loop.

bcrypt takes 72 bytes and raises over them, so it gets base64(HMAC-SHA256(pepper, NFKC(password))), 44 bytes whatever
the password's length. Verifying an unknown account costs the same as a known one.
"""

from __future__ import annotations

import base64
import hmac
import unicodedata
from functools import partial

import bcrypt

from contract.errors import invalid
from security.hashing import Caller, HashQueue

# Refused outright: the first entries of every list of leaked passwords that are at least 8 characters long.
_COMMON = frozenset(
    """12345678 123456789 1234567890 password password1 qwertyui qwertyuiop iloveyou 11111111 00000000 abcd1234
    88888888 87654321 66666666 sunshine princess football baseball superman trustno1 letmein1 welcome1""".split()
)


def check_strength(password: str, email: str) -> None:
    """Length is the schema's business; here only what a guesser tries first is refused."""
    folded = password.casefold()
    if folded in _COMMON:
        raise invalid("password", "is among the most common passwords; choose another")
    if folded == email.casefold() or len(set(folded)) < 3:
        raise invalid("password", "is too easy to guess; choose another")


class Passwords:
    """`rounds` is bcrypt's cost; two threads, so that a burst of log-ins cannot take every core.

    `pepper` (PASSWORD_PEPPER) is a secret of its own and not derived from JWT_SECRET: that one is rotated, and
    passwords must outlive it. Empty is fine; a change makes every password wrong.
    """

    def __init__(self, pepper: str, rounds: int) -> None:
        self._pepper = pepper.encode()
        self._rounds = rounds
        self._queue = HashQueue()
        self._decoy = bcrypt.hashpw(b"nobody", bcrypt.gensalt(rounds))

    def prehash(self, password: str) -> bytes:
        text = unicodedata.normalize("NFKC", password)
        return base64.b64encode(hmac.digest(self._pepper, text.encode(), "sha256"))

    async def hash(self, password: str, caller: Caller, owner: str | None = None) -> str:
        """Raises over_capacity, see `security.hashing`."""
        salt = bcrypt.gensalt(self._rounds)
        hashed: bytes = await self._queue.run(caller, partial(bcrypt.hashpw, self.prehash(password), salt), owner)
        return hashed.decode()

    def check_room(self, caller: Caller, owner: str | None = None) -> None:
        """Raises over_capacity if `verify` would now."""
        self._queue.check_room(caller, owner)

    async def verify(self, password: str, hashed: str | None, caller: Caller, owner: str | None = None) -> bool:
        """False for a wrong password, and, after as long, for an account that does not exist (`hashed` None).

        `owner`: of which account the caller is probably the owner. Raises over_capacity.
        """
        target = hashed.encode() if hashed else self._decoy
        right = await self._queue.run(caller, partial(bcrypt.checkpw, self.prehash(password), target), owner)
        return bool(right) and hashed is not None

    def close(self) -> None:
        self._queue.close()
