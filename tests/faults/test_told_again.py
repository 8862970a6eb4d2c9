"""A change that was stored and not told of: whoever repeats it makes it known, and who syncs gets it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from bench.clients import CommandError, Person
from contract.types import format_time
from models.context import now
from models.conversations.actions import Conversations
from models.messages.membership import Membership
from models.notifications.actions import Notifications
from realtime.publisher import Publisher
from server import Server
from tests.support import Crowd, Heard, group, until

Json = dict[str, Any]
CHANGES: dict[str, Json] = {
    "chat:edit": {"text": "goodbye"},
    "chat:delete": {},
    "chat:react": {"emoji": "👍", "on": True},
}


async def settle(server: Server) -> None:
    """The heads of conversations are stored."""
    while server.domain.conversations._store.mover.heads.pending:
        await server.domain.conversations._store.mover.flush()


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> Iterator[None]:
    """It is not done, as when the database or this process fails right there."""

    async def fail(*_: Any, **__: Any) -> None:
        raise TimeoutError

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, fail)
        yield


@pytest.mark.parametrize("command", CHANGES)
@pytest.mark.parametrize("owner_name", [(Publisher, "publish"), (Conversations, "changed_message")])
async def test_a_repeated_change_of_a_message_is_told(
    crowd: Crowd, server: Server, monkeypatch: pytest.MonkeyPatch, command: str, owner_name: tuple[type, str]
) -> None:
    ada, ben, conversation = await crowd.pair()
    payload = {"conversation_id": conversation["id"], "client_id": "one", "text": "hello"}
    message = (await ada.call("chat:send", payload))["message"]
    database = server.database.collection("conversations")
    past = now() - timedelta(hours=1)
    await settle(server)
    await database.update_one(
        {"_id": conversation["id"]}, {"$set": {"touched_at": past, "changed_at": past, "updated_at": past}}
    )
    since = format_time(now() - timedelta(minutes=1))
    heard, change = Heard(ben, "chat:message_updated"), {"message_id": message["id"], **CHANGES[command]}
    with failing(monkeypatch, *owner_name), pytest.raises(CommandError):
        await ada._attempt(command, change, "/chat")
    # What could not follow is not known to the conversation, but everyone was told of the message.
    assert [name for name, _ in heard.all] == ([] if owner_name[0] is Publisher else ["chat:message_updated"])
    stored = await database.find_one({"_id": conversation["id"]})
    assert stored is not None
    assert stored["edited_at"] > past  # for those who look for what a process that has died did not tell
    # Who comes back meanwhile misses nothing.
    page = await ben.call("chat:sync", {"cursors": {conversation["id"]: 1}, "changed_since": since})
    assert [changed["version"] for entry in page["conversations"] for changed in entry["changed"]] == [2]
    changed = (await ada.call(command, change))["message"]
    assert changed["version"] == 2
    assert (await heard.wait("chat:message_updated"))["message"] == changed
    again = {"message_id": message["id"], **CHANGES[command], **({"version": 1} if command == "chat:edit" else {})}
    assert (await ada.call(command, again))["message"] == changed
    assert (await ben.call("chat:get", {"conversation_id": conversation["id"]}))["conversation"][
        "last_message"
    ] == changed


async def test_a_change_that_changes_nothing_of_an_unchanged_message_is_not_told(crowd: Crowd) -> None:
    ada, ben, conversation = await crowd.pair()
    payload = {"conversation_id": conversation["id"], "client_id": "one", "text": "hello"}
    message = (await ada.call("chat:send", payload))["message"]
    heard = Heard(ben, "chat:message_updated")
    assert (await ada.call("chat:edit", {"message_id": message["id"], "text": "hello"}))["message"] == message
    await ada.call("chat:react", {"message_id": message["id"], "emoji": "👍", "on": True})
    assert (await heard.wait("chat:message_updated"))["message"]["version"] == 2
    assert len(heard.all) == 1


def mention(conversation: Json, person: Person) -> Json:
    return {
        "conversation_id": conversation["id"], "client_id": "one", "text": "hello @Ben", "mentions": [person.account.id]
    }  # fmt: skip


async def test_a_repeated_mention_is_notified_once(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    monkeypatch.setattr(server.domain.conversations._store.mover, "before", None)  # who moves heads would do it too
    ada, ben, conversation = await crowd.pair()
    heard, payload = Heard(ben, "system:notification"), mention(conversation, ben)
    with failing(monkeypatch, Notifications, "mentioned"):
        sent = await ada.call("chat:send", payload)  # the acknowledgement is on its way by then
        assert await unread(ben) == []
    for _ in range(3):
        assert (await ada.call("chat:send", payload))["message"] == sent["message"]
    told = (await heard.wait("system:notification"))["notification"]
    assert await unread(ben) == [told]
    assert len(heard.all) == 1


async def test_a_mention_is_notified_though_the_first_attempt_failed(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    ada, ben, conversation = await crowd.pair()
    heard = Heard(ben, "system:notification")
    with failing(monkeypatch, Notifications, "mentioned"):
        await ada.call("chat:send", mention(conversation, ben))
        with pytest.raises(TimeoutError):  # nor does the head move
            await settle(server)
        assert await unread(ben) == []
    await settle(server)
    told = (await heard.wait("system:notification"))["notification"]
    assert (told["title"], told["body"], told["data"]["seq"]) == ("Ada mentioned you", "hello @Ben", 1)
    assert await unread(ben) == [told]
    assert len(heard.all) == 1


async def test_nobody_is_notified_of_a_message_that_was_deleted_meanwhile(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    ada, ben, conversation = await crowd.pair()
    with failing(monkeypatch, Notifications, "mentioned"):
        message = (await ada.call("chat:send", mention(conversation, ben)))["message"]
        with failing(monkeypatch, Conversations, "changed_message"), pytest.raises(CommandError):
            await ada._attempt("chat:delete", {"message_id": message["id"]}, "/chat")
    await settle(server)  # who moves the head has the message as it was sent
    assert await unread(ben) == []


async def test_a_repeated_group_is_told_and_notified_once(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    ada, ben = await crowd.person("Ada"), await crowd.person("Ben")
    heard = Heard(ben, "chat:conversation", "system:notification")
    payload = {"type": "group", "participant_ids": [ben.account.id], "title": "Coffee", "client_id": "coffee"}
    with failing(monkeypatch, Conversations, "announce"), pytest.raises(CommandError):
        await ada._attempt("chat:create", payload, "/chat")
    assert heard.all == []
    made = await ada.call("chat:create", payload)
    assert made["duplicate"] is True
    told = await heard.wait("chat:conversation")
    assert told["conversation"]["id"] == made["conversation"]["id"]
    await heard.wait("system:notification")
    await ada.call("chat:create", payload)
    assert len(await unread(ben)) == 1
    # Whoever has left it is not shown it again.
    await ada.call("chat:members", {"conversation_id": made["conversation"]["id"], "remove": [ada.account.id]})
    with pytest.raises(CommandError, match="not_a_participant"):
        await ada.call("chat:create", payload)


async def unread(person: Person) -> list[Json]:
    items: list[Json] = (await person.call("notification:list", {"unread": True}))["items"]
    return items


@pytest.mark.parametrize("change", ["add", "remove"])
async def test_a_repeated_change_of_members_is_told(
    crowd: Crowd, server: Server, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    ada, ben, cleo = [await crowd.person(name, ("/chat",)) for name in ("Ada", "Ben", "Cleo")]
    others = (ben,) if change == "add" else (ben, cleo)
    conversation = await group(ada, *others)
    heard = Heard(ben, "chat:conversation")
    payload = {"conversation_id": conversation["id"], change: [cleo.account.id]}
    with failing(monkeypatch, Conversations, "changed"), pytest.raises(CommandError):
        await ada._attempt("chat:members", payload, "/chat")
    assert heard.all == []
    await ada.call("chat:members", payload)
    told = (await heard.wait("chat:conversation"))["conversation"]
    assert {person["user_id"] for person in told["participants"]} == {
        person.account.id for person in ((ada, ben, cleo) if change == "add" else (ada, ben))
    }


async def test_whoever_was_removed_is_cut_off_from_it_by_the_repeat(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, ben, cleo = [await crowd.person(name) for name in ("Ada", "Ben", "Cleo")]
    conversation = await group(ada, ben, cleo)
    place = {"conversation_id": conversation["id"]}
    for person in (ada, cleo):
        await person.call("chat:join", place)
    heard = Heard(cleo, "typing:start")
    removal = {**place, "remove": [cleo.account.id]}
    with failing(monkeypatch, Membership, "_tell_left"), pytest.raises(CommandError):
        await ada._attempt("chat:members", removal, "/chat")
    await ada.call("chat:members", removal)
    await ada.call("typing:start", place)
    await ada.call("chat:send", {**place, "client_id": "end", "text": "she has gone"})
    await cleo.call("chat:list", {})  # whatever was said to her before is here
    assert heard.all == []


async def test_nobody_who_has_left_is_told_what_is_said(crowd: Crowd, server: Server) -> None:
    ada, ben, cleo = [await crowd.person(name) for name in ("Ada", "Ben", "Cleo")]
    conversation = await group(ada, ben, cleo)
    place = {"conversation_id": conversation["id"]}
    before = {**place, "client_id": "before", "text": "between us", "mentions": [cleo.account.id]}
    heard = Heard(cleo, "system:notification")
    with failing(pytest.MonkeyPatch(), Notifications, "mentioned"):
        await ada.call("chat:send", before)
        await cleo.call("chat:members", {**place, "remove": [cleo.account.id]})
    await settle(server)  # which leaves a stub of her, since she said that she left
    server.domain.conversations._store._cache.clear()
    with pytest.raises(CommandError, match="not in this conversation"):
        await ada.call("chat:send", {**before, "client_id": "after"})
    assert (await ada.call("chat:send", before))["duplicate"] is True  # it was answered so, or should have been
    # She comes back, and sees nothing from before: neither may a repeat tell her of it.
    await ada.call("chat:members", {**place, "add": [cleo.account.id]})
    await ada.call("chat:send", before)
    await ada.call("chat:send", {**before, "client_id": "back again", "text": "welcome back"})

    def bodies() -> set[str]:
        return {payload["notification"]["body"] for _, payload in heard.all}

    await until(lambda: "welcome back" in bodies())
    assert bodies() == {"", "welcome back"}  # and that she was added
