"""/chat: conversations and messages as they go over the wire, both ways. `chat_commands` says who sends which."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from contract.money import Money
from contract.text import text
from contract.types import (
    PARTICIPANTS_MAX,
    ClientId,
    Cursor,
    EditedText,
    Emoji,
    Id,
    Limit,
    MessageText,
    Payload,
    Resource,
    Seq,
    Timestamp,
    Title,
)

ConversationType = Literal["direct", "group"]
SYNC_CONVERSATIONS_MAX = 1_000
PINS_MAX = 20
PAGE_PEOPLE_MAX = 5_000


# What the server sends


class Participant(Resource):
    """`joined_seq`: this person sees messages after it. Marks are high-water: read implies delivered."""

    user_id: str
    name: str
    role: Literal["owner", "member"]
    joined_seq: int
    delivered_seq: int
    read_seq: int


class OfferStep(Resource):
    """What a message of kind `offer` tells: the step that an offer took. `offer:get` has the offer."""

    offer_id: str
    version: int
    action: str
    status: str
    total: Money


class Message(Resource):
    """`version` rises with every edit, deletion and reaction: keep the copy with the highest.

    `offer` is there with kind `offer` alone.
    """

    id: str
    conversation_id: str
    seq: int
    sender_id: str
    client_id: str | None
    kind: Literal["text", "offer", "system"]
    text: str
    attachments: list[str]
    reply_to: str | None
    mentions: list[str]
    reactions: dict[str, list[str]]
    created_at: Timestamp
    edited_at: Timestamp | None
    deleted_at: Timestamp | None
    version: int
    offer: OfferStep | UnsetType = UNSET


class Conversation(Resource):
    """As one viewer sees it: `unread`, `muted` and `archived` are the viewer's own. `pinned_message_ids` names messages
    that the viewer may see, deleted ones left out."""

    id: str
    type: ConversationType
    title: str | None
    participants: list[Participant]
    last_seq: int
    last_message: Message | None
    unread: int
    muted: bool
    archived: bool
    pinned_message_ids: list[str]
    created_at: Timestamp
    updated_at: Timestamp


class Receipt(Resource):
    """`unread` is sent only to the reader's own devices, with the `last_seq` up to which it counts: a message beyond
    that, already here or yet to come, adds to it."""

    conversation_id: str
    user_id: str
    delivered_seq: int
    read_seq: int
    unread: int | UnsetType = UNSET
    last_seq: int | UnsetType = UNSET


class ConversationData(Resource):
    conversation: Conversation
    duplicate: bool | UnsetType = UNSET


class ConversationList(Resource):
    items: list[Conversation]
    next_cursor: str | None


class MessageData(Resource):
    message: Message
    duplicate: bool | UnsetType = UNSET


class ReceiptData(Resource):
    receipt: Receipt


class JoinData(Resource):
    conversation: Conversation
    messages: list[Message]
    has_more: bool


class HistoryData(Resource):
    messages: list[Message]
    has_more: bool


class MessageList(Resource):
    items: list[Message]
    next_cursor: str | None


class ConversationMissed(Resource):
    """`messages` follow the cursor without a gap; `changed` are older ones that changed since `changed_since`."""

    conversation: Conversation
    messages: list[Message]
    changed: list[Message]
    has_more: bool


class SyncData(Resource):
    """`gone`: named by the cursors, but the caller is not in them (any more)."""

    conversations: list[ConversationMissed]
    gone: list[str]
    more: bool
    synced_at: Timestamp


class Head(Resource):
    conversation_id: str
    last_seq: int


# What a client sends


class Create(Payload):
    type: ConversationType
    participant_ids: Annotated[list[Id], Meta(min_length=1, max_length=PARTICIPANTS_MAX - 1)]
    client_id: ClientId
    title: Title | None = None


class List(Payload):
    cursor: Cursor | None = None
    limit: Limit = 50
    archived: bool | None = None
    type: ConversationType | None = None


class ConversationTarget(Payload):
    conversation_id: Id


class Join(Payload):
    conversation_id: Id
    since_seq: Seq | None = None


class Send(Payload):
    conversation_id: Id
    client_id: ClientId
    text: MessageText | None = None
    attachments: Annotated[list[Id], Meta(max_length=10)] = []
    reply_to: Id | None = None
    mentions: Annotated[list[Id], Meta(max_length=50)] = []


class Edit(Payload):
    """`version`, when sent, makes the edit fail with message_version_stale if the message changed meanwhile."""

    message_id: Id
    text: EditedText
    version: Annotated[int, Meta(ge=1, le=2**53 - 1)] | None = None


class MessageTarget(Payload):
    message_id: Id


class React(Payload):
    message_id: Id
    emoji: Emoji
    on: bool


class Mark(Payload):
    conversation_id: Id
    seq: Seq


class History(Payload):
    """With neither bound, the latest; messages always come in rising `seq`."""

    conversation_id: Id
    before_seq: Seq | None = None
    after_seq: Seq | None = None
    limit: Limit = 50


class HistoryPage(History):
    """The same over REST, where a list goes on by `cursor`: towards older messages, or newer ones after `after_seq`."""

    cursor: Cursor | None = None


class Search(Payload):
    query: Annotated[str, text(200, "words; each matches as a prefix")]
    conversation_id: Id | None = None
    cursor: Cursor | None = None
    limit: Limit = 20


class Sync(Payload):
    """`cursors`: the last `seq` the client has without a gap, per conversation; unnamed conversations count as 0."""

    cursors: Annotated[dict[Id, Seq], Meta(max_length=SYNC_CONVERSATIONS_MAX)]
    changed_since: Timestamp | None = None


class Members(Payload):
    conversation_id: Id
    add: Annotated[list[Id], Meta(max_length=100)] = []
    remove: Annotated[list[Id], Meta(max_length=100)] = []


class Update(Payload):
    """Only the fields that are sent change. `muted` and `archived` are the caller's own. Of `pinned_message_ids` those
    that the caller cannot see, from before they joined, stay."""

    conversation_id: Id
    title: Title | UnsetType = UNSET
    muted: bool | UnsetType = UNSET
    archived: bool | UnsetType = UNSET
    pinned_message_ids: Annotated[list[Id], Meta(max_length=PINS_MAX)] | UnsetType = UNSET
