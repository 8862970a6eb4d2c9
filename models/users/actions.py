"""What people can do with an account: make one, log in, look at it, change it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import UNSET

from contract.errors import ParleyError
from contract.identity import Login, MeUpdate, PasswordChange, Refresh, Register, Role, TokensData, User, UserTokens
from contract.types import Empty
from models.context import Client, Context, new_id, now
from models.sessions.actions import Sessions
from models.users.delay import LoginDelay
from models.users.document import email_key, to_user
from models.users.store import UserStore
from security.passwords import Passwords, check_strength
from storage.mongo import Document


class Users:
    def __init__(self, store: UserStore, sessions: Sessions, passwords: Passwords) -> None:
        self._store = store
        self._sessions = sessions
        self._passwords = passwords
        self._delay = LoginDelay(store)

    async def register(self, client: Client, payload: Register) -> UserTokens:
        user = await self.create(payload, payload.role)
        tokens = await self._sessions.open(user.id, user.role, payload.device, client)
        return UserTokens(user=user, tokens=tokens)

    async def create(self, payload: Register, role: Role) -> User:
        """Makes an account of any role; only `register`'s payload limits it to user and vendor."""
        check_strength(payload.password, payload.email)
        at = now()
        document: Document = {
            "_id": new_id("u"), "email": payload.email, "email_key": email_key(payload.email),
            "password_hash": await self._passwords.hash(payload.password), "name": payload.name, "role": role,
            "phone": payload.phone, "business": payload.business, "email_verified": False, "disabled": False,
            "presence": {"status": "online", "text": None}, "last_seen_at": None, "created_at": at, "updated_at": at,
        }  # fmt: skip
        await self._store.insert(document)
        return to_user(document)

    async def log_in(self, client: Client, payload: Login) -> UserTokens:
        key = email_key(payload.email)
        await self._delay.check(key, client.ip, now())
        document = await self._verified(key, payload.password, client.ip)
        tokens = await self._sessions.open(document["_id"], document["role"], payload.device, client)
        return UserTokens(user=to_user(document), tokens=tokens)

    async def _verified(self, key: str, password: str, ip: str | None) -> Document:
        """The account, if the password is right. The failure is counted before it is told."""
        document = await self._store.find_by_email(key)
        right = await self._passwords.verify(password, document["password_hash"] if document else None)
        if document is None or not right:
            await self._delay.failed(key, ip, now())
            raise ParleyError("invalid_credentials")
        await self._delay.succeeded(key, ip)
        if document["disabled"]:
            raise ParleyError("forbidden", "This account is disabled.")
        return document

    async def refresh(self, client: Client, payload: Refresh) -> TokensData:
        session = await self._sessions.rotate(payload.refresh_token, client)
        document = await self._store.find(session.user_id)
        if document is None or document["disabled"]:
            raise ParleyError("token_invalid")
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
        document = await self.get(context.user_id)
        await self._delay.check(document["email_key"], client.ip, now())
        await self._verified(document["email_key"], payload.current_password, client.ip)
        check_strength(payload.new_password, document["email"])
        hashed = await self._passwords.hash(payload.new_password)
        await self._store.change(context.user_id, {"password_hash": hashed, "updated_at": now()})
        await self._sessions.revoke_others(context.user_id, context.session_id)

    # For other nouns

    async def get(self, user_id: str) -> Document:
        document = await self._store.find(user_id)
        if document is None:
            raise ParleyError("not_found", "There is no such user.")
        return document

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
