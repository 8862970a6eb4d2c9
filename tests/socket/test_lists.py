"""Lists of conversations: in order whatever was written where, and read no further back than a page needs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from bench.clients import Person
from contract import chat
from models.context import now
from models.conversations import lists
from models.conversations.listing import Listing
from models.messages import reading
from models.messages.store import MessageStore
from server import Server
from tests.support import Crowd, group

Json = dict[str, Any]


async def listed(person: Person, **options: Any) -> list[str]:
    """Over all pages."""
    ids: list[str] = []
    cursor = None
    while True:
        page = await person.call("chat:list", {"cursor": cursor, **options})
        ids += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            return ids


async def made_long_ago(server: Server, ada: Person, ben: Person, *ages: timedelta) -> list[str]:
    """Groups that were active so long ago; of one moment where the ages are the same."""
    conversations, at = server.database.collection("conversations"), now()
    ids = []
    for age in ages:
        identifier = (await group(ada, ben))["id"]
        await conversations.update_one({"_id": identifier}, {"$set": {"updated_at": at - age}})
        ids.append(identifier)
    return ids


@pytest.mark.parametrize("limit", [1, 3, 200])
async def test_pages_go_back_in_time_over_years_and_within_a_moment(server: Server, crowd: Crowd, limit: int) -> None:
    ada, ben = await crowd.person("Ada"), await crowd.person("Ben")
    hours = (0, 0, 0.5, 1, 1, 1, 23, 25, 24 * 20, 24 * 31, 24 * 31, 24 * 400, 24 * 4_000)
    ids = await made_long_ago(server, ada, ben, *[timedelta(hours=each) for each in hours])
    activity = {identifier: -each for identifier, each in zip(ids, hours, strict=True)}
    in_order = sorted(ids, key=lambda identifier: (activity[identifier], identifier), reverse=True)
    assert await listed(ben, limit=limit) == in_order
    await ben.call("chat:update", {"conversation_id": ids[-1], "archived": True})
    await ben.call("chat:update", {"conversation_id": ids[0], "archived": True})
    assert await listed(ben, limit=limit, archived=True) == [ids[0], ids[-1]]
    assert await listed(ben, limit=limit, archived=False) == [one for one in in_order if one not in (ids[0], ids[-1])]
    assert await listed(ben, limit=limit, type="direct") == []


async def test_what_was_said_and_is_not_stored_with_its_conversation_yet_counts(
    server: Server, crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, ben = await crowd.person("Ada"), await crowd.person("Ben")
    ids = await made_long_ago(server, ada, ben, *[timedelta(days=each) for each in (0, 1, 40, 400)])

    async def never() -> None:
        pass

    mover = server.domain.conversations._store.mover
    monkeypatch.setattr(mover, "flush", never)
    await ada.call("chat:send", {"conversation_id": ids[3], "client_id": "1", "text": "Still there?"})
    for limit in (1, 2, 50):
        assert await listed(ben, limit=limit) == [ids[3], *ids[:3]]
    (first,) = (await ben.call("chat:list", {"limit": 1}))["items"]
    assert (first["last_message"]["text"], first["unread"]) == ("Still there?", 1)


async def test_a_short_page_reads_little(server: Server, crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    ada, ben = await crowd.person("Ada"), await crowd.person("Ben")
    ages = [timedelta(days=each) for each in (0, 0, 0, *range(2, 30))]
    ids = await made_long_ago(server, ada, ben, *ages)
    read: list[Json] = []
    find = Listing._find

    async def seen(listing: Listing, query: Json, fields: Json) -> list[Json]:
        found = await find(listing, query, fields)
        read.extend(found)
        return found

    monkeypatch.setattr(Listing, "_find", seen)
    (first,) = (await ben.call("chat:list", {"limit": 1}))["items"]
    assert first["id"] in ids[:3]
    assert len(read) == 3
    assert all(list(outline["members"]) == [ben.account.id] for outline in read), "of a thousand people, none"


async def test_a_page_of_large_groups_is_shorter(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "PAGE_PEOPLE_MAX", 4)
    monkeypatch.setattr(lists, "READ_AT_ONCE", 1)
    ada, ben = await crowd.person("Ada"), await crowd.person("Ben")
    ids = [(await group(ada, ben))["id"] for _ in range(7)]
    page = await ben.call("chat:list", {"limit": 50})
    assert [item["id"] for item in page["items"]] == ids[:-4:-1]
    assert await listed(ben) == ids[::-1]


async def test_what_is_wanted_seldom_is_looked_for_over_several_pages(
    server: Server, crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "LOOKED_MAX", 3)
    ada, ben = await crowd.person("Ada"), await crowd.person("Ben")
    ids = await made_long_ago(server, ada, ben, *[timedelta(hours=4**each) for each in range(7)])
    await ben.call("chat:update", {"conversation_id": ids[-1], "archived": True})
    page = await ben.call("chat:list", {"archived": True})
    assert page["items"] == []
    assert page["next_cursor"] is not None
    assert await listed(ben, archived=True) == [ids[-1]]


async def test_a_sync_of_much_that_was_touched_reads_some_at_a_time(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, ben = await crowd.person("Ada"), await crowd.person("Ben")
    made = [await group(ada, ben) for _ in range(12)]
    said: list[Json] = []
    for one in made:
        sent = await ada.call("chat:send", {"conversation_id": one["id"], "client_id": one["id"], "text": "One"})
        said.append(sent["message"])
    await ada.call("chat:edit", {"message_id": said[0]["id"], "text": "Two"})
    asked: dict[str, list[int]] = {"whole": [], "changed": []}
    whole, changed_since = Listing.whole, MessageStore.changed_since

    async def counted(listing: Listing, user_id: str, ids: list[str]) -> Any:
        asked["whole"].append(len(ids))
        return await whole(listing, user_id, ids)

    async def counted_changed(store: MessageStore, *arguments: Any) -> Any:
        asked["changed"].append(1)
        return await changed_since(store, *arguments)

    monkeypatch.setattr(Listing, "whole", counted)
    monkeypatch.setattr(MessageStore, "changed_since", counted_changed)
    monkeypatch.setattr(reading, "SYNC_CONVERSATIONS_PER_CALL", 3)
    since = "2026-01-01T00:00:00.000Z"
    known = {one["id"]: 1 for one in made}
    page = await ben.call("chat:sync", {"cursors": known, "changed_since": since})
    assert asked == {"whole": [10, 2], "changed": [1]}
    assert (len(page["conversations"]), page["more"]) == (12, False)
    (edited,) = [entry["changed"] for entry in page["conversations"] if entry["changed"]]
    assert [message["text"] for message in edited] == ["Two"]
    # News are bounded beside it.
    page = await ben.call("chat:sync", {"cursors": {}, "changed_since": since})
    assert (len(page["conversations"]), page["more"]) == (12, True)
    assert sum(bool(entry["messages"]) for entry in page["conversations"]) == 3
    page = await ben.call("chat:sync", {"cursors": {}})
    assert (len(page["conversations"]), page["more"]) == (3, True)
