"""Every setting, read from the environment once. Nothing else reads os.environ."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from security import plaintext
from security.secret import BITS_MIN, bits_of

REDIS_SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "redis+cluster")
RATE_LIMIT_SCALE_MAX = 10
ACCESS_TOKEN_TTL_MAX_S = 3_600
_NEW_SECRET = "make one with: openssl rand -hex 32"
# As browsers write it: in small letters, without a path, without the port that goes without saying.
_ORIGIN = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>[a-z0-9._-]+|\[[0-9a-f:.]+\])(:\d{1,5})?")
_USUAL_PORT = re.compile(r"(http://.*:80|https://.*:443)")


class SettingsError(ValueError):
    """A setting is missing or makes no sense; the text says which and what to do."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Times end in their unit. `mongo_url` None means the embedded database, `redis_url` None one process.

    `route` names this process to a proxy in front, see docs/decisions/0014. `port_fds`, set by formation.py: inherited
    descriptors of listening sockets, on which this process accepts instead of taking HOST and PORT. `port_fds_others`:
    those of the formation's other processes, for when one of them is missing.
    """

    env: str = "development"
    host: str = "127.0.0.1"
    port: int = 8000
    port_fds: tuple[int, ...] = ()
    port_fds_others: tuple[int, ...] = ()
    data_dir: Path = field(default_factory=lambda: Path("data"))
    mongo_url: str | None = field(default=None, repr=False)
    mongo_db: str = "parley"
    redis_url: str | None = field(default=None, repr=False)
    plaintext_hosts: tuple[str, ...] = ()
    route: str = ""
    worker_port: int = 0  # 0: a worker process has none
    jwt_secret: str | None = field(default=None, repr=False)
    jwt_secret_previous: str | None = field(default=None, repr=False)
    rate_limit_scale: float = 1.0
    connections_per_user_max: int = 20
    connections_max: int = 20_000
    cors_origins: tuple[str, ...] = ()
    trusted_proxies: int = 0
    operators_token: str | None = field(default=None, repr=False)
    auth_cookie: str = "auth_token"
    access_token_ttl_s: int = 900
    refresh_token_ttl_s: int = 30 * 24 * 3600
    bcrypt_rounds: int = 12
    password_pepper: str = field(default="", repr=False)
    log_level: str = "INFO"
    connect_timeout_s: float = 45.0
    drain_timeout_s: float = 8.0

    @property
    def production(self) -> bool:
        return self.env == "production"


def _number(env: Mapping[str, str], name: str, default: float, low: float, high: float) -> float:
    text = env.get(name, "")
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        raise SettingsError(f"{name} must be a number, not {text!r}") from None
    if not low <= value <= high:
        raise SettingsError(f"{name} must be between {low:g} and {high:g}, not {text}")
    return value


def _whole(env: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    value = _number(env, name, default, low, high)
    if value != int(value):
        raise SettingsError(f"{name} must be a whole number, not {env[name]}")
    return int(value)


def _listed(env: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in env.get(name, "").split(",") if part.strip())


def _sockets(env: Mapping[str, str], name: str) -> tuple[int, ...]:
    """Descriptors such as 5,6; each must be a socket that is open here."""
    numbers = [text for text in env.get(name, "").split(",") if text]
    for number in numbers:
        try:
            known = stat.S_ISSOCK(os.fstat(int(number)).st_mode)
        except (ValueError, OverflowError, OSError):
            known = False
        if not known:
            raise SettingsError(f"{name} is for formation.py to set: {number!r} is not an inherited socket")
    return tuple(map(int, numbers))


def load(env: Mapping[str, str] | None = None) -> Settings:
    """Reads and checks the environment. Raises SettingsError with one line a person can act on."""
    env = os.environ if env is None else env
    settings = Settings(
        env=env.get("PARLEY_ENV") or "development",
        host=env.get("HOST") or "127.0.0.1",
        port=_whole(env, "PORT", 8000, 0, 65535),
        port_fds=_sockets(env, "PORT_FDS"),
        port_fds_others=_sockets(env, "PORT_FDS_OTHERS"),
        data_dir=Path(env.get("DATA_DIR") or "data").absolute(),
        mongo_url=env.get("MONGO_URL") or None,
        mongo_db=env.get("MONGO_DB") or "parley",
        redis_url=env.get("REDIS_URL") or None,
        plaintext_hosts=_listed(env, "PLAINTEXT_HOSTS"),
        route=env.get("ROUTE", ""),
        worker_port=_whole(env, "WORKER_PORT", 0, 0, 65535),
        jwt_secret=env.get("JWT_SECRET") or None,
        jwt_secret_previous=env.get("JWT_SECRET_PREVIOUS") or None,
        rate_limit_scale=_number(env, "RATE_LIMIT_SCALE", 1.0, 0, 1e6),
        connections_per_user_max=_whole(env, "MAX_CONNECTIONS_PER_USER", 20, 1, 1_000_000),
        connections_max=_whole(env, "CONNECTIONS_MAX", 20_000, 1, 10_000_000),
        cors_origins=_listed(env, "CORS_ORIGINS"),
        trusted_proxies=_whole(env, "TRUSTED_PROXIES", 0, 0, 10),
        operators_token=env.get("OPERATORS_TOKEN") or None,
        auth_cookie=env.get("AUTH_COOKIE") or "auth_token",
        access_token_ttl_s=_whole(env, "ACCESS_TOKEN_TTL_S", 900, 1, 86_400),
        refresh_token_ttl_s=_whole(env, "REFRESH_TOKEN_TTL_S", 30 * 24 * 3600, 1, 366 * 24 * 3600),
        bcrypt_rounds=_whole(env, "BCRYPT_ROUNDS", 12, 4, 16),
        password_pepper=env.get("PASSWORD_PEPPER", ""),
        log_level=(env.get("LOG_LEVEL") or "INFO").upper(),
        connect_timeout_s=_number(env, "CONNECT_TIMEOUT_S", 45.0, 0.1, 600),
        drain_timeout_s=_number(env, "DRAIN_TIMEOUT_S", 8.0, 0, 600),
    )
    _check(settings)
    return settings


def environment(**changes: str) -> dict[str, str]:
    """The environment for a process that is started with other settings than this one's."""
    return {**os.environ, **changes}


