"""A second CONNECT on a namespace: the newer membership replaces the older, and every event comes once."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from bench.clients import Account
from contract.rooms import presence_room, typing_room, user_room
from tests.socket.protocol import Place, Polling, refusal
from tests.socket.test_protocol_upgrade import frame, probe, upgrade_url
from tests.support import PATIENCE_S, Crowd, Raw, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def raw(place: Place) -> AsyncIterator[Raw]:
    """Ada's connection, which keeps offsets, and is in /system and /chat."""
    async with Raw(f"{place.url}", "&recovery=1") as made:
        await made.connect("/system", place.ada.access_token)
        await made.connect("/chat", place.ada.access_token)
        yield made


def ids(answer: str | None, namespace: str = "/chat") -> dict[str, str]:
    """What a CONNECT is answered with."""
    assert answer is not None
    assert answer.startswith(f"40{namespace},"), answer
    found: dict[str, str] = json.loads(answer.removeprefix(f"40{namespace},"))
    return found


def connect(account: Account, namespace: str = "/chat", **auth: Any) -> str:
    return f"40{namespace}," + json.dumps({"token": account.access_token, **auth})


def members(place: Place, namespace: str, room: str) -> int:
    """Those that have gone and may return are in their rooms too, and not counted."""
    return sum(member.connected for member in place.server.sio.manager.in_rooms(namespace, [room]))


async def say(place: Place, name: str) -> str:
    payload = {"conversation_id": place.conversation, "client_id": name, "text": name}
    assert (await place.bystander.ask("/chat", "chat:send", payload))["ok"]
    return name


async def heard(raw: Raw, number: int) -> list[str]:
    """The texts of all messages that came before the answer to a command with this number."""
    await raw.send(f'42/chat,{number}["chat:list",{{}}]')
    texts = []
    while not (found := await raw.receive() or "closed").startswith(f"43/chat,{number}["):
        assert found.startswith("42/chat,"), found
        event = json.loads(found.removeprefix("42/chat,"))
        texts += [event[1]["message"]["text"]] if event[0] == "chat:message" else []
    assert '{"ok":true' in found
    return texts


@pytest.mark.parametrize("count", [2, 7])
async def test_each_is_answered_and_events_come_once(place: Place, raw: Raw, count: int) -> None:
    before = len(place.server.connections)
    for _ in range(count):
        await raw.send(connect(place.ada))
    sids = [ids(await raw.receive())["sid"] for _ in range(count)]
    assert len(set(sids)) == count
    assert members(place, "/chat", user_room(place.ada.id)) == 1
    assert len(place.server.connections) == before
    text = await say(place, f"row of {count}")
    assert await heard(raw, 3) == [text]
    assert (await raw.ask("/system", "notification:list", {}))["ok"]


async def test_a_disconnect_in_between(place: Place, raw: Raw) -> None:
    for packet in (connect(place.ada), "41/chat,", connect(place.ada), "41/chat,", connect(place.ada)):
        await raw.send(packet)
    for _ in range(3):
        ids(await raw.receive())
    text = await say(place, "in between")
    assert await heard(raw, 3) == [text]


async def test_what_the_older_looked_at_goes_with_it(place: Place, raw: Raw) -> None:
    await raw.connect("/typing", place.ada.access_token)
    assert (await raw.ask("/chat", "chat:join", {"conversation_id": place.conversation}))["ok"]
    assert members(place, "/typing", typing_room(place.conversation)) == 1
    ids(await raw.connect("/chat", place.ada.access_token))
    assert members(place, "/typing", typing_room(place.conversation)) == 0
    assert (await raw.ask("/chat", "chat:join", {"conversation_id": place.conversation}))["ok"]
    ids(await raw.connect("/typing", place.ada.access_token), "/typing")  # it follows what is looked at now
    assert members(place, "/typing", typing_room(place.conversation)) == 1
    await raw.connect("/presence", place.ada.access_token)
    assert (await raw.ask("/presence", "presence:subscribe", {"user_ids": [place.ben.id]}))["ok"]
    assert members(place, "/presence", presence_room(place.ben.id)) == 1
    ids(await raw.connect("/presence", place.ada.access_token), "/presence")
    assert members(place, "/presence", presence_room(place.ben.id)) == 0


