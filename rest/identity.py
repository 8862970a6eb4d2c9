"""/api/v1/auth: accounts, tokens and sessions. Logging in also sets cookies, for browsers that keep no tokens."""

from __future__ import annotations

from aiohttp import web
from msgspec import UNSET

from contract import identity
from contract.identity import TokensData, UserTokens
from models.conversations.actions import Conversations
from models.sessions.actions import Sessions
from models.users.actions import Users
from rest.cookies import Cookies
from rest.endpoint import Call, Rest, respond
from security.tokens import Tokens as TokenService


class IdentityRoutes:
    def __init__(
        self,
        users: Users,
        sessions: Sessions,
        conversations: Conversations,
        tokens: TokenService,
        cookies: Cookies,
    ) -> None:
        self._users = users
        self._conversations = conversations
        self._sessions = sessions
        self._tokens = tokens
        self._cookies = cookies

    def bind_to(self, rest: Rest) -> None:
        rest.bind(identity.REGISTER, self.register)
        rest.bind(identity.LOGIN, self.log_in)
        rest.bind(identity.RENEW, self.renew)
        rest.bind(identity.LOGOUT, self.log_out)
        rest.bind(identity.UPDATE_ME, self.update_me)
        rest.bind(identity.CHANGE_PASSWORD, self.change_password)

    async def register(self, call: Call) -> web.Response:
        return self._logged_in(call, await self._users.register(call.client, call.payload))

    async def log_in(self, call: Call) -> web.Response:
        return self._logged_in(call, await self._users.log_in(call.client, call.payload))

    async def renew(self, call: Call) -> web.Response:
        return self._logged_in(call, await self._users.refresh(call.client, call.payload))

    async def log_out(self, call: Call) -> web.Response:
        await self._sessions.log_out(call.context, call.payload)
        response = web.Response(status=204)
        self._cookies.delete(response)
        return response

    async def update_me(self, call: Call) -> identity.User:
        user = await self._users.update_me(call.context, call.payload)
        if call.payload.name is not UNSET:
            await self._conversations.rename_member(user.id, user.name)
        return user

    async def change_password(self, call: Call) -> None:
        await self._users.change_password(call.context, call.payload, call.client)

    def _logged_in(self, call: Call, data: UserTokens | TokensData) -> web.Response:
        tokens = data.tokens
        response = respond(call.endpoint, data)
        self._cookies.set(response, tokens, self._tokens.verify(tokens.access_token).session_id)
        response.headers["Cache-Control"] = "no-store"
        return response