def _check(settings: Settings) -> None:
    if settings.env not in ("development", "production"):
        raise SettingsError(f"PARLEY_ENV must be development or production, not {settings.env!r}")
    if not re.fullmatch("[A-Za-z0-9]{0,16}", settings.route):
        raise SettingsError(f"ROUTE must be at most 16 letters and digits, such as w1, not {settings.route!r}")
    if settings.mongo_url and not settings.jwt_secret:
        raise SettingsError("JWT_SECRET is required when MONGO_URL is set: every process must share it")
    for name, secret in (("JWT_SECRET", settings.jwt_secret), ("JWT_SECRET_PREVIOUS", settings.jwt_secret_previous)):
        if secret and len(secret.encode()) < 32:
            raise SettingsError(f"{name} must have at least 32 bytes; {_NEW_SECRET}")
    if settings.operators_token is not None and not re.fullmatch(r"[\x21-\x7e]{16,256}", settings.operators_token):
        raise SettingsError("OPERATORS_TOKEN must have 16 to 256 characters, without blanks: openssl rand -hex 32")
    if settings.redis_url is not None:
        _check_redis_url(settings.redis_url)
    if settings.log_level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise SettingsError(f"LOG_LEVEL must be DEBUG, INFO, WARNING or ERROR, not {settings.log_level!r}")
    if settings.auth_cookie not in ("auth_token", "access_token"):
        raise SettingsError(f"AUTH_COOKIE must be auth_token or access_token, not {settings.auth_cookie!r}")
    for origin in settings.cors_origins:
        _check_origin(origin)
    trusted = _trusted(settings)
    if settings.production:
        _check_production(settings, trusted)


