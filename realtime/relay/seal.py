"""Tells what a process of this deployment said from what somebody else wrote into Redis.

What goes into a channel at once is sealed together:

    count · MAC … MAC · messages        a MAC is BLAKE2b over the channel's whole name and the messages

Every message has the process and its number or offset in it, so that a MAC covers those too. While a secret is being
replaced, a process that knows both makes a MAC with each: those that know only one of the two understand it, and it
them, whichever way round they are restarted.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from hmac import compare_digest

MAC_BYTES = 16
_START_MAX = 1 + MAC_BYTES * 2  # JWT_SECRET and JWT_SECRET_PREVIOUS


class Seal:
    """`keys`: of 64 bytes at most, the newest first."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keyed = [blake2b(digest_size=MAC_BYTES, key=key) for key in keys]
        self._count = bytes((len(keys),))

    def close(self, channel: str, messages: bytes) -> bytes:
        macs = [_mac(keyed, channel, messages) for keyed in self._keyed]
        return b"".join((self._count, *macs, messages))

    def open(self, channel: str, sealed: bytes) -> bytes | None:
        """The messages; None if nobody of this deployment said them there."""
        start = 1 + MAC_BYTES * sealed[0] if sealed else 0
        if not 1 < start <= min(len(sealed), _START_MAX):
            return None
        messages = sealed[start:]
        for keyed in self._keyed:
            mac = _mac(keyed, channel, messages)
            for at in range(1, start, MAC_BYTES):
                if compare_digest(mac, sealed[at : at + MAC_BYTES]):
                    return messages
        return None


def _mac(keyed: blake2b, channel: str, messages: bytes) -> bytes:
    mac = keyed.copy()
    mac.update(channel.encode() + b"\0")
    mac.update(messages)
    return mac.digest()
