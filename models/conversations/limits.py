"""How many conversations there may be and how many people in them, and what it costs to tell them all.

Nobody can use up what is another's. What one makes oneself is counted for oneself. What others put one into has a count
of its own, whose end refuses those others; and of it strangers can fill a part only: the rest is for people whom one
has talked to. What strangers begin with one and say beside one is limited by the day, and frees by itself. Nobody is
told how many another has, only that this one cannot be put in.
"""

from __future__ import annotations

from collections.abc import Sequence

from contract.errors import ParleyError
from contract.quotas import (
    CONVERSATION_BYTES_A_DAY,
    CONVERSATIONS_A_DAY,
    DIRECT_BEGUN,
    DIRECT_MET_A_DAY,
    GROUP_PEOPLE,
    GROUPS_JOINED,
    GROUPS_JOINED_BY_STRANGERS,
    GROUPS_MADE,
    PEOPLE_A_DAY,
    SPARED_BYTES_A_DAY,
    USER_BYTES_A_DAY,
    Daily,
    Most,
)
from contract.registry import FAN_OUT_FREE
from models.conversations.document import maker_of
from models.conversations.listing import Listing
from models.quotas.actions import Quotas
from security.limits import FanOutLimits
from storage.mongo import Document


def announcement(people: int) -> int:
    """What it costs to send a conversation to all who are in it: it names everyone to everyone."""
    return people * weight(people)


def weight(people: int) -> int:
    """What a group of so many counts for whom others put into it."""
    return 1 + people // FAN_OUT_FREE


class Limits:
    def __init__(self, listing: Listing, quotas: Quotas, fan_out: FanOutLimits) -> None:
        self._listing = listing
        self._quotas = quotas
        self._fan_out = fan_out

    def telling(self, user_id: str, document: Document, tier: str = "messages") -> None:
        """All who are in it are about to be told of something. Raises rate_limited."""
        people = len(document["participant_ids"])
        if people > FAN_OUT_FREE:
            self._fan_out.charge(tier, user_id, people)

    def announcing(self, user_id: str, document: Document, more: int = 0) -> None:
        """All who are in it, and so many more, are about to be sent the conversation. Raises rate_limited."""
        people = len(document["participant_ids"]) + more
        if people > FAN_OUT_FREE:
            self._fan_out.charge("messages", user_id, announcement(people))

    def saying(self, user_id: str, conversation_id: str, text: str) -> None:
        """Raises rate_limited. Who has said little can go on where others have said all that may be said."""
        amount, own = len(text.encode()), (USER_BYTES_A_DAY, user_id)
        try:
            self._quotas.use(amount, own, (CONVERSATION_BYTES_A_DAY, conversation_id))
        except ParleyError as refusal:
            try:
                self._quotas.use(amount, own, (SPARED_BYTES_A_DAY, user_id))
            except ParleyError:
                raise refusal from None

    async def make(self, document: Document) -> None:
        """Counts a conversation that is about to be. Raises limit_reached or rate_limited, and has counted nothing."""
        maker_id = maker_of(document)
        others = [user_id for user_id in document["participant_ids"] if user_id != maker_id]
        made = await self._listing.made_by(maker_id)
        one: tuple[Daily, str, int] = (CONVERSATIONS_A_DAY, maker_id, 1)
        if document["type"] == "direct":
            _check(DIRECT_BEGUN, made.direct, 1)
            # The maker's first: who may make none must not use up what is the other's.
            await self._quotas.spend(one, *[(DIRECT_MET_A_DAY, other, 1) for other in others])
            return
        _check(GROUPS_MADE, made.groups, 1)
        _check(GROUP_PEOPLE, made.people, len(others))
        self.announcing(maker_id, document)
        await self._join(maker_id, others, weight(len(document["participant_ids"])))
        try:
            await self._quotas.spend(one, (PEOPLE_A_DAY, maker_id, len(others)))
        except ParleyError:
            await self.not_made(document)
            raise

    async def not_made(self, document: Document) -> None:
        """It is not there after all: nobody else has less for it."""
        if document["type"] == "group":
            await self.left(document, document["participant_ids"])
            return
        maker_id = maker_of(document)
        for other in document["participant_ids"]:
            if other != maker_id:
                await self._quotas.unspend(DIRECT_MET_A_DAY, other, 1)

    async def add(self, user_id: str, document: Document, added: Sequence[str]) -> int:
        """Counts people who are about to be put into a group by this user: what it weighs. Raises as `make` does."""
        maker_id = maker_of(document)
        if user_id == maker_id:
            made = await self._listing.made_by(maker_id)
            _check(GROUP_PEOPLE, made.people, len(added))
        heavy = weight(len(document["participant_ids"]) + len(added))
        await self._join(user_id, [one for one in added if one != maker_id], heavy)
        try:
            await self._quotas.spend((PEOPLE_A_DAY, user_id, len(added)))
        except ParleyError:
            await self.not_added(document, added, heavy)
            raise
        return heavy

    async def not_added(self, document: Document, user_ids: Sequence[str], heavy: int) -> None:
        """They are not in it after all."""
        maker_id = maker_of(document)
        await self._quotas.give_back(GROUPS_JOINED, {one: heavy for one in user_ids if one != maker_id})

    async def left(self, document: Document, user_ids: Sequence[str]) -> None:
        """These people are not in the group any more: what it has weighed for them since they came is free."""
        maker_id, members = maker_of(document), document["members"]
        free = {one: members[one].get("weight", 1) for one in user_ids if one != maker_id}
        await self._quotas.give_back(GROUPS_JOINED, free)

    async def _join(self, by: str, user_ids: Sequence[str], heavy: int) -> None:
        caps = dict.fromkeys(user_ids, GROUPS_JOINED_BY_STRANGERS.amount)
        full = await self._quotas.take(GROUPS_JOINED, caps, self._listing.count_joined, heavy)
        if full and (known := await self._listing.acquainted(by, full)):
            caps.update(dict.fromkeys(known, GROUPS_JOINED.amount))
            full = await self._quotas.take(GROUPS_JOINED, caps, self._listing.count_joined, heavy)
        if full:
            raise ParleyError(
                "limit_reached", "Some of these people cannot be put into more groups.",
                details={"limit": GROUPS_JOINED.name, "user_ids": list(full)},
            )  # fmt: skip


def _check(limit: Most, there: int, more: int) -> None:
    if there + more > limit.amount:
        raise ParleyError(
            "limit_reached", f"{limit.doc.rstrip('.')}: at most {limit.amount}, and there are {there}.",
            details={"limit": limit.name, "amount": limit.amount, "used": there},
        )  # fmt: skip
