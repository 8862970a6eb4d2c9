"""Tokens, passwords and cross-site tokens, against what an attacker or a bad moment does to them."""

from __future__ import annotations

import base64
import hmac
import json
import time
from typing import Any

import bcrypt
import jwt
import pytest

from contract.errors import ParleyError
from models.context import OPERATOR
from security import csrf
from security.passwords import Passwords, check_strength
from security.secret import Key, make_key
from security.tokens import Tokens, new_refresh_token, refresh_hash, refresh_session
from tests.support import SECRET

KEY = make_key(SECRET)
SIGNING = KEY.derive("access-token")
Json = dict[str, Any]


# Passwords


def passwords() -> Passwords:
    return Passwords("test-pepper", 4)


def test_the_digest_before_bcrypt_is_the_documented_one() -> None:
    """printf TEXT | openssl dgst -sha256 -hmac 'test-pepper' -binary | base64"""
    assert passwords().prehash("correct horse battery staple") == b"hvlclyBI7D8DKIWSuJI/ObB98J+a2yd7CG+B/70e7Wo="
    assert len(passwords().prehash("x" * 1000)) == 44


@pytest.mark.parametrize(
    ("password", "other"),
    [
        ("a" * 72 + "b", "a" * 72 + "c"),
        ("a" * 72, "a" * 73),
        ("pass\0word one", "pass\0word two"),
        ("\0aaaaaaaa", "\0bbbbbbbb"),
        ("é" * 100 + "x", "é" * 100 + "y"),
    ],
)
async def test_every_byte_of_a_password_counts(password: str, other: str) -> None:
    checker = passwords()
    hashed = await checker.hash(password, OPERATOR)
    assert await checker.verify(password, hashed, OPERATOR) is True
    assert await checker.verify(other, hashed, OPERATOR) is False


@pytest.mark.parametrize(
    ("one", "same"),
    [("caf\u00e9 au lait", "cafe\u0301 au lait"), ("ﬁnance office", "finance office"), ("Ｐarley１２", "Parley12")],
)
async def test_forms_of_the_same_text_are_the_same_password(one: str, same: str) -> None:
    checker = passwords()
    assert await checker.verify(same, await checker.hash(one, OPERATOR), OPERATOR) is True


async def test_an_unknown_account_costs_one_comparison_of_the_same_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []
    original = bcrypt.checkpw

    def checkpw(password: bytes, hashed: bytes) -> bool:
        compared.append(hashed)
        return original(password, hashed)

    checker = Passwords("test-pepper", 5)
    known = await checker.hash("correct horse", OPERATOR)
    monkeypatch.setattr(bcrypt, "checkpw", checkpw)
    assert await checker.verify("wrong horse", known, OPERATOR) is False
    assert await checker.verify("correct horse", None, OPERATOR) is False
    assert await checker.verify("nobody", None, OPERATOR) is False
    assert len(compared) == 3
    assert {hashed[:7] for hashed in compared} == {b"$2b$05$"}


@pytest.mark.parametrize("password", ["password", "PASSWORD1", "aaaaaaaaaa", "abababab", "ada@example.test"])
def test_the_first_guesses_are_refused(password: str) -> None:
    with pytest.raises(ParleyError, match="password"):
        check_strength(password, "Ada@example.test")


# Access tokens


def claims(**changes: Any) -> Json:
    """None leaves a claim out. Good for hours: the tokens below are made when the tests are collected."""
    now = int(time.time())
    made = {
        "iss": "parley", "aud": "parley", "sub": "u_1", "sid": "s_1", "role": "user", "iat": now, "exp": now + 50_000,
    } | changes  # fmt: skip
    return {name: value for name, value in made.items() if value is not None}


def part(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def token(changes: Json | None = None, key: bytes = SIGNING, **header_changes: Any) -> str:
    """Signed by hand, so that everything about it can be wrong. No algorithm but HS256/384/512 gets a signature."""
    header = {"alg": "HS256", "typ": "at+jwt", "kid": KEY.kid} | header_changes
    header = {name: value for name, value in header.items() if value is not None}
    signed = ".".join(part(json.dumps(value).encode()) for value in (header, claims(**(changes or {}))))
    digest = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}.get(header.get("alg", ""))
    return f"{signed}.{part(hmac.digest(key, signed.encode(), digest)) if digest else ''}"


def refusal(text: str, tokens: Tokens | None = None) -> str:
    with pytest.raises(ParleyError) as caught:
        (tokens or Tokens([KEY], 60)).verify(text)
    return caught.value.code


def test_a_token_of_ours_is_accepted() -> None:
    tokens = Tokens([KEY], 60)
    identity = tokens.verify(tokens.issue("u_1", "s_1", "vendor"))
    assert (identity.user_id, identity.session_id, identity.role) == ("u_1", "s_1", "vendor")
    assert 55 < identity.expires_at - time.time() <= 60
    assert tokens.verify(token()).user_id == "u_1"  # what the refusals below are changes of