def _check_production(settings: Settings, trusted: plaintext.Hosts) -> None:
    """Refuses what is safe on one's own machine only."""
    for name, secret in (("JWT_SECRET", settings.jwt_secret), ("JWT_SECRET_PREVIOUS", settings.jwt_secret_previous)):
        if secret and bits_of(secret) < BITS_MIN:
            raise SettingsError(f"{name} is too easy to guess (it should be random); {_NEW_SECRET}")
    if settings.rate_limit_scale == 0:
        raise SettingsError("RATE_LIMIT_SCALE=0 turns limits off and is refused in production")
    if settings.rate_limit_scale > RATE_LIMIT_SCALE_MAX:
        raise SettingsError(f"RATE_LIMIT_SCALE above {RATE_LIMIT_SCALE_MAX} is refused in production")
    for origin in settings.cors_origins:
        _check_public_origin(origin)
    if settings.access_token_ttl_s > ACCESS_TOKEN_TTL_MAX_S:
        raise SettingsError(f"ACCESS_TOKEN_TTL_S above {ACCESS_TOKEN_TTL_MAX_S} is refused in production")
    if settings.bcrypt_rounds < 10:
        raise SettingsError("BCRYPT_ROUNDS below 10 is refused in production")
    if settings.log_level == "DEBUG":
        raise SettingsError("LOG_LEVEL=DEBUG is refused in production: it logs more than operators should see")
    if not settings.jwt_secret:
        raise SettingsError(f"JWT_SECRET is required in production; {_NEW_SECRET}")
    if not settings.mongo_url:
        raise SettingsError("MONGO_URL is required in production: the embedded database is for development")
    mongo, redis = plaintext.mongo_hosts(settings.mongo_url), plaintext.redis_hosts(settings.redis_url or "unix://")
    for name, hosts, secure in (("MONGO_URL", mongo, "tls=true"), ("REDIS_URL", redis, "rediss://")):
        exposed = [host for host in hosts if host not in trusted]
        if exposed:
            raise SettingsError(
                f"{name} reaches {exposed[0]} without checked TLS, which is refused in production: use {secure}, or "
                "name the host or its network in PLAINTEXT_HOSTS if nobody else can listen on the way"
            )


def _trusted(settings: Settings) -> plaintext.Hosts:
    try:
        return plaintext.Hosts(settings.plaintext_hosts)
    except ValueError as error:
        raise SettingsError(f"PLAINTEXT_HOSTS must be names or networks such as 10.0.0.0/8, not {error}") from None


def _check_origin(origin: str) -> None:
    well_formed = _ORIGIN.fullmatch(origin) and not _USUAL_PORT.fullmatch(origin)
    if not well_formed and origin not in ("*", "null"):
        raise SettingsError(
            f"CORS_ORIGINS must be origins as browsers send them, such as https://app.example, not {origin!r}: in "
            "small letters, without a path, a slash at the end or the usual port"
        )


def _check_public_origin(origin: str) -> None:
    if origin == "*":
        raise SettingsError("CORS_ORIGINS=* is refused in production: name the origins")
    if origin == "null":
        raise SettingsError(
            "CORS_ORIGINS=null is refused in production: any page can make itself one without an origin"
        )
    found = _ORIGIN.fullmatch(origin)
    if found and found["scheme"] == "http" and found["host"].strip("[]") not in plaintext.Hosts(()):
        raise SettingsError(f"CORS_ORIGINS with {origin} is refused in production: use https")


def _check_redis_url(url: str) -> None:
    """Only its form; the text never shows the URL, which may have a password in it."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise SettingsError("REDIS_URL has a bracket where no IPv6 address is") from None
    if parts.scheme not in REDIS_SCHEMES:
        raise SettingsError(f"REDIS_URL must begin with one of {', '.join(f'{name}://' for name in REDIS_SCHEMES)}")
    if parts.scheme == "redis+sentinel" and not parts.path.strip("/"):
        raise SettingsError("REDIS_URL must name the service: redis+sentinel://host:26379,host:26379/mymaster")
    if parts.scheme == "redis+cluster":
        nodes = parts.netloc.rpartition("@")[2].split(",")
        if not all(re.fullmatch(r"[^:]+(:\d{1,5})?|\[[0-9a-fA-F:]+\]:\d{1,5}", node) for node in nodes):
            raise SettingsError("REDIS_URL must name nodes of the cluster: redis+cluster://host:6379,host:6379")
        if parts.path not in ("", "/", "/0"):
            raise SettingsError("REDIS_URL must not name a database: a Redis cluster has only the first, 0")
