"""The client's side of "state + events == refetch": a pure reducer, and examples of what it does.

It is all that a client needs: keep the highest version of a message and the highest of a mark, take a conversation
from its event unless more is known already, and count unread from there on.
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


class Mirror:
    """What a client of `user_id` believes."""

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        self.conversations: dict[str, Json] = {}
        self.messages: dict[str, dict[int, Json]] = {}
        self.synced_at: str | None = None

    # What comes in

    def hear(self, event: str, payload: Json) -> None:
        if event == "chat:message":
            self._message(payload["message"])
        elif event == "chat:message_updated":
            self._version(payload["message"])
        elif event == "chat:receipt":
            self._receipt(payload)
        elif event == "chat:conversation":
            self._conversation(payload["conversation"])

    def learn(self, command: str, data: Json) -> None:
        """From an acknowledgement."""
        if command == "chat:sync":
            self._synced(data)
        elif "message" in data:
            if data["message"]["conversation_id"] not in self.conversations:
                return  # removed from it while the command was on its way, and told so before its answer came
            if command == "chat:send":
                self._message(data["message"])
            else:
                self._version(data["message"])
        elif "receipt" in data:
            self._receipt(data["receipt"])
        elif "conversation" in data:
            self._conversation(data["conversation"])

    def sync_request(self) -> Json:
        """A cursor is the last seq without a gap after the point where this person came in."""
        cursors = {}
        for conversation_id in self.conversations:
            held, cursor = self.messages.get(conversation_id, {}), self._floor(conversation_id)
            while cursor + 1 in held:
                cursor += 1
            cursors[conversation_id] = cursor
        return {"cursors": cursors, **({"changed_since": self.synced_at} if self.synced_at else {})}

    # What it does

    def _own(self, conversation: Json) -> Json | None:
        return next((one for one in conversation["participants"] if one["user_id"] == self.user_id), None)

    def _floor(self, conversation_id: str) -> int:
        own = self._own(self.conversations[conversation_id])
        return int(own["joined_seq"]) if own else 0

    def _message(self, message: Json) -> None:
        """A new one: moves the conversation on, and counts if it is another's and beyond what was counted."""
        self._version(message)
        conversation = self.conversations.get(message["conversation_id"])
        if conversation is None or message["seq"] <= conversation["last_seq"]:
            return
        conversation["last_seq"] = message["seq"]
        conversation["last_message"] = self.messages[conversation["id"]][message["seq"]]
        conversation["updated_at"] = max(conversation["updated_at"], message["created_at"])
        own = self._own(conversation)
        if own and message["sender_id"] != self.user_id and message["seq"] > own["read_seq"]:
            conversation["unread"] += 1

    def _version(self, message: Json) -> None:
        held = self.messages.setdefault(message["conversation_id"], {})
        known = held.get(message["seq"])
        if known is None or known["version"] < message["version"]:
            held[message["seq"]] = message
            self._refresh_last(message["conversation_id"])

    def _refresh_last(self, conversation_id: str) -> None:
        """The copy on the conversation is of the newest version too."""
        conversation = self.conversations.get(conversation_id)
        if conversation is not None and conversation["last_message"] is not None:
            newest = self.messages.get(conversation_id, {}).get(conversation["last_message"]["seq"])
            if newest is not None and newest["version"] > conversation["last_message"]["version"]:
                conversation["last_message"] = newest

    def _receipt(self, receipt: Json) -> None:
        conversation = self.conversations.get(receipt["conversation_id"])
        if conversation is None:
            return
        for participant in conversation["participants"]:
            if participant["user_id"] == receipt["user_id"]:
                for mark in ("delivered_seq", "read_seq"):
                    assert receipt[mark] >= participant[mark], f"{mark} fell from {participant[mark]} in {receipt}"
                    participant[mark] = receipt[mark]
        if receipt["user_id"] == self.user_id:
            # As of the receipt's head, if it says one: what came after that is not in its count.
            as_of = receipt["last_seq"] if "last_seq" in receipt else conversation["last_seq"]
            later = [one for seq, one in self.messages.get(conversation["id"], {}).items() if seq > as_of]
            conversation["unread"] = receipt["unread"] + sum(one["sender_id"] != self.user_id for one in later)

    def _conversation(self, told: Json) -> None:
        """As it was told, with what is known to be newer: a later head, higher marks."""
        conversation_id, own = told["id"], self._own(told)
        if own is None:
            self._forget(conversation_id)
            return
        known = self.conversations.get(conversation_id)
        if known is not None and known["last_seq"] > told["last_seq"]:
            newer = {name: known[name] for name in ("last_seq", "last_message", "unread", "updated_at")}
            told = told | newer
        self.conversations[conversation_id] = told
        for participant in told["participants"]:
            before = next((p for p in (known or told)["participants"] if p["user_id"] == participant["user_id"]), None)
            if before is not None and before["joined_seq"] == participant["joined_seq"]:
                for mark in ("delivered_seq", "read_seq"):
                    participant[mark] = max(participant[mark], before[mark])
        held = self.messages.setdefault(conversation_id, {})
        for seq in [seq for seq in held if seq <= own["joined_seq"]]:
            del held[seq]
        self._refresh_last(conversation_id)

    def _forget(self, conversation_id: str) -> None:
        self.conversations.pop(conversation_id, None)
        self.messages.pop(conversation_id, None)

    def _synced(self, data: Json) -> None:
        for entry in data["conversations"]:
            self._conversation(entry["conversation"])
            for message in [*entry["messages"], *entry["changed"]]:
                self._version(message)
        for conversation_id in data["gone"]:
            self._forget(conversation_id)
        self.synced_at = data["synced_at"]


