"""Settings that are missing or make no sense are refused at the start, in one line that says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from settings import Settings, SettingsError, load

GOOD = "0123456789abcdef0123456789abcdef"
PRODUCTION = {"PARLEY_ENV": "production", "JWT_SECRET": GOOD, "MONGO_URL": "mongodb://db/", "REDIS_URL": "redis://r/"}


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
        ({"CONNECT_TIMEOUT_S": "0"}, "CONNECT_TIMEOUT_S"),
        ({"DRAIN_TIMEOUT_S": "601"}, "DRAIN_TIMEOUT_S"),
        (PRODUCTION | {"RATE_LIMIT_SCALE": "0"}, "RATE_LIMIT_SCALE"),
        (PRODUCTION | {"CORS_ORIGINS": "https://a.example, *"}, "CORS_ORIGINS"),
        (PRODUCTION | {"BCRYPT_ROUNDS": "4"}, "BCRYPT_ROUNDS"),
        (PRODUCTION | {"JWT_SECRET": ""}, "JWT_SECRET"),
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
        PRODUCTION | {"PORT": "0", "CORS_ORIGINS": "https://a.example, https://b.example,", "LOG_LEVEL": "debug"}
    )
    assert settings.production
    assert settings.port == 0
    assert settings.cors_origins == ("https://a.example", "https://b.example")
    assert settings.log_level == "DEBUG"
    assert settings.redis_url == "redis://r/"


def test_limits_may_be_off_in_development() -> None:
    assert load({"RATE_LIMIT_SCALE": "0"}).rate_limit_scale == 0


def test_a_secret_does_not_show_when_settings_are_printed() -> None:
    assert GOOD not in repr(Settings(jwt_secret=GOOD, jwt_secret_previous=GOOD))
