"""Accounts, tokens and sessions: payloads and endpoints of /api/v1/auth, and the events about a connection's login."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from contract.registry import ANYONE, NAMESPACES, USER, Event, Operation, Rate, Route
from contract.text import line, opaque
from contract.types import Email, Empty, Id, Payload, PersonName, Phone, Resource, Timestamp

Role = Literal["user", "vendor", "admin", "super_admin"]
ADMINISTRATORS: tuple[Role, ...] = ("admin", "super_admin")
Secret = Annotated[str, opaque(256, "taken as it is, blanks and all")]
Password = Annotated[str, opaque(256, "taken as it is, blanks and all", least=8)]
BusinessName = Annotated[str, line(120)]


class Device(Payload):
    """What the client says of the device it runs on; shown in the list of sessions.

    `id`: a random one that the app keeps. From a device that was logged in before, guesses of others at the account's
    password do not slow the owner's log-in.
    """

    id: Annotated[str, opaque(128, "made by the client")] | None = None
    name: Annotated[str, line(120)] | None = None
    platform: Annotated[str, line(40)] | None = None


class Register(Payload):
    email: Email
    password: Password
    name: PersonName
    role: Literal["user", "vendor"] = "user"
    phone: Phone | None = None
    business: BusinessName | None = None
    device: Device | None = None


class Login(Payload):
    email: Annotated[str, opaque(254, "whatever was typed; only a registered address gets further")]
    password: Secret
    device: Device | None = None


class Refresh(Payload):
    refresh_token: Secret


class MeUpdate(Payload):
    """Only the fields that are sent change; null clears phone and business."""

    name: PersonName | UnsetType = UNSET
    phone: Phone | UnsetType | None = UNSET
    business: BusinessName | UnsetType | None = UNSET


class PasswordChange(Payload):
    current_password: Secret
    new_password: Password


class SessionTarget(Payload):
    session_id: Id


class User(Resource):
    id: str
    email: str
    name: str
    role: Role
    phone: str | None
    business: str | None
    email_verified: bool
    created_at: Timestamp


class Tokens(Resource):
    access_token: str
    refresh_token: str
    token_type: Literal["Bearer"]
    expires_in: Annotated[int, Meta(description="seconds the access token lives")]


class UserTokens(Resource):
    user: User
    tokens: Tokens


class TokensData(Resource):
    tokens: Tokens


class Session(Resource):
    id: str
    device: Device
    ip: str | None
    user_agent: str | None
    current: bool
    created_at: Timestamp
    last_used_at: Timestamp
    expires_at: Timestamp


class SessionList(Resource):
    items: list[Session]
    next_cursor: str | None


class AuthRefresh(Payload):
    token: Annotated[str, opaque(4096, "an access token")]


class AuthRefreshed(Resource):
    expires_in_ms: int


class AuthExpiring(Resource):
    expires_in_ms: int


class AuthRevoked(Resource):
    reason: Literal["logged_out", "revoked", "refresh_reused", "password_changed", "disabled", "expired"]


_BASE = "/api/v1/auth"
_OWN = Rate(300, 60, 100)
_HASHES = Rate(120, 60, 60, shared=True, tier="auth")  # what hashes a password
AUTH_REFRESH = Operation(
    "auth:refresh",
    AuthRefresh,
    AuthRefreshed,
    USER,
    Rate(30, 60, 10),
    "Renews this connection's login in place with a newer access token of the same user. One that ends sooner than the "
    "connection does changes nothing: the answer says how long the connection has.",
    ("token_invalid", "token_expired", "token_not_yet_valid", "session_revoked", "forbidden"),
    namespace="*",
)
for _namespace in NAMESPACES:
    Event("auth:expiring", _namespace, AuthExpiring, "The access token ends in about a minute; send auth:refresh.")
    Event("auth:revoked", _namespace, AuthRevoked, "The session has ended; the server closes the connection next.")

REGISTER = Operation(
    "auth:register",
    Register,
    UserTokens,
    ANYONE,
    _HASHES,
    "Makes an account and logs it in.",
    ("email_taken", "over_capacity"),
    routes=(Route("POST", f"{_BASE}/register", "identity", status=201),),
)
LOGIN = Operation(
    "auth:login",
    Login,
    UserTokens,
    ANYONE,
    _HASHES,
    "Logs in. Failed tries are answered ever more slowly (account_locked).",
    ("invalid_credentials", "account_locked", "over_capacity", "forbidden"),
    routes=(Route("POST", f"{_BASE}/login", "identity"),),
)
RENEW = Operation(
    "auth:renew",
    Refresh,
    TokensData,
    ANYONE,
    Rate(300, 60, 100, shared=True),
    "Trades a refresh token for new tokens. The same one again within 10 s (two tabs, a lost answer) gets the same new "
    "refresh token, unless that was used already. Later it revokes the session.",
    ("token_invalid", "token_expired", "refresh_reused", "session_revoked", "forbidden"),
    routes=(Route("POST", f"{_BASE}/refresh", "identity"),),
)
LOGOUT = Operation(
    "auth:logout",
    Empty,
    Empty,
    USER,
    _OWN,
    "Ends this session and its connections.",
    routes=(Route("POST", f"{_BASE}/logout", "identity", status=204),),
)
ME = Operation(
    "auth:me", Empty, User, USER, _OWN, "The caller's account.", routes=(Route("GET", f"{_BASE}/me", "identity"),)
)
UPDATE_ME = Operation(
    "auth:update_me",
    MeUpdate,
    User,
    USER,
    Rate(12, 60, 12, shared=True),
    "Changes the caller's profile.",
    routes=(Route("PATCH", f"{_BASE}/me", "identity"),),
)
CHANGE_PASSWORD = Operation(
    "auth:change_password",
    PasswordChange,
    Empty,
    USER,
    _HASHES,
    "Changes the password; every other session ends.",
    ("invalid_credentials", "account_locked", "over_capacity", "conflict"),
    routes=(Route("POST", f"{_BASE}/password/change", "identity", status=204),),
)
SESSIONS = Operation(
    "auth:sessions",
    Empty,
    SessionList,
    USER,
    _OWN,
    "The caller's live sessions, newest first.",
    routes=(Route("GET", f"{_BASE}/sessions", "identity"),),
)
REVOKE_SESSION = Operation(
    "auth:revoke_session",
    SessionTarget,
    Empty,
    USER,
    _OWN,
    "Ends one of the caller's sessions, its connections at once.",
    ("not_found",),
    routes=(Route("DELETE", f"{_BASE}/sessions/{{session_id}}", "identity", status=204),),
)
