"""What this process and its children write to disk is for their user alone: the secret, people's messages, logs."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

log = logging.getLogger("parley.private")

_OTHERS = 0o077
# What we put into DATA_DIR. A directory that has something else too is shared with somebody, who may need it open.
_OURS = ("db", "db.json", "db.log", "logs", "parley.lock", "secret")


def be_private() -> None:
    """Of what is created from now on; children inherit it."""
    os.umask(_OTHERS)


def close_to_others(data_dir: Path) -> None:
    """What an earlier version, or someone by hand, made readable for others."""
    entries = list(data_dir.iterdir())
    # A crash while the secret is made leaves secret.SOMETHING.
    ours = [entry for entry in entries if entry.name in _OURS or entry.name.startswith("secret.")]
    alone = len(ours) == len(entries)
    for path in (*([data_dir.resolve()] if alone else []), *ours):
        _close(path)
    if not alone and stat.S_IMODE(data_dir.stat().st_mode) & _OTHERS:
        log.warning("DATA_DIR %s is open to other users and has other files in it: give it one of its own", data_dir)


def _close(path: Path) -> None:
    try:
        mode = stat.S_IMODE(path.stat(follow_symlinks=False).st_mode)
        if mode & _OTHERS and not path.is_symlink():
            path.chmod(mode & ~_OTHERS)
            log.warning("%s was open to other users (mode %o) and no longer is", path, mode)
    except FileNotFoundError:
        pass  # another process had it for a moment
    except OSError as error:
        log.warning("%s is open to other users, and cannot be closed to them: %s", path, error.strerror)
