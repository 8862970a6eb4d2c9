"""The stored head of a conversation stays far behind here: nobody who reads the conversation can tell."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import pytest

from bench.clients import Person
from models.conversations import moving
from models.conversations.document import new_member
from server import Server
from settings import Settings
from tests.support import Crowd, Heard, direct, group, serving

Json = dict[str, Any]


@pytest.fixture(autouse=True)
def _no_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads move when they are told to, or when the server stops."""
    monkeypatch.setattr(moving, "FLUSH_S", 3_600.0)


async def flush(server: Server) -> None:
    await server.domain.conversations._store.mover.flush()


async def stored(server: Server, conversation: Json) -> Json:
    document = await server.database.collection("conversations").find_one({"_id": conversation["id"]})
    assert document is not None
    return document


async def send(person: Person, conversation: Json, *texts: str) -> list[Json]:
    """One after the other; the text is the client_id too."""
    place = {"conversation_id": conversation["id"]}
    return [(await person.call("chat:send", {**place, "client_id": text, "text": text}))["message"] for text in texts]


async def got(person: Person, conversation: Json) -> Json:
    found: Json = (await person.call("chat:get", {"conversation_id": conversation["id"]}))["conversation"]
    return found


async def test_a_lone_message_is_there_as_soon_as_it_is_acknowledged(server: Server, crowd: Crowd) -> None:
    ada, ben, conversation = await crowd.pair()
    tablet = await crowd.connect(ben.account)
    at_tablet = Heard(tablet, "chat:message")
    for number, text in enumerate(("one", "two", "three"), 1):
        (sent,) = await send(ada, conversation, text)
        for person, unread in ((ada, 0), (ben, number)):
            now = await got(person, conversation)
            assert (now["last_seq"], now["last_message"], now["unread"]) == (number, sent, unread)
            assert now["updated_at"] == sent["created_at"]
        await at_tablet.wait("chat:message", message=sent)
        listed = (await tablet.call("chat:list", {}))["items"][0]
        assert (listed["last_seq"], listed["last_message"], listed["unread"]) == (number, sent, number)
        opened = await ben.call("chat:join", {"conversation_id": conversation["id"], "since_seq": number - 1})
        assert opened["messages"] == [sent]
    assert (await stored(server, conversation))["last_seq"] == 0  # or nothing of this was put to the test


async def test_the_newest_activity_is_first_and_pages_are_whole(server: Server, crowd: Crowd) -> None:
    ada = await crowd.person("Ada")
    others = [await crowd.person(f"P{number}", ("/chat",)) for number in range(5)]
    conversations = [await direct(ada, other) for other in others]
    for number in (3, 0, 4):
        await send(others[number], conversations[number], f"by {number}")
    listed, cursor = [], None
    for _ in range(5):
        page = await ada.call("chat:list", {"limit": 1, **({"cursor": cursor} if cursor else {})})
        cursor = page["next_cursor"]
        listed += [(item["id"], item["last_seq"], item["unread"]) for item in page["items"]]
    assert cursor is None
    expected = [(conversations[number]["id"], *counts) for number, counts in ((4, (1, 1)), (0, (1, 1)), (3, (1, 1)))]
    assert listed == [*expected, (conversations[2]["id"], 0, 0), (conversations[1]["id"], 0, 0)]
    # Between two pages one that was last comes to the front: what is left is neither lost nor doubled.
    first = await ada.call("chat:list", {"limit": 2})
    await send(others[1], conversations[1], "by 1")
    rest = await ada.call("chat:list", {"limit": 5, "cursor": first["next_cursor"]})
    assert [item["id"] for item in rest["items"]] == [conversations[number]["id"] for number in (3, 2)]


