"""What people can do with an account: make one, log in, look at it, change it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import UNSET

from contract import admin, identity
from contract.admin import AccountStatus, SetDisabled
from contract.errors import ParleyError
from contract.identity import (
    Device,
    Login,
    MeUpdate,
    PasswordChange,
    Refresh,
    Register,
    Role,
    TokensData,
    User,
    UserTokens,
)
from contract.types import Empty
from models.context import OPERATOR, Actions, Client, Context, new_id, now
from models.sessions.actions import LiveSession, Sessions
from models.sessions.document import credentials_of
from models.users.attempts import Lane, LoginAttempts, account_key
from models.users.attempts import lane as lane_of
from models.users.document import email_key, to_user
from models.users.store import UserStore
from ops import audit
from security.passwords import Passwords, check_strength
from storage.mongo import Document


class Users:
    def __init__(self, store: UserStore, sessions: Sessions, passwords: Passwords) -> None:
        self._store = store
        self._sessions = sessions
        self._passwords = passwords
        self._attempts = LoginAttempts(store)

    def actions(self) -> Actions:
        return {
            identity.ME: self.me,
            admin.SET_DISABLED: self.set_disabled,
        }

    async def register(self, client: Client, payload: Register) -> UserTokens:
        document = await self._insert(payload, payload.role, client)
        audit.record("account_registered", user_id=document["_id"], ip=client.ip)
        return await self._open(document, payload.device, client)

    async def create(self, payload: Register, role: Role, client: Client = OPERATOR) -> User:
        """Makes an account of any role; only `register`'s payload limits it to user and vendor."""
        return to_user(await self._insert(payload, role, client))

    async def _insert(self, payload: Register, role: Role, client: Client) -> Document:
        check_strength(payload.password, payload.email)
        hashed = await self._passwords.hash(payload.password, client)
        at = now()
        document: Document = {
            "_id": new_id("u"), "email": payload.email, "email_key": email_key(payload.email),
            "password_hash": hashed, "credentials": 0, "name": payload.name, "role": role,
            "phone": payload.phone, "business": payload.business, "email_verified": False, "disabled": False,
            "presence": {"status": "online", "text": None}, "last_seen_at": None, "created_at": at, "updated_at": at,
        }  # fmt: skip
        await self._store.insert(document)
        return document

    async def log_in(self, client: Client, payload: Login) -> UserTokens:
        key = email_key(payload.email)
        account, device_id = account_key(key), payload.device.id if payload.device is not None else None
        asker = f"{device_id} {client.address}"
        self._attempts.refuse_early(account, asker, now())
        document = await self._store.find_by_email(key)
        # What is asked for an account is asked as well where there is none: the two take as long.
        device, address = await self._sessions.knows(document["_id"] if document else "", device_id, client.address)
        lane = lane_of("device", device_id, True) if device else lane_of("address", client.address, address)
        try:
            await self._verify(document, account, lane, payload.password, client)
        except ParleyError as error:
            if error.code == "account_locked" and error.retry_after_ms is not None:
                self._attempts.told(account, asker, error.retry_after_ms, now())
            raise
        assert document is not None
        if document["disabled"]:
            raise ParleyError("forbidden", "This account is disabled.")
        result = await self._open(document, payload.device, client)
        audit.record("login_succeeded", user_id=document["_id"], ip=client.ip, known=lane.known)
        return result

    async def _verify(self, document: Document | None, account: str, lane: Lane, password: str, client: Client) -> None:
        """Returns if the password is right. The try is counted before it is made, whatever comes then."""
        user_id = document["_id"] if document else None
        owner = account if lane.known else None
        self._passwords.check_room(client, owner)
        try:
            await self._attempts.begin(account, lane, now())
        except ParleyError:
            audit.record("login_slowed", user_id=user_id, ip=client.ip)
            raise
        hashed = document["password_hash"] if document else None
        try:
            right = await self._passwords.verify(password, hashed, client, owner)
        except ParleyError:
            await self._attempts.forgive(account, lane, now(), whole_lane=False)
            raise
        if not right:
            audit.record("login_failed", user_id=user_id, ip=client.ip)
            raise ParleyError("invalid_credentials")
        await self._attempts.forgive(account, lane, now(), whole_lane=True)

    async def _open(self, document: Document, device: Device | None, client: Client) -> UserTokens:
        """A session for whoever knew the password of `document`, if that is the password still."""
        session = await self._sessions.open(document["_id"], credentials_of(document), device, client)
        await self._check_current(session, "invalid_credentials")
        return UserTokens(user=to_user(document), tokens=self._sessions.tokens_for(session, document["role"]))

    async def _check_current(self, session: LiveSession, outdated: str) -> Document:
        """The user as it is now that the session is there. One of an earlier password, or of a closed account, ends.

        A change ends the sessions that it finds after it is made, so whatever is opened later finds the change here.
        """
        document = await self._store.find(session.user_id)
        if document is None or document["disabled"]:
            await self._sessions.end(session, "disabled")
            raise ParleyError("forbidden", "This account is disabled.")
        # The session as it is: one that is kept over a change of the password gets its number just before.
        current = credentials_of(document)
        if session.credentials < current and await self._sessions.credentials(session.id) < current:
            await self._sessions.end(session, "password_changed")
            raise ParleyError(outdated)
        return document

    async def refresh(self, client: Client, payload: Refresh) -> TokensData:
        session = await self._sessions.rotate(payload.refresh_token, client)
        document = await self._check_current(session, "session_revoked")
        return TokensData(tokens=self._sessions.tokens_for(session, document["role"]))

    async def me(self, context: Context, payload: Empty) -> User:
        return to_user(await self.get(context.user_id))

    async def update_me(self, context: Context, payload: MeUpdate) -> User:
        fields: dict[str, Any] = {
            name: value for name in ("name", "phone", "business") if (value := getattr(payload, name)) is not UNSET
        }
        document = await self._store.change(context.user_id, fields | {"updated_at": now()})
        if document is None:
            raise ParleyError("not_found")
        return to_user(document)

    async def change_password(self, context: Context, payload: PasswordChange, client: Client) -> None:
        """Others' guesses do not keep a caller who is logged in from it; the tries of this log-in count."""
        document = await self.get(context.user_id)
        lane = lane_of("session", context.session_id, known=True)
        account = account_key(document["email_key"])
        await self._verify(document, account, lane, payload.current_password, client)
        check_strength(payload.new_password, document["email"])
        hashed = await self._passwords.hash(payload.new_password, client, account)
        credentials = credentials_of(document) + 1
        await self._sessions.keep(context.session_id, credentials)
        fields = {"password_hash": hashed, "credentials": credentials, "updated_at": now()}
        if not await self._store.change_password(context.user_id, document, fields):
            raise ParleyError("conflict", "The password was changed at the same moment.")
        await self._sessions.end_all(context.user_id, "password_changed", context.session_id)
        audit.record("password_changed", user_id=context.user_id, ip=client.ip)

    async def set_disabled(self, context: Context, payload: SetDisabled) -> AccountStatus:
        """Closes an account or opens it again, as an administrator asks."""
        document = await self.get(payload.user_id)
        if payload.user_id == context.user_id:
            raise ParleyError("forbidden", "You cannot disable your own account.")
        if document["role"] == "super_admin" and context.role != "super_admin":
            raise ParleyError("forbidden", "Only a super_admin may do this to a super_admin.")
        return await self.close(payload.user_id, payload.disabled, context.user_id, payload.reason)

    async def close(self, user_id: str, disabled: bool, by: str, reason: str) -> AccountStatus:
        """Again does no harm, and ends what an attempt left that failed halfway."""
        await self._store.change(user_id, {"disabled": disabled, "updated_at": now()})
        if disabled:
            await self._sessions.end_all(user_id, "disabled")
        audit.record("account_disabled" if disabled else "account_enabled", user_id=user_id, by=by, reason=reason)
        return AccountStatus(user_id=user_id, disabled=disabled)

    # For other nouns

    async def get(self, user_id: str) -> Document:
        document = await self._store.find(user_id)
        if document is None:
            raise ParleyError("not_found", "There is no such user.")
        return document

    async def find_by_email(self, email: str) -> Document:
        document = await self._store.find_by_email(email_key(email))
        if document is None:
            raise ParleyError("not_found", "There is no such account.")
        return document

    async def disabled_among(self, user_ids: list[str]) -> list[str]:
        return await self._store.disabled_of(user_ids)

    async def names(self, user_ids: list[str]) -> dict[str, str]:
        """Display names; raises not_found and says who does not exist."""
        names = await self._store.names(user_ids)
        missing = [user_id for user_id in user_ids if user_id not in names]
        if missing:
            raise ParleyError("not_found", "Some of these users do not exist.", details={"user_ids": missing})
        return names

    async def presence_facts(self, user_ids: list[str]) -> dict[str, Document]:
        """What people chose to show (`presence`) and when they were last seen."""
        return await self._store.presence_facts(user_ids)

    async def set_presence(self, user_id: str, fields: dict[str, Any]) -> Document | None:
        return await self._store.change(user_id, fields)

    async def record_last_seen(self, seen: dict[str, datetime]) -> None:
        await self._store.record_last_seen(seen)
