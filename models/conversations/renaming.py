"""A new name spreads to what its owner's many or large conversations are, behind the answer to the change: a job.

    changed --RENAMED_AFTER--> job: conversation, conversation, ... --STEP_S--> the next job --none is left--> gone

Whoever is in many large groups has it told to very many, each of whom is sent the whole conversation. So it goes no
faster than one user may tell people, and in steps that a worker can give back.

A job spreads the name it was made for, as long as that is the name. It asks before each conversation, and the job of a
later name begins RENAMED_AFTER later, so what is written last is the last name. Each looks for conversations with
another name until there is none, which makes up for what a job of an earlier name wrote meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from contract.errors import ParleyError
from contract.registry import FAN_OUT_TIERS
from models.conversations.actions import Conversations
from models.conversations.limits import announcement
from models.users.actions import Users

STEP_S = 20.0
PEOPLE_PER_S = FAN_OUT_TIERS["messages"].count / FAN_OUT_TIERS["messages"].per_s


class Renaming:
    def __init__(self, conversations: Conversations, users: Users) -> None:
        self._conversations = conversations
        self._users = users

    async def spread(self, what: dict[str, Any]) -> None:
        user_id, name = what["user_id"], what["name"]
        ends_at = time.monotonic() + STEP_S
        while left := await self._conversations.named_otherwise(user_id, name):
            for conversation_id in left:
                if not await self._is_named(user_id, name):
                    return
                people = await self._conversations.rename_in(conversation_id, user_id, name)
                await asyncio.sleep(announcement(people) / PEOPLE_PER_S)
                if time.monotonic() > ends_at:
                    await self._conversations.rename_later(user_id, name, what["part"] + 1)
                    return

    async def _is_named(self, user_id: str, name: str) -> bool:
        try:
            return bool((await self._users.get(user_id))["name"] == name)
        except ParleyError:  # not there any more
            return False
