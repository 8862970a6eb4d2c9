"""What every namespace asks before it does anything: who is this, and are they still logged in."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Any

from contract.errors import ParleyError
from contract.registry import CONNECT
from models.executor import Executor
from models.sessions.actions import Sessions
from realtime.admission import Admission
from realtime.connections import Connections
from security.tokens import Identity, Tokens

TOKENS_KEPT = 4_096


class Gate:
    """One for all namespaces."""

    def __init__(
        self, tokens: Tokens, sessions: Sessions, connections: Connections, executor: Executor, admission: Admission
    ) -> None:
        self.admission = admission
        self.tokens = tokens
        self.sessions = sessions
        self.connections = connections
        self.executor = executor
        self._verified: OrderedDict[str, Identity] = OrderedDict()

    async def authenticate(self, auth: Any) -> Identity:
        """Raises unauthenticated, session_revoked, or what `Tokens.verify` raises."""
        if not isinstance(auth, dict) or not isinstance(auth.get("token"), str) or not auth["token"]:
            raise ParleyError("unauthenticated", 'Connect with auth: {token: "…"}.')
        identity = self._verify(auth["token"].removeprefix("Bearer "))
        await self.sessions.require_live(identity.session_id)
        return identity

    def check_connects(self, user_id: str) -> None:
        """Raises rate_limited."""
        if wait_ms := self.executor.limits.retry_after_ms(CONNECT, user_id):
            raise ParleyError("rate_limited", retry_after_ms=wait_ms)

    def _verify(self, token: str) -> Identity:
        """A client sends the same token to each namespace in turn: its signature is checked once."""
        identity = self._verified.get(token)
        if identity is not None and identity.expires_at > time.time():
            return identity
        identity = self._verified[token] = self.tokens.verify(token)
        if len(self._verified) > TOKENS_KEPT:
            self._verified.popitem(last=False)
        return identity
