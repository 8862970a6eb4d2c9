"""The server's secret: given by JWT_SECRET, or generated into DATA_DIR once. Keys for each use are derived from it."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

BYTES_MIN = 32


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