async def test_the_recovery_id_of_the_older_goes_with_it(place: Place) -> None:
    async with Raw(place.url, "&recovery=1") as raw:
        old = ids(await raw.connect("/chat", place.ada.access_token))
        await raw.send(connect(place.ada, pid=old["pid"], offset="none"))
        new = ids(await raw.receive())
        assert not {old["sid"], old["pid"]} & {new["sid"], new["pid"]}
        text = await say(place, "by pid")
        assert await heard(raw, 3) == [text]
    async with Raw(place.url, "&recovery=1") as returned:
        await returned.send(connect(place.ada, pid=old["pid"], offset="none"))
        assert ids(await returned.receive())["pid"] != old["pid"]
    async with Raw(place.url, "&recovery=1") as returned:
        await returned.send(connect(place.ada, pid=new["pid"]))
        assert ids(await returned.receive()) == new


async def test_twice_after_a_loss(place: Place) -> None:
    """The first of the two is recovered, and the second begins anew: nothing comes twice."""
    async with Raw(place.url, "&recovery=1") as lost:
        old = ids(await lost.connect("/chat", place.ada.access_token))
    text = await say(place, "while away")
    async with Raw(place.url, "&recovery=1") as returned:
        for _ in range(2):
            await returned.send(connect(place.ada, pid=old["pid"]))
        assert ids(await returned.receive()) == old
        missed = await returned.receive() or "closed"
        assert f'"text":"{text}"' in missed
        assert ids(await returned.receive())["pid"] != old["pid"]
        again = await say(place, "back")
        assert await heard(returned, 3) == [again]


async def test_with_another_users_token(place: Place, raw: Raw) -> None:
    """Refused while other namespaces speak for Ada; these go on, and what is still sent to /chat is answered."""
    assert refusal(await raw.connect("/chat", place.ben.access_token), "/chat")["code"] == "forbidden"
    assert members(place, "/chat", user_room(place.ada.id)) == 0
    assert (await raw.ask("/chat", "chat:list", {}))["error"]["code"] == "unauthenticated"
    await raw.send('42/chat,["chat:list",{}]')  # wants no answer
    assert (await raw.ask("/system", "notification:list", {}))["ok"]
    ids(await raw.connect("/chat", place.ada.access_token))
    assert await heard(raw, 3) == []


@pytest.mark.parametrize(
    "packets",
    [
        ["41/chat,"],  # the official client's disconnect() after it was refused
        ['43/chat,1["x"]'],
        ['451-/chat,["chat:list",{"_placeholder":true,"num":0}]', b"x"],
        ['42/chat,["chat:list",{}]', "41/chat,"],
    ],
    ids=["a disconnect", "an acknowledgement", "a binary event", "an event and a disconnect"],
)  # fmt: skip
async def test_what_follows_a_refusal_ends_nothing_else(place: Place, raw: Raw, packets: list[str | bytes]) -> None:
    refusal(await raw.connect("/chat", "no token"), "/chat")
    for packet in packets:
        await raw.send(packet)
    assert (await raw.ask("/system", "notification:list", {}))["ok"]
    ids(await raw.connect("/chat", place.ada.access_token))
    assert await heard(raw, 3) == []


async def test_alone_with_another_users_token(place: Place) -> None:
    """The connection is theirs from there on."""
    async with Crowd(place.url).rest as rest:
        eve = await rest.register(f"eve.{place.conversation}@example.test", "correct horse battery", "Eve")
    async with Raw(place.url) as raw:
        await raw.connect("/chat", place.ada.access_token)
        await until(lambda: members(place, "/chat", user_room(place.ada.id)) == 1)
        ids(await raw.connect("/chat", eve.access_token))
        assert members(place, "/chat", user_room(place.ada.id)) == 0
        assert len(place.server.connections.of_user(eve.id)) == 1
        assert len(place.server.connections.of_user(place.ada.id)) == 0
        await say(place, "not for Eve")
        assert await heard(raw, 3) == []


