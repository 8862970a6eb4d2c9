"""Settings that are missing or make no sense are refused at the start, in one line that says what to do."""

from __future__ import annotations

import base64
import os
import secrets
import subprocess
import sys
import urllib.request
import uuid
from pathlib import Path

import pytest

from security.secret import BITS_MIN, bits_of
from settings import Settings, SettingsError, load
from tests.support import ROOT, Process

GOOD = "6f1d0c9b7e5a43f28816c0d4b97e2a35"
PRODUCTION = {
    "PARLEY_ENV": "production", "JWT_SECRET": GOOD, "MONGO_URL": "mongodb://db/?tls=true", "REDIS_URL": "rediss://r/",
}  # fmt: skip


@pytest.mark.parametrize(
    ("env", "named"),
    [
        ({"PARLEY_ENV": "prod"}, "PARLEY_ENV"),
        ({"PARLEY_ENV": "Production"}, "PARLEY_ENV"),
        ({"PORT": "eighty"}, "PORT"),
        ({"PORT": "65536"}, "PORT"),
        ({"PORT": "-1"}, "PORT"),
        ({"PORT": "nan"}, "PORT"),
        ({"PORT": "80.5"}, "PORT"),
        ({"WORKER_PORT": "eighty"}, "WORKER_PORT"),
        ({"MONGO_URL": "mongodb://db/"}, "JWT_SECRET"),
        ({"JWT_SECRET": "short"}, "JWT_SECRET"),
        ({"JWT_SECRET": GOOD[:-1]}, "JWT_SECRET"),
        ({"JWT_SECRET": GOOD, "JWT_SECRET_PREVIOUS": "short"}, "JWT_SECRET_PREVIOUS"),
        ({"RATE_LIMIT_SCALE": "-1"}, "RATE_LIMIT_SCALE"),
        ({"RATE_LIMIT_SCALE": "off"}, "RATE_LIMIT_SCALE"),
        ({"RATE_LIMIT_SCALE": "inf"}, "RATE_LIMIT_SCALE"),
        ({"ROUTE": "w-1"}, "ROUTE"),
        ({"ROUTE": "a" * 17}, "ROUTE"),
        ({"ROUTE": "w1\n"}, "ROUTE"),
        ({"CONNECTIONS_MAX": "0"}, "CONNECTIONS_MAX"),
        ({"MAX_CONNECTIONS_PER_USER": "0"}, "MAX_CONNECTIONS_PER_USER"),
        ({"MAX_CONNECTIONS_PER_USER": "2.5"}, "MAX_CONNECTIONS_PER_USER"),
        ({"TRUSTED_PROXIES": "all"}, "TRUSTED_PROXIES"),
        ({"AUTH_COOKIE": "session"}, "AUTH_COOKIE"),
        ({"ACCESS_TOKEN_TTL_S": "0"}, "ACCESS_TOKEN_TTL_S"),
        ({"REFRESH_TOKEN_TTL_S": "-5"}, "REFRESH_TOKEN_TTL_S"),
        ({"BCRYPT_ROUNDS": "3"}, "BCRYPT_ROUNDS"),
        ({"BCRYPT_ROUNDS": "31"}, "BCRYPT_ROUNDS"),
        ({"LOG_LEVEL": "LOUD"}, "LOG_LEVEL"),
        ({"REDIS_URL": "localhost:6379"}, "REDIS_URL"),
        ({"REDIS_URL": "http://localhost:6379"}, "REDIS_URL"),
        ({"REDIS_URL": "redis+sentinel://localhost:26379"}, "REDIS_URL"),
        ({"REDIS_URL": "redis+cluster://"}, "REDIS_URL"),
        ({"REDIS_URL": "redis+cluster://one:6379,,two:6379"}, "REDIS_URL"),
        ({"REDIS_URL": "redis+cluster://one:port"}, "REDIS_URL"),
        ({"REDIS_URL": "redis+cluster://one:6379/3"}, "REDIS_URL"),
        ({"REDIS_URL": "redis://[::1"}, "REDIS_URL"),
        ({"PLAINTEXT_HOSTS": "10.0.0.0/33"}, "PLAINTEXT_HOSTS"),
        ({"PLAINTEXT_HOSTS": "cache, https://cache"}, "PLAINTEXT_HOSTS"),
        ({"CORS_ORIGINS": "app.example"}, "CORS_ORIGINS"),
        ({"CORS_ORIGINS": "https://app.example/"}, "CORS_ORIGINS"),
        ({"CORS_ORIGINS": "https://app.example/page"}, "CORS_ORIGINS"),
        ({"CORS_ORIGINS": "https://App.example"}, "CORS_ORIGINS"),
        ({"CORS_ORIGINS": "https://app.example:443"}, "CORS_ORIGINS"),
        ({"CORS_ORIGINS": "https://*.example"}, "CORS_ORIGINS"),
        ({"CORS_ORIGINS": "https://me@app.example"}, "CORS_ORIGINS"),
        ({"CONNECT_TIMEOUT_S": "0"}, "CONNECT_TIMEOUT_S"),
        ({"DRAIN_TIMEOUT_S": "601"}, "DRAIN_TIMEOUT_S"),
        (PRODUCTION | {"RATE_LIMIT_SCALE": "0"}, "RATE_LIMIT_SCALE"),
        (PRODUCTION | {"RATE_LIMIT_SCALE": "10.5"}, "RATE_LIMIT_SCALE"),
        (PRODUCTION | {"CORS_ORIGINS": "https://a.example, *"}, "CORS_ORIGINS"),
        (PRODUCTION | {"CORS_ORIGINS": "https://a.example, null"}, "CORS_ORIGINS"),
        (PRODUCTION | {"CORS_ORIGINS": "http://a.example"}, "CORS_ORIGINS"),
        (PRODUCTION | {"ACCESS_TOKEN_TTL_S": "3601"}, "ACCESS_TOKEN_TTL_S"),
        (PRODUCTION | {"LOG_LEVEL": "debug"}, "LOG_LEVEL"),
        (PRODUCTION | {"BCRYPT_ROUNDS": "4"}, "BCRYPT_ROUNDS"),
        (PRODUCTION | {"JWT_SECRET": ""}, "JWT_SECRET"),
        (PRODUCTION | {"JWT_SECRET": "changeme" * 8}, "JWT_SECRET"),
        (PRODUCTION | {"JWT_SECRET_PREVIOUS": "changeme" * 8}, "JWT_SECRET_PREVIOUS"),
        (PRODUCTION | {"MONGO_URL": ""}, "MONGO_URL"),
    ],
)
def test_a_bad_setting_is_refused_by_name(env: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(env)
    text = str(caught.value)
    assert named in text
    assert "\n" not in text
    assert GOOD not in text


def test_nothing_set_is_a_development_server_on_its_own_database() -> None:
    settings = load({})
    assert (settings.env, settings.host, settings.port) == ("development", "127.0.0.1", 8000)
    assert (settings.mongo_url, settings.redis_url, settings.jwt_secret) == (None, None, None)
    assert settings.data_dir == Path("data").absolute()
    assert (settings.rate_limit_scale, settings.connections_per_user_max) == (1.0, 20)
    assert not settings.production


def test_empty_is_the_same_as_unset() -> None:
    names = ("PARLEY_ENV", "HOST", "PORT", "DATA_DIR", "MONGO_URL", "MONGO_DB", "REDIS_URL", "JWT_SECRET", "LOG_LEVEL")
    assert load(dict.fromkeys(names, "")) == load({})


def test_what_is_set_is_taken() -> None:
    settings = load(
        PRODUCTION | {"PORT": "0", "CORS_ORIGINS": "https://a.example, https://b.example,", "LOG_LEVEL": "warning"}
    )
    assert settings.production
    assert settings.port == 0
    assert settings.cors_origins == ("https://a.example", "https://b.example")
    assert settings.log_level == "WARNING"
    assert settings.redis_url == "rediss://r/"


def test_limits_may_be_off_in_development() -> None:
    assert load({"RATE_LIMIT_SCALE": "0"}).rate_limit_scale == 0


def test_a_secret_does_not_show_when_settings_are_printed() -> None:
    assert GOOD not in repr(Settings(jwt_secret=GOOD, jwt_secret_previous=GOOD))


@pytest.mark.parametrize(
    "secret",
    [
        "a" * 64, "ab" * 32, "0" * 63 + "1", "0123456789abcdef" * 4, "abcdefghijklmnopqrstuvwxyz0123456789",
        "1234567890" * 4, "asdf1234" * 4, "deadbeefdeadbeefcafebabecafebabe", "supersecretkey-please-change-me-1234",
        "changeme" * 4, "change-me-in-production-please-0123", "my-super-secret-jwt-key-change-in-production",
        "your-256-bit-secret-your-256-bit-secret", "SuperSecretPasswordSuperSecretPassword", "parley" * 10,
        "qwertyuiopasdfghjklzxcvbnmqwertyui", "correct horse battery staple again", "pässwordpässwordpässwordpässword",
    ],
)  # fmt: skip
def test_a_secret_that_someone_thought_of_is_refused(secret: str) -> None:
    with pytest.raises(SettingsError, match="openssl rand -hex 32") as caught:
        load(PRODUCTION | {"JWT_SECRET": secret})
    assert secret not in str(caught.value)
    assert load({"JWT_SECRET": secret}).jwt_secret == secret, "only in production"


def test_a_random_secret_never_is() -> None:
    for _ in range(5_000):
        random = secrets.token_bytes(32)
        for secret in (
            random.hex(), random.hex().upper(), base64.b64encode(random).decode(), secrets.token_urlsafe(32),
            base64.b32encode(random).decode(), base64.b85encode(random).decode(),
            f"{uuid.uuid4()}{uuid.uuid4()}",
        ):  # fmt: skip
            assert bits_of(secret) >= BITS_MIN, secret


EXPOSED = [
    "redis://cache/", "redis://:word@10.0.0.5:6379/0", "redis://[fd00::5]/0", "redis:///0?host=cache",
    "redis+sentinel://127.0.0.1,cache/mymaster", "redis+cluster://127.0.0.1:1,10.0.0.5:2", "redis://127.0.0.1.cache/",
    "rediss://cache/?ssl_cert_reqs=none", "rediss://cache/?ssl_check_hostname=False",
    "mongodb://db", "mongodb://db/?tls=false", "mongodb://127.0.0.1,db:27018/", "mongodb://u:p%40w@db/x?ssl=false",
    "mongodb://u:p@[fd00::5]:27017", "mongodb+srv://db/?tls=false", "mongodb://db/?tls=true&tlsInsecure=true",
    "mongodb://db/?tls=true&TLSAllowInvalidCertificates=true", "mongodb://db?replicaSet=r;tls=false",
]  # fmt: skip


@pytest.mark.parametrize("url", EXPOSED)
def test_what_others_can_listen_to_is_refused_unless_they_are_trusted(url: str) -> None:
    env = PRODUCTION | {("MONGO_URL" if url.startswith("mongodb") else "REDIS_URL"): url}
    with pytest.raises(SettingsError, match="PLAINTEXT_HOSTS") as caught:
        load(env)
    assert "word" not in str(caught.value)
    assert "p%40w" not in str(caught.value)
    trusted = "10.0.0.0/8, fd00::/8, Cache., db, 127.0.0.1.cache"
    assert load(env | {"PLAINTEXT_HOSTS": trusted}).production
    assert load(env | {"PARLEY_ENV": "development"})


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost/", "redis://", "redis://127.3.2.1:6379/0", "redis://[::1]:6379", "unix:///run/redis.sock",
        "rediss://cache:6380/0", "redis+sentinel://localhost,127.0.0.1:26379/mymaster", "redis+cluster://localhost:6379",
        "mongodb://localhost", "mongodb://127.0.0.1:27017/?retryWrites=false", "mongodb://%2Frun%2Fmongodb-27017.sock/x",
        "mongodb://a,b/?tls=true", "mongodb://a/?ssl=true", "mongodb+srv://db.example/x?retryWrites=true",
    ],
)  # fmt: skip
def test_what_nobody_can_listen_to_is_taken(url: str) -> None:
    assert load(PRODUCTION | {("MONGO_URL" if url.startswith("mongodb") else "REDIS_URL"): url}).production


