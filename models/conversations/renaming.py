"""A new name spreads to all that its owner's conversations are, behind the answer to the change: one job for each user.

    changed --RENAMED_AFTER_S--> job: conversation, conversation, ... --as long as that telling is worth--> job ... gone

Whoever is in many large groups has it told to very many, each of whom is sent the whole conversation. So it goes at a
pace of its own, which is what one user may tell people by messages, and between two steps no worker waits for it.

A step spreads the name as it is then, and asks before each conversation whether it still is. Whoever changes it asks
for the job first, and a job that was asked for while it is done is done again; so is each that found something to do.
So it looks once more after the last write, and what an earlier name was written over is made up for.
"""

from __future__ import annotations

import time
from typing import Any

from contract.errors import ParleyError
from contract.registry import FAN_OUT_TIERS
from models.conversations.actions import RENAMED_AFTER_S, Conversations
from models.conversations.limits import announcement
from models.users.actions import Users

PEOPLE_PER_S = FAN_OUT_TIERS["messages"].count / FAN_OUT_TIERS["messages"].per_s
# A step ends with the conversation that reaches one of them.
STEP_PEOPLE = 5_000
STEP_S = 2.0


class Renaming:
    def __init__(self, conversations: Conversations, users: Users) -> None:
        self._conversations = conversations
        self._users = users

    async def spread(self, what: dict[str, Any]) -> None:
        user_id: str = what["user_id"]
        name = await self._name(user_id)
        left = await self._conversations.named_otherwise(user_id, name) if name is not None else []
        told, ends_at = 0, time.monotonic() + STEP_S
        for conversation_id in left:
            if name is None or await self._name(user_id) != name:
                break
            told += announcement(await self._conversations.rename_in(conversation_id, user_id, name))
            if told >= STEP_PEOPLE or time.monotonic() >= ends_at:
                break
        if left:
            await self._conversations.rename_later(user_id, max(RENAMED_AFTER_S, told / PEOPLE_PER_S))

    async def _name(self, user_id: str) -> str | None:
        try:
            name: str = (await self._users.get(user_id))["name"]
        except ParleyError:  # not there any more
            return None
        return name
