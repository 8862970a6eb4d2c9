"""What every namespace asks before it does anything: who is this, are they still logged in, how much was asked for."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Any

from contract.errors import ParleyError
from models.sessions.actions import Sessions
from realtime.admission import Admission
from realtime.connections import Connections
from security.limits import CommandLimits
from security.tokens import Identity, Tokens

TOKENS_KEPT = 4_096


class Gate:
    """One for all namespaces. `running` tells how many commands are."""

    def __init__(
        self, tokens: Tokens, sessions: Sessions, connections: Connections, limits: CommandLimits, admission: Admission
    ) -> None:
        self.admission = admission
        self.tokens = tokens
        self.sessions = sessions
        self.connections = connections
        self.limits = limits
        self.running = 0
        self._verified: OrderedDict[str, Identity] = OrderedDict()

    async def authenticate(self, auth: Any) -> Identity:
        """Raises unauthenticated, session_revoked, or what `Tokens.verify` raises."""
        if not isinstance(auth, dict) or not isinstance(auth.get("token"), str) or not auth["token"]:
            raise ParleyError("unauthenticated", 'Connect with auth: {token: "…"}.')
        identity = self._verify(auth["token"].removeprefix("Bearer "))
        await self.sessions.require_live(identity.session_id)
        return identity

    def check_rate(self, what: str, user_id: str) -> None:
        """Raises rate_limited."""
        if wait_ms := self.limits.retry_after_ms(what, user_id):
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
