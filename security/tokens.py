"""Access tokens (JWT, RFC 8725) and refresh tokens (opaque, RFC 9700).

An access token is pinned to HS256 and must carry iss, aud, sub, sid, role, iat, exp and the header typ `at+jwt`; `kid`
picks the key, so that a new secret can be introduced while tokens of the old one live.

A session's first refresh token is random. Each next one is derived from the one before and the server's secret, so a
client that trades one twice, because two tabs did at once or the answer was lost, can be given the same successor
though only hashes are stored.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import secrets
import time
from dataclasses import dataclass
from typing import Any, get_args

import jwt

from contract.errors import ParleyError
from contract.identity import Role
from ops import audit
from security.secret import Key

ISSUER = "parley"
AUDIENCE = "parley"
TYPE = "at+jwt"
ALGORITHM = "HS256"
# Hosts that act as one have clocks that differ. Only for when a token begins: its end is its end.
LEEWAY_S = 5
RETRY_MAX_S = 60


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a verified token speaks for. `expires_at` is seconds since the epoch."""

    user_id: str
    session_id: str
    role: Role
    expires_at: float


class Tokens:
    """Issues with the first key, verifies with any."""

    def __init__(self, keys: list[Key], ttl_s: int) -> None:
        self.ttl_s = ttl_s
        self._current = keys[0]
        self._by_kid = {key.kid: key.derive("access-token") for key in keys}
        self._refresh_keys = [key.derive("refresh-token") for key in keys]
        self._jwt = jwt.PyJWT({"enforce_minimum_key_length": True})

    def issue(self, user_id: str, session_id: str, role: str, now: float | None = None) -> str:
        issued = int(now if now is not None else time.time())
        claims = {
            "iss": ISSUER, "aud": AUDIENCE, "sub": user_id, "sid": session_id, "role": role, "iat": issued,
            "exp": issued + self.ttl_s, "jti": secrets.token_urlsafe(9),
        }  # fmt: skip
        headers = {"typ": TYPE, "kid": self._current.kid}
        return self._jwt.encode(claims, self._by_kid[self._current.kid], ALGORITHM, headers)

    def verify(self, token: str) -> Identity:
        """Raises token_expired, token_not_yet_valid or token_invalid, and says no more to the caller than that."""
        try:
            return self._verified(token)
        except ParleyError as error:
            if error.code != "token_expired":  # which happens to everyone
                audit.record("token_refused", code=error.code)
            raise

    def _verified(self, token: str) -> Identity:
        try:
            header = jwt.get_unverified_header(token)
            if header.get("typ") != TYPE or header.get("kid") not in self._by_kid:
                raise ParleyError("token_invalid")
            claims: dict[str, Any] = self._jwt.decode(
                token,
                self._by_kid[header["kid"]],
                [ALGORITHM],
                audience=AUDIENCE,
                issuer=ISSUER,
                options={
                    "require": ["iss", "aud", "sub", "sid", "role", "iat", "exp"],
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
            begins_at = max(float(claims["iat"]), float(claims.get("nbf", 0)))
        except jwt.ExpiredSignatureError:
            raise ParleyError("token_expired") from None
        except (jwt.InvalidTokenError, ValueError, TypeError):
            raise ParleyError("token_invalid") from None
        if claims["role"] not in get_args(Role) or not math.isfinite(begins_at):
            raise ParleyError("token_invalid")
        if (early_s := begins_at - LEEWAY_S - time.time()) > 0:
            raise ParleyError("token_not_yet_valid", retry_after_ms=int(min(early_s, RETRY_MAX_S) * 1000) + 1)
        return Identity(str(claims["sub"]), str(claims["sid"]), claims["role"], float(claims["exp"]))

    def refresh_successors(self, refresh_token: str) -> list[str]:
        """The token that this one is traded for: the same on every process and each time, for each of the secrets.

        The first is to be issued; the others are what a process with another current secret may have issued.
        """
        session_id = refresh_session(refresh_token)
        digests = (hmac.digest(key, refresh_token.encode(), "sha256") for key in self._refresh_keys)
        return [f"{session_id}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}" for digest in digests]


def new_refresh_token(session_id: str) -> str:
    """`SESSION.RANDOM`; 256 random bits."""
    return f"{session_id}.{secrets.token_urlsafe(32)}"


def refresh_session(token: str) -> str:
    """The session a refresh token names; raises token_invalid."""
    session_id, dot, rest = token.partition(".")
    if not dot or not session_id or not rest:
        raise ParleyError("token_invalid")
    return session_id


def refresh_hash(token: str) -> str:
    """What is stored of a refresh token. Plain SHA-256 is right for 256 random bits."""
    return hashlib.sha256(token.encode()).hexdigest()