# Examples of the reducer itself


def conversation(**changes: Any) -> Json:
    mark = {"name": "x", "role": "member", "joined_seq": 0, "delivered_seq": 0, "read_seq": 0}
    return {
        "id": "c", "participants": [{"user_id": "ada", **mark}, {"user_id": "ben", **mark}], "last_seq": 0,
        "last_message": None, "unread": 0, "updated_at": "2026-01-01T00:00:00.000Z",
    } | changes  # fmt: skip


def message(seq: int, sender: str = "ben", version: int = 1) -> Json:
    at = f"2026-01-01T00:00:{seq:02d}.000Z"
    return {"conversation_id": "c", "seq": seq, "sender_id": sender, "version": version, "created_at": at}


def mirror(**changes: Any) -> Mirror:
    made = Mirror("ada")
    made.hear("chat:conversation", {"conversation": conversation(**changes)})
    return made


def test_a_message_is_counted_once_and_an_own_one_not() -> None:
    ada = mirror()
    for told in (message(1), message(1), message(2, "ada"), message(3)):
        ada.hear("chat:message", {"message": told})
    assert ada.conversations["c"]["unread"] == 2
    assert ada.conversations["c"]["last_message"] == message(3)
    assert ada.sync_request()["cursors"] == {"c": 3}


def test_the_highest_version_stays() -> None:
    ada = mirror()
    ada.hear("chat:message", {"message": message(1)})
    ada.hear("chat:message_updated", {"message": message(1, version=3)})
    ada.hear("chat:message_updated", {"message": message(1, version=2)})
    assert ada.messages["c"][1]["version"] == 3
    assert ada.conversations["c"]["last_message"]["version"] == 3


def test_an_older_picture_does_not_take_back_a_later_head() -> None:
    ada = mirror()
    ada.hear("chat:message", {"message": message(1)})
    ada.hear("chat:conversation", {"conversation": conversation(title="new")})
    assert ada.conversations["c"]["last_seq"] == 1
    assert ada.conversations["c"]["unread"] == 1
    assert ada.conversations["c"]["title"] == "new"


def test_who_is_not_in_it_any_more_forgets_it() -> None:
    ada = mirror()
    ada.hear("chat:message", {"message": message(1)})
    ada.hear("chat:conversation", {"conversation": conversation(participants=[])})
    assert (ada.conversations, ada.messages) == ({}, {})
