"""The server's secret: given by JWT_SECRET, or generated into DATA_DIR once. Keys for each use are derived from it."""

from __future__ import annotations

import hashlib
import hmac
import math
import os
import re
import secrets
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

BYTES_MIN = 32
# By the estimate of `bits_of`, which is on the low side: 32 random hexadecimal digits have 128 bits, and by it 112,
# give or take 20; what is made of 32 random bytes has above 100, however it is written.
BITS_MIN = 75
_WORD_LETTER_BITS = 2.0
_WORD = re.compile("[A-Z]?[a-z]{4,}|[A-Z]{4,}")
_FORESEEN = re.compile(
    "change|default|example|insecure|jwt|key|parley|passw(?:or)?d|placeholder|production|replace|secret|server|super|test"
    "|token|your",
    re.IGNORECASE,
)


class SecretError(RuntimeError):
    """The stored secret cannot be used; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Key:
    """`kid` goes into token headers, so that a rotated secret keeps verifying what the old one signed."""

    kid: str
    secret: bytes

    def derive(self, purpose: str) -> bytes:
        """32 bytes for one purpose; knowing one derived key tells nothing of another."""
        return hmac.digest(self.secret, purpose.encode(), "sha256")


def make_key(secret: str) -> Key:
    material = secret.encode()
    return Key(hashlib.sha256(b"kid:" + material).hexdigest()[:12], material)


def keys(current: str | None, previous: str | None, data_dir: Path) -> list[Key]:
    """What signs, and what else verifies. Without a secret in the settings, that of DATA_DIR."""
    first = make_key(current or load_or_create(data_dir))
    return [first, make_key(previous)] if previous else [first]


def bits_of(secret: str) -> float:
    """A plain estimate of how hard the secret is to guess.

    A character counts by how rare it is in the secret, but a letter of what may be a word two bits only, as in English;
    words that stand for a secret, what was there before and runs such as 1234 count nothing.
    """
    counts = Counter(secret)
    bits = [math.log2(len(secret) / counts[character]) for character in secret]
    for word in _WORD.finditer(secret):
        for at in range(*word.span()):
            bits[at] = min(bits[at], _WORD_LETTER_BITS)
    for word in _FORESEEN.finditer(secret):
        for at in range(*word.span()):
            bits[at] = 0.0
    seen = set()
    for at in range(2, len(secret)):
        three = secret[at - 2 : at + 1]
        before, step = ord(three[1]) - ord(three[0]), ord(three[2]) - ord(three[1])
        if three in seen or (before == step and abs(step) <= 1):
            bits[at] = 0.0
        seen.add(three)
    return sum(bits)


def load_or_create(data_dir: Path) -> str:
    """The secret in DATA_DIR/secret (mode 0600), made at the first start."""
    path = data_dir / "secret"
    if path.exists():
        return _load(path)
    data_dir.mkdir(parents=True, exist_ok=True)
    # Written aside and linked into place: a crash or a second process never leaves or reads half a secret.
    aside = path.with_suffix(f".{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(BYTES_MIN))
            file.flush()
            os.fsync(file.fileno())
        os.link(aside, path)
    except FileExistsError:
        pass  # another process was faster: its secret is everybody's
    finally:
        aside.unlink(missing_ok=True)
    return _load(path)


def _load(path: Path) -> str:
    secret = path.read_text().strip()
    if len(secret.encode()) < BYTES_MIN:
        raise SecretError(f"{path} does not hold a secret of {BYTES_MIN} bytes; remove it to have a new one made")
    return secret
