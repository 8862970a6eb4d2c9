"""Which client opens a connection, told by what it cannot change: how it writes the address, before any header.

Only the official JavaScript client can use connection state recovery as well as take its offsets, which stand behind an
event's payload as one more argument. python-socketio calls handlers with it, which raises TypeError there, and Dart's
client hands them a list. Nothing in the protocol says who a client is, so this goes by how each builds its query:

    official JavaScript   EIO=4&transport=polling&t=…   EIO=4&transport=websocket
    Dart                  EIO=4&transport=polling       EIO=4&transport=websocket
    python-engineio       transport=polling&EIO=4&t=…   transport=websocket&EIO=4

Headers decide only where both write the same: Dart outside a browser names itself, and React Native on iOS sends none.
In a browser with WebSocket first, Dart cannot be told from JavaScript; `recovery=0` in its query says so. See
docs/decisions/0013.
"""

from __future__ import annotations

import re
import time

from aiohttp import web

PYTHON_PACKETS_MAX = 16
_PYTHON = re.compile(r"\bpython\b", re.IGNORECASE)
_DART = re.compile(r"\bdart\b", re.IGNORECASE)
_CLOCKS_DIFFER_MS = 3600 * 1000
_BASE_36 = re.compile("[0-9a-z]{8}")


def keeps_offsets(request: web.Request) -> bool:
    """Whether the client takes offsets behind the payloads of events, and can come back with the last of them.

    `recovery=1` or `recovery=0` in the query of its first request decides, whatever the client looks like.
    """
    said = request.query.get("recovery")
    if said is not None:
        return said == "1"
    return not (_is_python(request) or _is_dart(request))


def packets_at_most(request: web.Request) -> int | None:
    """In one answer to a poll: python-engineio's client takes more for an attack, and ends the connection."""
    return PYTHON_PACKETS_MAX if _is_python(request) else None


def _is_python(request: web.Request) -> bool:
    """python-engineio puts `transport` before `EIO`, behind whatever its user has in the address."""
    if _PYTHON.search(request.headers.get("User-Agent", "")):
        return True
    names = [part.partition("=")[0] for part in request.rel_url.raw_query_string.split("&")]
    return "EIO" in names and "transport" in names[: names.index("EIO")]


def _is_dart(request: web.Request) -> bool:
    """Dart's client polls without `t`; if told to send one, it is the time. JavaScript's is partly random."""
    if _DART.search(request.headers.get("User-Agent", "")):
        return True
    t = request.query.get("t")
    if t is None:
        return request.query.get("transport") == "polling"
    return bool(_BASE_36.fullmatch(t)) and abs(int(t, 36) - time.time() * 1000) < _CLOCKS_DIFFER_MS