@pytest.mark.parametrize(
    "forged",
    [
        token(alg="none"), token(alg="None"), token(alg=None), token(alg="HS384"), token(alg="HS512"),
        token(alg="RS256"), token(key=b"another key, but long enough...!"), token().rpartition(".")[0] + ".",
        token(typ="JWT"), token(typ=None), token(kid="000000000000"), token(kid=None), token(kid=""),
        token(crit=["future"], future=1),
        token({"iss": "someone"}), token({"iss": None}), token({"aud": "another"}), token({"aud": None}),
        token({"sub": None}), token({"sub": 7}), token({"sid": None}), token({"role": None}), token({"role": "root"}),
        token({"role": ["user"]}), token({"iat": None}), token({"exp": None}), token({"exp": "soon"}),
        token({"iat": "soon"}), token({"nbf": "soon"}), token({"iat": [1]}), token({"iat": float("nan")}),
        token({"iat": 1e400}), token({"nbf": 1e400}),
        token()[:-2], token() + "x", token().replace(".", "", 1), "", ".", "..", "a.b.c", "é" * 20, "\0", "x" * 100_000,
    ],
)  # fmt: skip
def test_forged_and_broken_tokens_are_refused(forged: str) -> None:
    assert refusal(forged) == "token_invalid"


@pytest.mark.parametrize("claim", ["iat", "nbf"])
def test_a_clock_a_little_ahead_is_no_reason(claim: str) -> None:
    """Several hosts act as one, and their clocks differ."""
    tokens = Tokens([KEY], 60)
    for ahead_s in (0.9, 4):
        assert tokens.verify(token({claim: time.time() + ahead_s})).user_id == "u_1"
    for ahead_s in (3600, 86_400):
        with pytest.raises(ParleyError) as caught:
            tokens.verify(token({claim: time.time() + ahead_s}))
        assert caught.value.code == "token_not_yet_valid"
        assert caught.value.spec.retryable
        assert 0 < (caught.value.retry_after_ms or 0) <= 60_001


def test_the_end_of_a_token_has_no_leeway() -> None:
    assert refusal(token({"exp": time.time() - 1})) == "token_expired"


def test_the_signature_covers_claims_and_header() -> None:
    header, payload, signature = token().split(".")
    _, other_payload, _ = token({"sub": "u_2"}).split(".")
    assert refusal(f"{header}.{other_payload}.{signature}") == "token_invalid"
    assert refusal(f"{token(kid='old').split('.')[0]}.{payload}.{signature}") == "token_invalid"


def test_an_expired_token_is_told_apart() -> None:
    now = int(time.time())
    assert refusal(token({"iat": now - 100, "exp": now - 1})) == "token_expired"
    assert refusal(token({"iat": now - 100, "exp": now - 1}, key=b"k" * 32)) == "token_invalid"


def test_a_short_key_is_refused() -> None:
    class Short(Key):
        def derive(self, purpose: str) -> bytes:
            return b"short"

    tokens = Tokens([Short("short", b"")], 60)
    with pytest.raises(jwt.InvalidKeyError):
        tokens.issue("u_1", "s_1", "user")
    with pytest.raises(jwt.InvalidKeyError):
        tokens.verify(token(key=b"short", kid="short"))


def test_tokens_of_the_previous_secret_live_until_they_expire() -> None:
    old, new = make_key("the old secret, at least 32 bytes long"), make_key("the new secret, at least 32 bytes long")
    before, during, after = Tokens([old], 60), Tokens([new, old], 60), Tokens([new], 60)
    given = before.issue("u_1", "s_1", "user")
    assert during.verify(given).user_id == "u_1"
    assert jwt.get_unverified_header(during.issue("u_1", "s_1", "user"))["kid"] == new.kid
    assert refusal(given, after) == "token_invalid"
    assert after.verify(during.issue("u_1", "s_1", "user")).user_id == "u_1"


def test_refresh_tokens_are_random_and_name_their_session() -> None:
    one, other = new_refresh_token("s_1"), new_refresh_token("s_1")
    assert one != other
    assert len(one) >= 43
    assert refresh_session(one) == "s_1"
    assert one not in refresh_hash(one)
    for broken in ("", "s_1", "s_1.", ".x"):
        with pytest.raises(ParleyError, match="token_invalid"):
            refresh_session(broken)


def test_keys_of_different_uses_differ() -> None:
    assert len({KEY.derive(purpose) for purpose in ("csrf", "access-token", "password-pepper")}) == 3
    assert KEY.kid not in SECRET
    assert make_key(SECRET + "x").kid != KEY.kid


# Cross-site request tokens


def test_a_cross_site_token_belongs_to_one_session_and_key() -> None:
    given = csrf.token_for("s_1", b"k" * 32)
    assert csrf.matches(given, "s_1", b"k" * 32)
    assert not csrf.matches(given, "s_2", b"k" * 32)
    assert not csrf.matches(given, "s_1", b"x" * 32)
    for wrong in (None, "", given[:-1], given.upper(), "é"):
        assert not csrf.matches(wrong, "s_1", b"k" * 32)
