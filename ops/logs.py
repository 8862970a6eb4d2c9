"""Structured logs: one JSON object a line, to standard output and to a rotated file, each with its request id.

Secrets are never logged: the choke points log names, codes and durations, not payloads or headers; what looks like a
token in a message (a URL with credentials, say) is masked on the way out. The ids of sessions are secrets too: whoever
knows that of an Engine.IO session can poll for its client, and a refresh token begins with that of its log-in. Logs
name connections as administrators see them, and the others by a digest, which tells which lines belong together.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import logging.handlers
import re
import secrets
import sys
from contextvars import ContextVar
from pathlib import Path

from pythonjsonlogger.json import JsonFormatter

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
PROCESS_ID = secrets.token_hex(4)
_numbers = itertools.count(1)


def new_request_id() -> str:
    """Unique across processes, and cheap: 32 random bits of this process and a running number."""
    return f"{PROCESS_ID}{next(_numbers):08x}"


FILE_BYTES_MAX = 10_000_000
FILES_KEPT = 5
MESSAGE_MAX = 8_192
# Outsiders write a part of what is logged, so this reads a text once, whatever it is: no run is begun twice.
_SECRET = re.compile(
    r"(?<=://)[^/@\s:]++:[^/@\s]++(?=@)|(?<=token=)[^&\s\"]++|(?<![A-Za-z0-9])(?P<login>s_[0-9a-f]{24})(?:\.[\w-]++)?+"
    r"|(?P<dotted>(?<![\w.-])[\w-]++(?:\.[\w-]++){2,}+)"
)


def digest(secret: str) -> str:
    """Tells secrets apart, and not what they are."""
    return hashlib.sha256(secret.encode()).hexdigest()[:8]


def masked(text: str) -> str:
    """Without what looks like a token, the id of a log-in, or a password in a URL."""
    return _SECRET.sub(_mask, text)


def _mask(found: re.Match[str]) -> str:
    if found["login"] is not None:
        return f"s_{digest(found['login'])}…"
    dotted = found["dotted"]  # a JWT, or the name of a host
    return dotted if dotted is not None and "eyJ" not in dotted else "***"


class LogError(Exception):
    """Logs cannot be written where they should be; the text says why."""


class _Formatter(JsonFormatter):
    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if len(message) > MESSAGE_MAX:
            record.msg, record.args = f"{message[:MESSAGE_MAX]}… ({len(message):,} characters)", ()
        return masked(super().format(record))


class _RequestId(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = REQUEST_ID.get()
        return True


def _file(directory: Path, route: str) -> logging.Handler:
    path = directory / (f"parley-{route}.log" if route else "parley.log")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return logging.handlers.RotatingFileHandler(
            path, maxBytes=FILE_BYTES_MAX, backupCount=FILES_KEPT, encoding="utf-8"
        )
    except OSError as error:
        raise LogError(f"logs cannot be written to {path}: {error.strerror}") from None


def configure(level: str, directory: Path | None, route: str = "") -> None:
    """Replaces whatever logging was set up. `directory` None: standard output only.

    Processes with routes may share a directory: each has a file of its own, since two cannot rotate one. Raises
    LogError.
    """
    formatter = _Formatter(
        "%(asctime)s %(levelname)s %(name)s %(message)s %(request_id)s",
        rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
        datefmt="%Y-%m-%dT%H:%M:%S%z",
        static_fields={"route": route} if route else {},
    )
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout)]
    if directory is not None:
        handlers.append(_file(directory, route))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        handler.setFormatter(formatter)
        handler.addFilter(_RequestId())
        root.addHandler(handler)
    root.setLevel(level)
    # The driver's debug output repeats commands, the web framework's requests, and its access log repeats ours.
    for noisy in ("pymongo", "aiohttp.access", "aiohttp.server", "asyncio"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
