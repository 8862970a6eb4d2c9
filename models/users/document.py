"""The user document.

    {_id, email, email_key, password_hash, credentials, name, role, phone, business, email_verified, disabled,
     presence: {status, text}, last_seen_at, created_at, updated_at}

`email_key` is the folded address and is unique; `email` is as the person wrote it. `credentials` (0 where it is
missing) counts changes of the password: a log-in of an earlier one is worth nothing.

The record of tries, see `attempts`:

    {_id: hash of the email_key, version, lanes: {name: {count, last_at}}, expires_at}
"""

from __future__ import annotations

import unicodedata

from pymongo import IndexModel

from contract.identity import User
from contract.types import format_time
from storage.mongo import Document

INDEXES = {
    "users": [IndexModel([("email_key", 1)], unique=True)],
    "login_attempts": [IndexModel([("expires_at", 1)])],
}


def email_key(email: str) -> str:
    return unicodedata.normalize("NFKC", email).strip().casefold()


def to_user(document: Document) -> User:
    return User(
        id=document["_id"],
        email=document["email"],
        name=document["name"],
        role=document["role"],
        phone=document.get("phone"),
        business=document.get("business"),
        email_verified=document.get("email_verified", False),
        created_at=format_time(document["created_at"]),
    )
