"""Whatever shows a message shows it as it is now, and to those alone who may see it: mentions, pins, replies, lists."""

from __future__ import annotations

from typing import Any

import pytest

from bench.clients import CommandError, Person
from models.conversations.actions import Conversations
from server import Server
from tests.faults.test_told_again import failing
from tests.support import Crowd, Heard, group, until

Json = dict[str, Any]


async def say(person: Person, conversation: Json, text: str, **fields: Any) -> Json:
    payload = {"conversation_id": conversation["id"], "client_id": text[:64], "text": text, **fields}
    message: Json = (await person.call("chat:send", payload))["message"]
    return message


async def mentions(person: Person) -> list[Json]:
    items: list[Json] = (await person.call("notification:list", {"kind": "mention"}))["items"]
    return items


async def seen(person: Person, conversation: Json) -> Json:
    found: Json = (await person.call("chat:get", {"conversation_id": conversation["id"]}))["conversation"]
    return found


async def pin(person: Person, conversation: Json, *messages: Json) -> Json:
    ids = [message["id"] for message in messages]
    payload = {"conversation_id": conversation["id"], "pinned_message_ids": ids}
    pinned: Json = (await person.call("chat:update", payload))["conversation"]
    return pinned


async def delete_and_die(person: Person, message: Json, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is deleted, and its process dies before anything else follows."""
    with failing(monkeypatch, Conversations, "changed_message"), pytest.raises(CommandError):
        await person._attempt("chat:delete", {"message_id": message["id"]}, "/chat")


@pytest.mark.parametrize("dies", [False, True], ids=["done", "died"])
async def test_the_notification_of_a_mention_follows_its_message(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch, dies: bool
) -> None:
    ada, ben, conversation = await crowd.pair()
    heard = Heard(ben, "system:notification")
    message = await say(ada, conversation, "@Ben 40 a sack?", mentions=[ben.account.id])
    assert (await heard.wait("system:notification"))["notification"]["body"] == "@Ben 40 a sack?"
    await ada.call("chat:edit", {"message_id": message["id"], "text": "@Ben 45 a sack?"})
    assert [told["body"] for told in await mentions(ben)] == ["@Ben 45 a sack?"]
    if dies:
        await delete_and_die(ada, message, monkeypatch)
    else:
        await ada.call("chat:delete", {"message_id": message["id"]})
    (told,) = await mentions(ben)
    assert (told["title"], told["body"], told["data"]["message_id"]) == ("Ada mentioned you", "", message["id"])


async def test_what_was_stored_with_a_notification_before_is_not_shown(crowd: Crowd, server: Server) -> None:
    ada, ben, conversation = await crowd.pair()
    heard = Heard(ben, "system:notification")
    message = await say(ada, conversation, "secret", mentions=[ben.account.id])
    await heard.wait("system:notification")
    (told,) = await mentions(ben)
    stored = server.database.collection("notifications")
    document = await stored.find_one({"_id": told["id"]})
    assert document is not None
    assert "secret" not in str(document)
    await stored.update_one({"_id": told["id"]}, {"$set": {"body": "secret"}})
    await ada.call("chat:delete", {"message_id": message["id"]})
    assert [told["body"] for told in await mentions(ben)] == [""]


async def test_who_has_left_does_not_read_on_by_an_old_notification(crowd: Crowd) -> None:
    ada, ben = await crowd.person("Ada"), await crowd.person("Ben")
    conversation = await group(ada, ben)
    place = {"conversation_id": conversation["id"]}
    heard = Heard(ben, "system:notification")
    message = await say(ada, conversation, "@Ben 40?", mentions=[ben.account.id])
    await until(lambda: "mention" in [payload["notification"]["kind"] for _, payload in heard.all])
    await ada.call("chat:members", {**place, "remove": [ben.account.id]})
    await ada.call("chat:edit", {"message_id": message["id"], "text": "Ben is gone, so 60"})
    assert [told["body"] for told in await mentions(ben)] == [""]
    await ada.call("chat:members", {**place, "add": [ben.account.id]})  # he sees what is said from here on
    assert [told["body"] for told in await mentions(ben)] == [""]


async def test_a_long_message_is_notified_by_its_beginning(crowd: Crowd) -> None:
    ada, ben, conversation = await crowd.pair()
    heard = Heard(ben, "system:notification")
    await say(ada, conversation, "x" * 138 + "\u2067ab" + "y" * 50, mentions=[ben.account.id])
    body = "x" * 138 + "\u2067a\u2069"
    assert (await heard.wait("system:notification"))["notification"]["body"] == body
    assert [told["body"] for told in await mentions(ben)] == [body]


async def test_a_deleted_message_is_unpinned_and_everyone_is_told(crowd: Crowd, server: Server) -> None:
    ada, ben, conversation = await crowd.pair()
    one, two = await say(ada, conversation, "one"), await say(ada, conversation, "two")
    await pin(ben, conversation, one, two)
    heard, at_ada = Heard(ben, "chat:conversation"), Heard(ada, "chat:conversation")
    await ada.call("chat:delete", {"message_id": two["id"]})
    for listener in (heard, at_ada):
        told = (await listener.wait("chat:conversation"))["conversation"]
        assert told["pinned_message_ids"] == [one["id"]]
        assert told["last_message"]["text"] == ""
    document = await server.database.collection("conversations").find_one({"_id": conversation["id"]})
    assert document is not None
    assert document["pinned_message_ids"] == [one["id"]]
    with pytest.raises(CommandError, match=r"pinned_message_ids\[1\]: was deleted"):
        await pin(ben, conversation, one, two)


async def test_a_message_whose_deletion_was_cut_short_is_shown_nowhere(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    ada, ben, conversation = await crowd.pair()
    one, two = await say(ada, conversation, "one"), await say(ada, conversation, "two")
    await pin(ada, conversation, one, two)
    mover = server.domain.conversations._store.mover
    while mover.heads.pending:
        await mover.flush()
    await delete_and_die(ada, two, monkeypatch)
    stored = await server.database.collection("conversations").find_one({"_id": conversation["id"]})
    assert stored is not None
    assert stored["last_message"]["text"] == "two"  # or nothing of this was put to the test
    assert len(stored["pinned_message_ids"]) == 2
    place, known = {"conversation_id": conversation["id"]}, {"cursors": {conversation["id"]: 0}}
    for shown in (
        await seen(ben, conversation), (await ben.call("chat:list", {}))["items"][0],
        (await ben.call("chat:join", place))["conversation"],
        (await ben.call("chat:sync", known))["conversations"][0]["conversation"],
        (await ben.call("chat:update", {**place, "muted": True}))["conversation"],
    ):  # fmt: skip
        assert (shown["last_message"]["text"], shown["last_message"]["version"]) == ("", 2)
        assert shown["pinned_message_ids"] == [one["id"]]
    heard = Heard(ben, "chat:conversation")
    await ada.call("chat:delete", {"message_id": two["id"]})  # the repeat does what was not done
    assert (await heard.wait("chat:conversation"))["conversation"]["pinned_message_ids"] == [one["id"]]


async def test_pins_and_replies_reach_no_further_back_than_their_author_sees(crowd: Crowd) -> None:
    ada, ben, cleo = [await crowd.person(name) for name in ("Ada", "Ben", "Cleo")]
    conversation = await group(ada, ben)
    place = {"conversation_id": conversation["id"]}
    before = await say(ada, conversation, "between us")
    await pin(ada, conversation, before)
    heard = Heard(cleo, "chat:conversation")
    await ada.call("chat:members", {**place, "add": [cleo.account.id]})
    assert (await heard.wait("chat:conversation"))["conversation"]["pinned_message_ids"] == []
    after = await say(ada, conversation, "welcome")
    with pytest.raises(CommandError, match=r"pinned_message_ids\[0\]: is not a message of this conversation"):
        await pin(cleo, conversation, before)
    with pytest.raises(CommandError, match="reply_to: is not a message of this conversation"):
        await say(cleo, conversation, "what?", reply_to=before["id"])
    assert (await say(cleo, conversation, "thanks", reply_to=after["id"]))["reply_to"] == after["id"]
    # What she cannot see she does not unpin either.
    assert (await pin(cleo, conversation, after))["pinned_message_ids"] == [after["id"]]
    assert (await seen(ben, conversation))["pinned_message_ids"] == [before["id"], after["id"]]
    assert (await pin(cleo, conversation))["pinned_message_ids"] == []
    assert (await pin(ben, conversation))["pinned_message_ids"] == []
    assert (await seen(ada, conversation))["pinned_message_ids"] == []


async def test_a_repeated_reply_is_the_first_one_though_its_author_was_away_meanwhile(crowd: Crowd) -> None:
    ada, ben = await crowd.person("Ada"), await crowd.person("Ben")
    conversation = await group(ada, ben)
    place = {"conversation_id": conversation["id"]}
    question = await say(ada, conversation, "40?")
    answer = await say(ben, conversation, "45", reply_to=question["id"])
    for change in ("remove", "add"):
        await ada.call("chat:members", {**place, change: [ben.account.id]})
    assert (await say(ben, conversation, "45", reply_to=question["id"]))["id"] == answer["id"]
    with pytest.raises(CommandError, match="reply_to"):
        await say(ben, conversation, "46", reply_to=question["id"])


async def test_a_conversation_has_so_many_pins_whoever_sees_them(crowd: Crowd) -> None:
    ada, ben = await crowd.person("Ada"), await crowd.person("Ben")
    conversation = await group(ada, ben)
    place = {"conversation_id": conversation["id"]}
    cleo = await crowd.person("Cleo")
    old = [await say(ada, conversation, f"old {number}") for number in range(19)]
    await pin(ada, conversation, *old)
    await ada.call("chat:members", {**place, "add": [cleo.account.id]})
    new = [await say(ada, conversation, f"new {number}") for number in range(2)]
    with pytest.raises(CommandError, match="at most 20, 19 of them from before you joined"):
        await pin(cleo, conversation, *new)
    assert (await pin(cleo, conversation, new[0]))["pinned_message_ids"] == [new[0]["id"]]
    await ada.call("chat:delete", {"message_id": old[0]["id"]})
    assert len((await pin(cleo, conversation, *new))["pinned_message_ids"]) == 2


async def test_who_was_notified_is_not_looked_up_again(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    ada, ben, conversation = await crowd.pair()
    heard = Heard(ben, "system:notification")
    await say(ada, conversation, "@Ben", mentions=[ben.account.id])
    await heard.wait("system:notification")
    mover = server.domain.conversations._store.mover
    with failing(monkeypatch, Conversations, "find_stored"):  # it is not asked for: the head moves
        while mover.heads.pending:
            await mover.flush()
    assert len(await mentions(ben)) == 1
