"""Reactions: one emoji is one reaction, whichever of its spellings a keyboard sends."""

from __future__ import annotations

import pytest

from server import Server
from tests.support import Crowd, Heard


@pytest.mark.parametrize(
    ("one", "other", "key"),
    [("👍", "👍\ufe0f", "👍"), ("❤", "❤️", "❤️"), ("1⃣", "1️⃣", "1️⃣"), ("🏳‍🌈", "🏳️‍🌈", "🏳️‍🌈")],
    ids=ascii,
)
async def test_both_spellings_of_an_emoji_are_one_reaction(crowd: Crowd, one: str, other: str, key: str) -> None:
    ada, ben, conversation = await crowd.pair()
    message = await ada.call("chat:send", {"conversation_id": conversation["id"], "client_id": "one", "text": "Forty?"})
    target = {"message_id": message["message"]["id"]}
    await ada.call("chat:react", {**target, "emoji": one, "on": True})
    both = await ben.call("chat:react", {**target, "emoji": other, "on": True})
    assert both["message"]["reactions"] == {key: [ada.account.id, ben.account.id]}
    again = await ada.call("chat:react", {**target, "emoji": other, "on": True})
    assert again["message"]["version"] == both["message"]["version"]
    await ada.call("chat:react", {**target, "emoji": other, "on": False})
    none = await ben.call("chat:react", {**target, "emoji": one, "on": False})
    assert none["message"]["reactions"] == {}


async def test_skin_tones_are_reactions_of_their_own(crowd: Crowd) -> None:
    ada, _, conversation = await crowd.pair()
    message = await ada.call("chat:send", {"conversation_id": conversation["id"], "client_id": "one", "text": "Forty?"})
    for emoji in ("👍", "👍🏻", "👍🏿"):
        payload = {"message_id": message["message"]["id"], "emoji": emoji, "on": True}
        reacted = (await ada.call("chat:react", payload))["message"]
    assert list(reacted["reactions"]) == ["👍", "👍🏻", "👍🏿"]


async def test_what_was_stored_in_two_spellings_is_shown_as_one_and_goes_as_one(crowd: Crowd, server: Server) -> None:
    ada, ben, conversation = await crowd.pair()
    place = {"conversation_id": conversation["id"]}
    message = (await ada.call("chat:send", {**place, "client_id": "one", "text": "Forty?"}))["message"]
    stored = server.database.collection("messages")
    ids = [ada.account.id, ben.account.id]
    old = {"👍\ufe0f": [ids[0]], "👍": [ids[1], ids[0]], "❤": [ids[1]]}
    await stored.update_one({"conversation_id": conversation["id"], "seq": 1}, {"$set": {"reactions": old}})
    (shown,) = (await ben.call("chat:history", place))["messages"]
    assert shown["reactions"] == {"👍": ids, "❤️": [ids[1]]}
    heard = Heard(ben, "chat:message_updated")
    change = {"message_id": message["id"], "emoji": "👍\ufe0f", "on": False}
    changed = (await ada.call("chat:react", change))["message"]
    assert changed["reactions"] == {"👍": [ids[1]], "❤️": [ids[1]]}
    assert (await heard.wait("chat:message_updated"))["message"] == changed
    document = await stored.find_one({"conversation_id": conversation["id"], "seq": 1})
    assert document is not None
    assert document["reactions"] == changed["reactions"]
