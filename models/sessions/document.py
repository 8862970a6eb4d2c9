"""The session document: one log-in on one device.

    {_id, user_id, device: {id, name, platform}, ip, network, user_agent, credentials,
     refresh_hash, spent_hashes: [..], created_at, last_used_at, expires_at, revoked_at}

`spent_hashes` are the refresh tokens already traded in: seeing one again means that two parties hold the family, unless
it is the last one and comes again at once. `network` is what stands for its address (an IPv6 /64). `last_used_at` is
when the present token was issued.
`credentials` (0 where it is missing) is the user's when the password was looked at.
"""

from __future__ import annotations

from pymongo import IndexModel

from contract.identity import Device, Session
from contract.types import format_time
from storage.mongo import Document

SPENT_MAX = 100
INDEXES = {
    "sessions": [
        IndexModel([("user_id", 1), ("created_at", -1)]), IndexModel([("user_id", 1), ("device.id", 1)]),
        IndexModel([("user_id", 1), ("network", 1)]), IndexModel([("expires_at", 1)]),
    ],
}  # fmt: skip


def credentials_of(document: Document) -> int:
    """Of a session or a user: how often the password had been changed."""
    return int(document.get("credentials", 0))


def to_session(document: Document, current_id: str) -> Session:
    return Session(
        id=document["_id"],
        device=Device(**document["device"]),
        ip=document["ip"],
        user_agent=document["user_agent"],
        current=document["_id"] == current_id,
        created_at=format_time(document["created_at"]),
        last_used_at=format_time(document["last_used_at"]),
        expires_at=format_time(document["expires_at"]),
    )
