"""How much a user and a conversation may have, and how much may be done with them in a day.

More than there may be of something (`Most`) is refused as limit_reached: waiting does not help, having less does. More
than may be done in a day (`Daily`) is refused as rate_limited, with the time until there is room for what was asked; it
frees evenly over the day. The details of both name the limit.
"""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1_048_576
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Most:
    """At most so many at any time."""

    name: str
    amount: int
    doc: str


@dataclass(frozen=True, slots=True)
class Daily:
    """At most so many a day, all at once if need be; they come back evenly over DAY_S."""

    name: str
    amount: int
    doc: str


GROUPS_MADE = Most("groups_made", 500, "Groups that a user has made and is in.")
GROUP_PEOPLE = Most(
    "group_people", 20_000, "People whom a user has put into the groups that they have made, all groups together."
)
DIRECT_BEGUN = Most("direct_begun", 1_000, "Direct conversations that a user has begun.")
GROUPS_JOINED = Most(
    "groups_joined", 500,
    "Groups that a user was put into by others; one of many people counts once more for each 64 of them.",
)  # fmt: skip
GROUPS_JOINED_BY_STRANGERS = Most(
    "groups_joined_by_strangers", 250,
    "Up to so many groups, counted in the same way, anybody may put a user into; beyond, only those whom they have "
    "talked to in a direct conversation.",
)  # fmt: skip

CONVERSATIONS_A_DAY = Daily("conversations_a_day", 300, "Conversations that a user makes.")
DIRECT_MET_A_DAY = Daily("direct_met_a_day", 5_000, "Direct conversations that others begin with a user.")
PEOPLE_A_DAY = Daily("people_a_day", 3_000, "People whom a user puts into groups.")
USER_BYTES_A_DAY = Daily("user_bytes_a_day", 64 * MIB, "Bytes of text, in UTF-8, that a user sends and edits.")
CONVERSATION_BYTES_A_DAY = Daily(
    "conversation_bytes_a_day", 256 * MIB, "Bytes of text, in UTF-8, that are sent and edited in a conversation."
)
SPARED_BYTES_A_DAY = Daily(
    "spared_bytes_a_day",
    MIB,
    "Bytes of text, in UTF-8, that a user may send still to conversations that are at their end.",
)

LIMITS: tuple[Most | Daily, ...] = (
    GROUPS_MADE, GROUP_PEOPLE, DIRECT_BEGUN, GROUPS_JOINED, GROUPS_JOINED_BY_STRANGERS,
    CONVERSATIONS_A_DAY, DIRECT_MET_A_DAY, PEOPLE_A_DAY, USER_BYTES_A_DAY, CONVERSATION_BYTES_A_DAY,
    SPARED_BYTES_A_DAY,
)  # fmt: skip
