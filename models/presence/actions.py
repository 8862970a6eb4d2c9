"""Who may know of whose presence, and what they are told.

What a person chose (status, text) and when they were last seen is durable, on their account; whether they are there is
the directory's. To others an invisible person is offline, with the last time they were openly there.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import UNSET

from contract import presence as contract
from contract.errors import ParleyError
from contract.rooms import presence_room
from contract.types import format_time
from models.context import Actions, Context, now
from models.conversations.actions import Conversations
from models.users.actions import Users
from realtime.leases import Directory
from realtime.publisher import Publisher
from storage.mongo import Document


def _view(user_id: str, facts: Document | None, present: bool, own: bool = False) -> contract.Presence:
    chosen = (facts or {}).get("presence") or {"status": "online", "text": None}
    status: Any = chosen["status"] if present else "offline"
    if status == "invisible" and not own:
        status = "offline"
    seen = (facts or {}).get("last_seen_at")
    return contract.Presence(
        user_id=user_id,
        status=status,
        text=chosen["text"] if status != "offline" else None,
        last_seen_at=format_time(seen) if seen else None,
    )


class PresenceActions:
    def __init__(self, users: Users, conversations: Conversations, directory: Directory, publisher: Publisher) -> None:
        self._users = users
        self._conversations = conversations
        self._directory = directory
        self._publisher = publisher

    def actions(self) -> Actions:
        return {
            contract.SET: self.set_status,
        }

    async def visible(self, context: Context, user_ids: list[str]) -> list[str]:
        """Those of them whose presence the caller may see: people they share a conversation with, and themselves."""
        others = [user_id for user_id in user_ids if user_id != context.user_id]
        known = await self._conversations.shared(context.user_id, others) if others else set()
        return [user_id for user_id in dict.fromkeys(user_ids) if user_id in known or user_id == context.user_id]

    async def snapshot(self, context: Context, wanted: list[str], allowed: list[str]) -> contract.Presences:
        """Their presence now; whoever was wanted and is not allowed is named."""
        present = await self._directory.present(allowed) if allowed else set()
        facts = await self._users.presence_facts(allowed) if allowed else {}
        return contract.Presences(
            presences=[
                _view(user_id, facts.get(user_id), user_id in present, user_id == context.user_id)
                for user_id in allowed
            ],
            refused=[user_id for user_id in dict.fromkeys(wanted) if user_id not in allowed],
        )

    async def set_status(self, context: Context, payload: contract.SetStatus) -> contract.PresenceData:
        facts = (await self._users.presence_facts([context.user_id])).get(context.user_id)
        if facts is None:
            raise ParleyError("not_found", "There is no such user.")
        before = _view(context.user_id, facts, True)
        text = facts["presence"]["text"] if payload.text is UNSET else payload.text
        fields: dict[str, Any] = {"presence": {"status": payload.status, "text": text}}
        if payload.status == "invisible" and before.status != "offline":
            fields["last_seen_at"] = now()
        changed = await self._users.set_presence(context.user_id, fields)
        after = _view(context.user_id, changed, True)
        if after != before:
            await self._publish(after, context.origin)
        return contract.PresenceData(presence=_view(context.user_id, changed, True, own=True))

    async def came(self, user_id: str) -> None:
        """Someone is there who was not, on any device or process."""
        facts = (await self._users.presence_facts([user_id])).get(user_id)
        view = _view(user_id, facts, True)
        if view.status != "offline":
            await self._publish(view, None)

    async def left(self, seen: dict[str, datetime]) -> None:
        """These people are gone from everywhere. An invisible one already was, to others."""
        facts = await self._users.presence_facts(list(seen))
        openly = {
            user_id: at for user_id, at in seen.items() if _view(user_id, facts.get(user_id), True).status != "offline"
        }
        if not openly:
            return
        await self._users.record_last_seen(openly)
        for user_id, at in openly.items():
            view = _view(user_id, facts.get(user_id), False)
            view.last_seen_at = format_time(at)
            await self._publish(view, None)

    async def _publish(self, view: contract.Presence, origin: str | None) -> None:
        await self._publisher.publish(contract.STATUS_CHANGE, [presence_room(view.user_id)], view, origin=origin)