@pytest.mark.parametrize(
    "origin",
    ["https://app.example", "https://app.example:8443", "http://localhost:3000", "http://[::1]:3000", "app://x"],
)
def test_an_origin_as_browsers_write_it_is_taken(origin: str) -> None:
    assert load(PRODUCTION | {"CORS_ORIGINS": origin}).cors_origins == (origin,)


def test_a_page_from_a_file_may_call_in_development() -> None:
    assert load({"CORS_ORIGINS": "null"}).cors_origins == ("null",)


def test_a_server_starts_in_production(tmp_path: Path, mongo_url: str, redis_url: str) -> None:
    """With everything on this host, where plain text is nobody else's to read."""
    env = {"PARLEY_ENV": "production", "MONGO_URL": mongo_url, "REDIS_URL": redis_url, "BCRYPT_ROUNDS": "10"}
    env |= {"JWT_SECRET": secrets.token_hex(32), "MONGO_DB": f"t_{secrets.token_hex(6)}"}
    server = Process(tmp_path, **env).start()
    try:
        with urllib.request.urlopen(f"{server.url}/api/v1/health/ready") as answer:
            assert answer.status == 200
            assert "Strict-Transport-Security" in answer.headers
    finally:
        assert server.terminate() == 0


@pytest.mark.parametrize("command", [["server.py"], ["formation.py", "--web", "2"], ["-m", "workers"]])
def test_whatever_does_not_start_says_why_in_one_line(tmp_path: Path, command: list[str]) -> None:
    env = {**os.environ, **PRODUCTION, "DATA_DIR": str(tmp_path), "MONGO_URL": "mongodb://db.internal/"}
    done = subprocess.run([sys.executable, *command], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "cannot start: MONGO_URL reaches db.internal without checked TLS" in done.stderr
    assert len(done.stderr.splitlines()) == 1
