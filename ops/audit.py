"""Security events: each is a log line of its own under a stable name, and a count.

Outsiders cause many of them, so the lines of one name are bounded: what is over is counted, and the next line says how
many were left out. Never in them: passwords, tokens, ids of sessions, and e-mail addresses of unknown accounts.
"""

from __future__ import annotations

import logging
from time import monotonic

from ops.metrics import SECURITY_EVENTS

log = logging.getLogger("parley.security")

# Stable: operators search and alert by these names.
EVENTS = {
    "login_succeeded": "Someone logged in; `known` tells whether from a device or an address of theirs.",
    "login_failed": "A wrong password, or an account that does not exist.",
    "login_slowed": "A try that was not made, since there were too many before it (account_locked).",
    "account_registered": "An account was made.",
    "password_changed": "Someone changed their password.",
    "account_disabled": "An operator closed an account.",
    "account_enabled": "An operator opened it again.",
    "session_ended": "A log-in ended before its time; `reason` says why.",
    "refresh_reused": "A spent refresh token came again: two parties had it, and its session was ended.",
    "token_refused": "An access token was not accepted; `code` says why.",
    "access_refused": "Someone asked for what their role does not allow.",
    "csrf_refused": "A request by cookie without its token.",
    "rate_limited": "A request over HTTP was over its limit.",
    "connection_blocked": "A connection was closed because it went on asking for what it was refused, or brought too "
    "much before a log-in.",
    "strangers_closed": "Connections that had not logged in were closed to make room.",
    "credit_limit_changed": "A buyer's credit limit was set.",
    "rule_changed": "A seller's rule was set or taken away.",
    "connection_ended": "An operator closed a connection.",
}
LINES_PER_S = 10.0
LINES_BURST = 50


class _Lines:
    """How many lines of one name may be written just now."""

    __slots__ = ("at", "left", "unsaid")

    def __init__(self) -> None:
        self.left, self.at, self.unsaid = float(LINES_BURST), monotonic(), 0

    def take(self) -> bool:
        at = monotonic()
        self.left = min(LINES_BURST, self.left + (at - self.at) * LINES_PER_S)
        self.at = at
        if self.left < 1:
            self.unsaid += 1
            return False
        self.left -= 1
        return True


_lines = {name: _Lines() for name in EVENTS}


# What outsiders cannot cause again and again; of these every line is written.
ALWAYS = frozenset(
    {"account_disabled", "account_enabled", "connection_ended", "credit_limit_changed", "password_changed"}
)


def record(event: str, **particulars: str | int | bool | None) -> None:
    """`particulars` become fields of the line. Raises KeyError for a name that is not declared."""
    lines = _lines[event]
    SECURITY_EVENTS.labels(event).inc()
    if event not in ALWAYS and not lines.take():
        return
    fields = {name: value for name, value in particulars.items() if value is not None}
    if lines.unsaid:
        fields["left_out"], lines.unsaid = lines.unsaid, 0
    log.info(event, extra={"event": event, **fields})
