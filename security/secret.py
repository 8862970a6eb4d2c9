"""The server's secret: given by JWT_SECRET, or generated into DATA_DIR once. Keys for each use are derived from it."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path


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


def load_or_create(data_dir: Path) -> str:
    """The secret in DATA_DIR/secret (mode 0600), made at the first start."""
    path = data_dir / "secret"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        pass
    data_dir.mkdir(parents=True, exist_ok=True)
    secret = secrets.token_hex(32)
    # Written aside and linked into place: a crash or a second process never leaves or reads half a secret.
    aside = path.with_suffix(f".{os.getpid()}")
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(aside, path)
    except FileExistsError:
        return path.read_text().strip()
    finally:
        aside.unlink()
    return secret
