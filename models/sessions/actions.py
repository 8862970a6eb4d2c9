"""What people can do with their log-ins: open, refresh, list and end them.

A session is live until it is revoked or not refreshed for its time. Ending one is durable first, then told to every
process over the bus: each closes that session's connections and forgets what it had cached of it.
"""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any, Literal

import msgspec

from contract import identity
from contract.errors import ParleyError
from contract.identity import Device, SessionList, SessionTarget, Tokens
from contract.types import Empty
from models.context import Actions, Client, Context, new_id, now
from models.sessions.document import credentials_of, to_session
from models.sessions.store import SessionStore
from ops import audit
from realtime.bus import Bus
from security import tokens as security_tokens
from storage.mongo import Document

RevokedReason = Literal["logged_out", "revoked", "refresh_reused", "password_changed", "disabled"]
# How long a process may go on believing that a session is live if the bus loses a message.
LIVE_CACHE_S = 5.0
CACHE_MAX = 50_000
SESSIONS_PER_USER_MAX = 50
REPEATED_WITHIN = timedelta(seconds=10)
KEPT_AFTER_END = timedelta(days=7)
FORGET_AT_ONCE = 200
FORGET_PAUSE_S = 0.1


class LiveSession(msgspec.Struct):
    """A session right after its refresh token was made. `credentials`: of which password of the user it is."""

    id: str
    user_id: str
    refresh_token: str
    credentials: int