async def test_a_sync_brings_exactly_what_is_new_or_touched(server: Server, crowd: Crowd) -> None:
    ada, ben, conversation = await crowd.pair()
    quiet = await group(ada, ben)
    sent = await send(ada, conversation, "one", "two", "three")
    cursors = {conversation["id"]: 1, quiet["id"]: 0}
    (entry,) = (await ben.call("chat:sync", {"cursors": cursors}))["conversations"]
    assert (entry["messages"], entry["has_more"]) == (sent[1:], False)
    assert (entry["conversation"]["last_seq"], entry["conversation"]["unread"]) == (3, 3)
    document = await stored(server, conversation)
    assert document["touched_at"] == document["created_at"]  # far behind, but a message has touched it since
    since = sent[-1]["created_at"]
    known = {conversation["id"]: 3, quiet["id"]: 0}
    touched = await ben.call("chat:sync", {"cursors": known, "changed_since": since})
    assert [entry["conversation"]["id"] for entry in touched["conversations"]] == [conversation["id"]]
    edited = (await ada.call("chat:edit", {"message_id": sent[1]["id"], "text": "two!"}))["message"]
    (entry,) = (await ben.call("chat:sync", {"cursors": known, "changed_since": since}))["conversations"]
    assert (entry["messages"], entry["changed"]) == ([], [edited])


async def test_marks_and_unread_counts_hold_beyond_the_stored_head_and_after_it_moved(
    server: Server, crowd: Crowd
) -> None:
    ada, ben, conversation = await crowd.pair()
    place = {"conversation_id": conversation["id"]}
    at_ada = Heard(ada, "chat:receipt")
    await send(ada, conversation, "a1", "a2")
    await send(ben, conversation, "b3")
    await send(ada, conversation, "a4")
    await send(ben, conversation, "b5")
    await send(ada, conversation, "a6")
    assert [(await got(person, conversation))["unread"] for person in (ada, ben)] == [2, 4]
    receipt = (await ben.call("chat:read", {**place, "seq": 4}))["receipt"]
    assert (receipt["read_seq"], receipt["unread"], receipt["last_seq"]) == (4, 1, 6)
    await at_ada.wait("chat:receipt", user_id=ben.account.id, read_seq=4)
    beyond = (await ada.call("chat:read", {**place, "seq": 99}))["receipt"]
    assert (beyond["read_seq"], beyond["unread"]) == (6, 0)
    await send(ben, conversation, "b7")
    assert [(await got(person, conversation))["unread"] for person in (ada, ben)] == [1, 1]
    await flush(server)
    document = await stored(server, conversation)
    assert document["last_seq"] == 7
    assert [document["members"][person.account.id]["sent"] for person in (ada, ben)] == [4, 3]
    await send(ada, conversation, "a8")
    assert [(await got(person, conversation))["unread"] for person in (ada, ben)] == [1, 2]
    assert (await ben.call("chat:read", {**place, "seq": 8}))["receipt"]["unread"] == 0


async def test_who_is_added_starts_at_the_true_end(server: Server, crowd: Crowd) -> None:
    ada, ben, cleo = [await crowd.person(name) for name in ("Ada", "Ben", "Cleo")]
    at_cleo = Heard(cleo, "chat:message", "chat:conversation")
    conversation = await group(ada, ben)
    place = {"conversation_id": conversation["id"]}
    await send(ada, conversation, "one", "two", "three")
    added = (await ada.call("chat:members", {**place, "add": [cleo.account.id]}))["conversation"]
    (joined,) = [one["joined_seq"] for one in added["participants"] if one["user_id"] == cleo.account.id]
    assert joined == 3
    (sent,) = await send(ben, conversation, "welcome")
    assert sent["seq"] == 5
    seen = await got(cleo, conversation)
    assert (seen["last_seq"], seen["unread"], seen["last_message"]) == (5, 2, sent)
    page = await cleo.call("chat:history", {**place, "after_seq": 0})
    assert [message["seq"] for message in page["messages"]] == [4, 5]
    await at_cleo.wait("chat:message", message=sent)
    told = [payload["message"]["seq"] for name, payload in at_cleo.all if name == "chat:message"]
    assert told == [4, 5]
    await ada.call("chat:members", {**place, "remove": [ben.account.id]})
    await flush(server)
    document = await stored(server, conversation)
    assert document["participant_ids"] == [ada.account.id, cleo.account.id]
    assert (document["last_seq"], document["members"][cleo.account.id]["sent"]) == (6, 0)
    assert document["members"][cleo.account.id].keys() == new_member("", "", 0).keys()


