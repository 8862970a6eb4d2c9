"""The two cookies of a log-in, for browsers that keep no tokens: one that authenticates, one with the CSRF token.

Where pages come over TLS their names begin with `__Host-`: a browser takes such a cookie only from this very host, over
TLS and for all of its paths, so that neither a neighbour under the same domain nor anyone on the way can plant one.
Over plain HTTP browsers refuse the prefix, so in development the names are plain.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from contract.identity import Tokens
from security import csrf

_HOST_ONLY = "__Host-"
_CSRF = "csrf_token"


class Cookies:
    """`name`: of the one that authenticates; no other does. `key` signs CSRF tokens."""

    def __init__(self, name: str, key: bytes, secure: bool) -> None:
        prefix = _HOST_ONLY if secure else ""
        self.auth, self.csrf = prefix + name, prefix + _CSRF
        self._key = key
        self._where: dict[str, Any] = {"path": "/", "samesite": "Lax", "secure": secure}

    def is_ours(self, request: web.Request, session_id: str) -> bool:
        """Whether it brings the CSRF token of the session, which no other site knows."""
        return csrf.matches(request.headers.get(csrf.HEADER), session_id, self._key)

    def set(self, response: web.Response, tokens: Tokens, session_id: str) -> None:
        kept = {**self._where, "max_age": tokens.expires_in}
        response.set_cookie(self.auth, tokens.access_token, httponly=True, **kept)
        response.set_cookie(self.csrf, csrf.token_for(session_id, self._key), **kept)

    def delete(self, response: web.Response) -> None:
        """In the same words as they were set: a browser ignores an insecure one that would take away a secure one."""
        for name in (self.auth, self.csrf):
            response.del_cookie(name, **self._where)
