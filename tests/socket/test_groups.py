"""A group, as each of its members is told of it."""

from __future__ import annotations

from ops.metrics import EVENTS_PUBLISHED
from tests.support import Crowd, Heard, group


async def test_whoever_sees_the_same_of_a_group_is_told_at_once_and_others_see_their_own(crowd: Crowd) -> None:
    """Each event names all members: one for each of them would be a million names in a group of a thousand."""
    people = [await crowd.person(name, ("/chat",)) for name in ("Ada", "Ben", "Cleo", "Dora", "Eve", "Finn")]
    ada, ben, cleo, dora, eve, finn = people
    trade = {"conversation_id": (await group(ada, ben, cleo, dora, eve))["id"]}
    await ada.call("chat:send", {**trade, "client_id": "one", "text": "hello"})
    await ben.call("chat:read", {**trade, "seq": 1})
    await cleo.call("chat:update", {**trade, "muted": True})
    await ada.call("chat:members", {**trade, "add": [finn.account.id]})
    heard = {person: Heard(person, "chat:conversation") for person in people}
    published = EVENTS_PUBLISHED.labels("chat:conversation")._value
    before = published.get()
    await ada.call("chat:update", {**trade, "title": "Tea"})
    assert published.get() - before == 4  # Ada; Ben and Finn; Cleo; Dora and Eve
    for person, unread in ((ben, 2), (cleo, 3), (dora, 3), (eve, 3), (finn, 2)):
        seen = (await person.call("chat:get", trade))["conversation"]
        assert (seen["title"], seen["unread"], seen["muted"]) == ("Tea", unread, person is cleo)
        await heard[person].wait("chat:conversation", conversation=seen)
        assert len(heard[person].all) == 1
    assert heard[ada].all == []