@pytest.mark.parametrize("auth", [{}, {"token": "nonsense"}, {"token": ""}])
async def test_with_a_token_that_is_not_good(place: Place, raw: Raw, auth: dict[str, str]) -> None:
    await raw.send("40/chat," + json.dumps(auth))
    assert refusal(await raw.receive(), "/chat")["code"] in ("unauthenticated", "token_invalid")
    assert members(place, "/chat", user_room(place.ada.id)) == 0
    assert (await raw.ask("/system", "notification:list", {}))["ok"]


async def test_commands_before_it_are_answered(place: Place, raw: Raw) -> None:
    for number in range(1, 21):
        payload = {"conversation_id": place.conversation, "client_id": f"before-{number}", "text": "x"}
        await raw.send(f"42/chat,{number}" + json.dumps(["chat:send", payload]))
    await raw.send(connect(place.ada))
    for number in range(1, 21):
        assert (await raw.receive() or "closed").startswith(f'43/chat,{number}[{{"ok":true')
    ids(await raw.receive())


async def test_by_polling_in_one_post(place: Place, polling: Polling) -> None:
    assert await polling.post(connect(place.ada), connect(place.ada), "41/chat,", connect(place.ada)) == 200
    for _ in range(3):
        ids(await polling.receive())
    text = await say(place, "by poll")
    assert json.loads((await polling.receive()).removeprefix("42/chat,"))[1]["message"]["text"] == text
    assert (await polling.ask("/chat", "chat:list", {}))["ok"]
    assert members(place, "/chat", user_room(place.ada.id)) == 1


async def test_during_an_upgrade(place: Place, polling: Polling) -> None:
    async with polling.http.ws_connect(upgrade_url(polling)) as ws:
        await probe(ws)
        assert await polling.post(connect(place.ada)) == 200
        await ws.send_str("5")
        ids(await frame(ws, "40/chat,"))
        await ws.send_str(connect(place.ada))
        ids(await frame(ws, "40/chat,"))
        text = await say(place, "on the way up")
        assert f'"text":"{text}"' in await frame(ws, '42/chat,["chat:message"')
        await ws.send_str('42/chat,3["chat:list",{}]')
        assert (await ws.receive_str(timeout=PATIENCE_S)).startswith("43/chat,3")


async def test_an_id_to_return_by_that_is_made_up_is_nothing(place: Place) -> None:
    """Who knows the id of a connection does not know what it may return by, and ends nothing by trying."""
    async with Raw(place.url, "&recovery=1") as raw:
        given = ids(await raw.connect("/chat", place.ada.access_token))
        sid, _, proof = given["pid"].rpartition(":")
        assert sid == given["sid"]
        for pid in (sid, f"{sid}:", f"{sid}:{'A' * len(proof)}", f"{sid}:{proof[:-1]}", f":{proof}", f"x{sid}:{proof}"):
            async with Raw(place.url, "&recovery=1") as other:
                await other.send(connect(place.ada, pid=pid, offset="none"))
                anew = ids(await other.receive())
                assert anew["sid"] != sid
                assert anew["pid"] != given["pid"]
        assert (await raw.ask("/chat", "chat:list", {}))["ok"]


async def test_who_cannot_have_everything_gets_another_id_to_return_by(place: Place) -> None:
    """The official client takes its own id for a sign that it has missed nothing."""
    history = place.server.sio.recovery.history
    async with Raw(place.url, "&recovery=1") as lost:
        old = ids(await lost.connect("/chat", place.ada.access_token))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history, "_bytes_max", 0)
        await say(place, "what nobody remembers")
    async with Raw(place.url, "&recovery=1") as returned:
        await returned.send(connect(place.ada, pid=old["pid"]))
        new = ids(await returned.receive())
        assert new["pid"] != old["pid"]
    text = await say(place, "what is remembered")
    async with Raw(place.url, "&recovery=1") as returned:
        await returned.send(connect(place.ada, pid=new["pid"]))
        assert ids(await returned.receive()) == new
        assert f'"text":"{text}"' in (await returned.receive() or "closed")
    async with Raw(place.url, "&recovery=1") as kept, Raw(place.url, "&recovery=1") as other:
        await kept.send(connect(place.ada, pid=new["pid"]))
        assert ids(await kept.receive()) == new
        await other.send(connect(place.ada, pid=new["pid"]))  # while that one is believed to be there
        assert ids(await other.receive()) == new
        while await kept.receive() is not None:  # what it had missed, and then its end
            pass