@pytest.mark.parametrize(
    ("what", "payload"),
    [("chat:edit", {"text": "changed"}), ("chat:delete", {}), ("chat:react", {"emoji": "👍", "on": True})],
)
async def test_a_change_of_the_last_message_is_not_undone_when_its_head_moves(
    server: Server, crowd: Crowd, what: str, payload: Json
) -> None:
    ada, ben, conversation = await crowd.pair()
    last = (await send(ada, conversation, "one", "two", "three"))[-1]
    changed = (await ada.call(what, {"message_id": last["id"], **payload}))["message"]
    assert changed["version"] == 2
    for _ in range(2):
        assert (await got(ben, conversation))["last_message"] == changed
        assert (await ben.call("chat:list", {}))["items"][0]["last_message"] == changed
        await flush(server)
    # And of one that is not the last: the last stays what it was.
    (after,) = await send(ben, conversation, "four")
    if what != "chat:delete":
        await ben.call("chat:react", {"message_id": changed["id"], "emoji": "✅", "on": True})
    for _ in range(2):
        assert (await got(ada, conversation))["last_message"] == after
        await flush(server)


async def test_a_stop_stores_every_head_and_the_next_start_has_them(settings: Settings, mongo_url: str) -> None:
    async with serving(settings, mongo_url) as (server, url):
        crowd = Crowd(url)
        ada = await crowd.person("Ada")
        others = [await crowd.person(f"P{number}", ("/chat",)) for number in range(4)]
        conversations = [await direct(ada, other) for other in others]
        for number, conversation in enumerate(conversations):
            await send(ada, conversation, *[f"c{number}-{seq}" for seq in range(number + 1)])
        before = sorted((await ada.call("chat:list", {}))["items"], key=lambda item: str(item["id"]))
        await crowd.close()
    async with serving(settings, mongo_url) as (server, url):
        for number, conversation in enumerate(conversations):
            document = await stored(server, conversation)
            assert document["last_seq"] == number + 1
            assert document["members"][ada.account.id]["sent"] == number + 1
        crowd = Crowd(url)
        again = await crowd.connect(ada.account)
        heard = Heard(again, "chat:head")
        assert sorted((await again.call("chat:list", {}))["items"], key=lambda item: str(item["id"])) == before
        await send(again, conversations[0], "after")
        assert heard.all == []  # nothing was left to find
        await crowd.close()


async def test_a_database_that_is_late_gets_fewer_heads_at_once(
    server: Server, crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    mover = server.domain.conversations._store.mover
    ada, ben, first = await crowd.pair()
    conversations = [first, *[await group(ada, ben) for _ in range(9)]]
    for number, conversation in enumerate(conversations):
        await send(ada, conversation, f"in {number}")
    move, asked = mover._stored.move, []

    async def late(moves: Sequence[tuple[str, int, Json]]) -> bool:
        asked.append(len(moves))
        if len(moves) > 5:
            raise TimeoutError
        return await move(moves)

    monkeypatch.setattr(moving, "FLUSH_MIN", 4)
    monkeypatch.setattr(mover._stored, "move", late)
    late_at_first = len(mover.heads.pending)
    while mover.heads.pending:
        with contextlib.suppress(TimeoutError):
            await flush(server)
    assert late_at_first == 10
    assert asked[:7] == [10] * 5 + [8, 4]  # half as many after each failure, from 256 on
    for conversation in conversations:
        assert (await stored(server, conversation))["last_seq"] == 1