class Sessions:
    def __init__(self, store: SessionStore, tokens: security_tokens.Tokens, bus: Bus, refresh_ttl_s: int) -> None:
        self._store = store
        self._tokens = tokens
        self._bus = bus
        self._ttl = timedelta(seconds=refresh_ttl_s)
        self._live_until: dict[str, float] = {}
        self._revoked: dict[str, None] = {}
        bus.subscribe("session_revoked", self._forget)

    def actions(self) -> Actions:
        return {
            identity.SESSIONS: self.list_mine,
            identity.REVOKE_SESSION: self.revoke,
        }

    async def open(self, user_id: str, credentials: int, device: Device | None, client: Client) -> LiveSession:
        """A new session; the oldest ones of a user who has too many are ended."""
        at = now()
        session_id = new_id("s")
        refresh_token = security_tokens.new_refresh_token(session_id)
        await self._store.insert(
            {
                "_id": session_id, "user_id": user_id, "device": msgspec.to_builtins(device or Device()),
                "ip": client.ip, "network": client.address, "user_agent": client.user_agent, "credentials": credentials,
                "created_at": at, "last_used_at": at, "expires_at": at + self._ttl, "revoked_at": None,
                "spent_hashes": [], "refresh_hash": security_tokens.refresh_hash(refresh_token),
            }
        )  # fmt: skip
        live = await self._store.live_of(user_id, at)
        for old in live[SESSIONS_PER_USER_MAX:]:
            await self._end(old, "revoked")
        return LiveSession(session_id, user_id, refresh_token, credentials)

    async def knows(self, user_id: str, device_id: str | None, network: str) -> tuple[bool, bool]:
        """Whether this user has a log-in, or had one in the last week, from this device, and from this network."""
        return await self._store.knows(user_id, device_id, network)

    async def credentials(self, session_id: str) -> int:
        document = await self._store.find(session_id)
        return credentials_of(document) if document is not None else -1

    def tokens_for(self, session: LiveSession, role: str) -> Tokens:
        return Tokens(
            access_token=self._tokens.issue(session.user_id, session.id, role),
            refresh_token=session.refresh_token,
            token_type="Bearer",
            expires_in=self._tokens.ttl_s,
        )

    async def forget_old(self, what: dict[str, Any]) -> None:
        """The job: log-ins that ended long ago, a few at a time so that nothing else waits for it."""
        before = now() - KEPT_AFTER_END
        while True:
            if await self._store.forget(before, FORGET_AT_ONCE) < FORGET_AT_ONCE:
                return
            await asyncio.sleep(FORGET_PAUSE_S)

    async def rotate(self, refresh_token: str, client: Client) -> LiveSession:
        """Trades the token in. One that was traded before revokes the session: two parties hold it.

        Not within REPEATED_WITHIN, while its successor is unused: then it is one party that asks twice, because it has
        two tabs or the first answer was lost, and it gets the same successor.
        """
        session_id = security_tokens.refresh_session(refresh_token)
        document = await self._store.find(session_id)
        if document is None:
            raise ParleyError("token_invalid")
        given = security_tokens.refresh_hash(refresh_token)
        successors = self._tokens.refresh_successors(refresh_token)
        if given != document["refresh_hash"]:
            return await self._repeated(document, given, successors)
        if document["revoked_at"] is not None:
            raise ParleyError("session_revoked")
        at = now()
        if document["expires_at"] <= at:
            raise ParleyError("token_expired", "The session has expired; log in again.")
        fields = {
            "last_used_at": at, "expires_at": at + self._ttl, "ip": client.ip,
            "network": client.address, "user_agent": client.user_agent,
        }  # fmt: skip
        if not await self._store.rotate(session_id, given, security_tokens.refresh_hash(successors[0]), fields):
            # Someone else traded the same token between our read and our write.
            return await self._repeated(await self._store.find(session_id) or document, given, successors)
        return LiveSession(session_id, document["user_id"], successors[0], credentials_of(document))

    async def _repeated(self, document: Document, given: str, successors: list[str]) -> LiveSession:
        """The token is not the session's present one."""
        if document["revoked_at"] is None and document["last_used_at"] > now() - REPEATED_WITHIN:
            for token in successors:
                if security_tokens.refresh_hash(token) == document["refresh_hash"]:
                    return LiveSession(document["_id"], document["user_id"], token, credentials_of(document))
        if document["revoked_at"] is not None and given == document["refresh_hash"]:
            raise ParleyError("session_revoked")
        if given in document["spent_hashes"]:
            audit.record("refresh_reused", user_id=document["user_id"])
            await self._end(document, "refresh_reused")
            raise ParleyError("refresh_reused")
        raise ParleyError("token_invalid")

    async def log_out(self, context: Context, payload: Empty) -> None:
        document = await self._store.find(context.session_id)
        if document is not None:
            await self._end(document, "logged_out")

    async def list_mine(self, context: Context, payload: Empty) -> SessionList:
        live = await self._store.live_of(context.user_id, now())
        return SessionList(items=[to_session(document, context.session_id) for document in live], next_cursor=None)

    async def revoke(self, context: Context, payload: SessionTarget) -> None:
        document = await self._store.find(payload.session_id)
        if document is None or document["user_id"] != context.user_id:
            raise ParleyError("not_found", "You have no such session.")
        await self._end(document, "revoked")

    async def keep(self, session_id: str, credentials: int) -> None:
        """The password is about to become that one, and this session is to outlive the change."""
        await self._store.set_credentials(session_id, credentials)

    async def end(self, session: LiveSession, reason: RevokedReason) -> None:
        await self._end({"_id": session.id, "user_id": session.user_id}, reason)

    async def end_all(self, user_id: str, reason: RevokedReason, kept_id: str = "") -> None:
        """Every live session of a user but one."""
        for document in await self._store.live_of(user_id, now()):
            if document["_id"] != kept_id:
                await self._end(document, reason)

    async def _end(self, document: Document, reason: RevokedReason) -> None:
        if await self._store.revoke(document["_id"], now()):
            audit.record("session_ended", user_id=document["user_id"], reason=reason)
            await self._bus.publish("session_revoked", {"session_id": document["_id"], "reason": reason})

    async def dead_among(self, session_ids: list[str]) -> list[str]:
        """Those of them that have ended, which is remembered as if it had been told."""
        live = await self._store.live_among(session_ids, now())
        dead = [session_id for session_id in session_ids if session_id not in live]
        for session_id in dead:
            await self._forget({"session_id": session_id})
        return dead

    async def require_live(self, session_id: str) -> None:
        """Raises session_revoked unless the session is live; asks the database every few seconds at most."""
        clock = time.monotonic()
        if self._live_until.get(session_id, 0.0) > clock:
            return
        document = await self._store.find(session_id)
        if document is None or document["revoked_at"] is not None or document["expires_at"] <= now():
            raise ParleyError("session_revoked")
        self.require_not_revoked(session_id)
        if len(self._live_until) >= CACHE_MAX:
            self._live_until.clear()
        self._live_until[session_id] = clock + LIVE_CACHE_S

    def require_not_revoked(self, session_id: str) -> None:
        """Raises session_revoked if this process heard of it, perhaps while someone was waiting for the database."""
        if session_id in self._revoked:
            raise ParleyError("session_revoked")

    async def _forget(self, data: dict[str, str]) -> None:
        self._live_until.pop(data["session_id"], None)
        self._revoked[data["session_id"]] = None
        if len(self._revoked) > CACHE_MAX:
            del self._revoked[next(iter(self._revoked))]
