"""Cross-site request tokens for clients that authenticate by cookie.

The token is a MAC over the session, given in a readable cookie and expected back in a header that another site cannot
set (signed double submit). A request with a bearer token needs none.
"""

from __future__ import annotations

import hmac
from hashlib import sha256

HEADER = "X-CSRF-Token"


def token_for(session_id: str, key: bytes) -> str:
    return hmac.new(key, session_id.encode(), sha256).hexdigest()


def matches(given: str | None, session_id: str, key: bytes) -> bool:
    return given is not None and hmac.compare_digest(given.encode(), token_for(session_id, key).encode())
