"""The notification document.

    {_id, user_id, kind, title, body, data, read_at, created_at}, and per user
    notification_preferences {_id: user_id, muted_kinds}

`body` is empty, and not read: what a message says is the message's. The id is made of what it is about and whom it
tells, so that telling twice stores once.
"""

from __future__ import annotations

from pymongo import IndexModel

from contract.system import Notification
from contract.types import format_time
from storage.mongo import Document

INDEXES = {"notifications": [IndexModel([("user_id", 1), ("created_at", -1)])]}


def to_notification(document: Document, body: str) -> Notification:
    return Notification(
        id=document["_id"],
        kind=document["kind"],
        title=document["title"],
        body=body,
        data=document["data"],
        read_at=format_time(document["read_at"]) if document["read_at"] else None,
        created_at=format_time(document["created_at"]),
    )
