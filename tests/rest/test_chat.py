"""The REST mirrors of chat: the same actions as the socket commands, broadcast the same way."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.rest.client import Http, http
from tests.support import Crowd, Heard

CONVERSATIONS = "/api/v1/chat/conversations"


@pytest.fixture
async def call(url: str) -> AsyncIterator[Http]:
    async with http(url) as client:
        yield client


async def test_what_rest_does_sockets_hear(crowd: Crowd, call: Http) -> None:
    ada, ben, conversation = await crowd.pair()
    path = f"{CONVERSATIONS}/{conversation['id']}"
    heard = Heard(ben, "chat:message", "chat:message_updated", "chat:receipt", "chat:conversation")
    own = Heard(ada, "chat:message")
    token, others = ada.account.access_token, ben.account.access_token
    sent = await call("POST", f"{path}/messages", {"client_id": "m1", "text": "Forty?"}, token)
    assert sent.status == 201
    assert (await heard.wait("chat:message"))["message"] == sent.body
    assert (await own.wait("chat:message"))["message"] == sent.body, "no connection's acknowledgement carried it"
    message = f"/api/v1/chat/messages/{sent.body['id']}"
    edited = await call("PATCH", message, {"text": "Forty-one?"}, token)
    assert (await heard.wait("chat:message_updated"))["message"] == edited.body
    reacted = await call("POST", f"{message}/reactions", {"emoji": "👍", "on": True}, others)
    assert reacted.body["reactions"] == {"👍": [ben.account.id]}
    receipt = await call("POST", f"{path}/read", {"seq": 1}, others)
    assert receipt.body["read_seq"] == receipt.body["delivered_seq"] == 1
    deleted = await call("DELETE", message, token=token)
    assert deleted.body["deleted_at"]
    assert deleted.body["text"] == ""
    assert (await call("PATCH", path, {"muted": True}, token)).body["muted"] is True


async def test_idempotency_by_header(crowd: Crowd, call: Http) -> None:
    ada, _, conversation = await crowd.pair()
    path, token = f"{CONVERSATIONS}/{conversation['id']}/messages", ada.account.access_token
    key = {"Idempotency-Key": "k-1"}
    first = await call("POST", path, {"text": "Once"}, token, headers=key)
    again = await call("POST", path, {"text": "Once"}, token, headers=key)
    assert (first.status, again.status) == (201, 200)
    assert again.body == first.body
    assert again.headers["Idempotent-Replayed"] == "true"
    other = await call("POST", path, {"text": "Twice"}, token, headers=key)
    assert (other.status, other.code) == (409, "idempotency_mismatch")
    clash = await call("POST", path, {"text": "Once", "client_id": "k-2"}, token, headers=key)
    assert (clash.status, clash.code) == (422, "validation_failed")


async def test_history_pages_both_ways(crowd: Crowd, call: Http) -> None:
    ada, ben, conversation = await crowd.pair()
    for number in range(1, 8):
        await ada.call("chat:send", {"conversation_id": conversation["id"], "client_id": f"m{number}", "text": "x"})
    path, token = f"{CONVERSATIONS}/{conversation['id']}/messages", ben.account.access_token
    for start, expected in (("", [[5, 6, 7], [2, 3, 4], [1]]), ("&after_seq=0", [[1, 2, 3], [4, 5, 6], [7]])):
        query, pages = f"?limit=3{start}", []
        while True:
            page = (await call("GET", path + query, token=token)).body
            pages.append([message["seq"] for message in page["items"]])
            if page["next_cursor"] is None:
                break
            query = f"?limit=3&cursor={page['next_cursor']}"
        assert pages == expected


async def test_lists_page_and_filter(crowd: Crowd, call: Http) -> None:
    ada, ben, direct = await crowd.pair()
    token = ada.account.access_token
    for number in range(4):
        payload = {
            "type": "group",
            "participant_ids": [ben.account.id],
            "client_id": f"g{number}",
            "title": f"G{number}",
        }
        assert (await call("POST", CONVERSATIONS, payload, token)).status == 201
    first = (await call("GET", f"{CONVERSATIONS}?limit=3", token=token)).body
    assert [item["title"] for item in first["items"]] == ["G3", "G2", "G1"]
    rest = (await call("GET", f"{CONVERSATIONS}?limit=3&cursor={first['next_cursor']}", token=token)).body
    assert [item["title"] for item in rest["items"]] == ["G0", None]
    assert rest["next_cursor"] is None
    only = (await call("GET", f"{CONVERSATIONS}?type=direct", token=token)).body
    assert [item["id"] for item in only["items"]] == [direct["id"]]
    bad = await call("GET", f"{CONVERSATIONS}?cursor=nonsense", token=token)
    assert (bad.status, bad.code) == (422, "validation_failed")


async def test_notifications(crowd: Crowd, call: Http) -> None:
    ada, ben, conversation = await crowd.pair()
    heard = Heard(ben, "system:notification")
    mention = {"conversation_id": conversation["id"], "client_id": "m", "text": "@Ben", "mentions": [ben.account.id]}
    await ada.call("chat:send", mention)
    told = (await heard.wait("system:notification"))["notification"]
    assert told["kind"] == "mention"
    token = ben.account.access_token
    listed = (await call("GET", "/api/v1/notifications?unread=true", token=token)).body
    assert listed["items"] == [told]
    assert listed["unread"] == 1
    read = (await call("POST", "/api/v1/notifications/read", {"all": True}, token)).body
    assert read == {"ids": [told["id"]], "unread": 0}
    muted = await call("PATCH", "/api/v1/notifications/preferences", {"muted_kinds": ["mention"]}, token)
    assert muted.body == {"muted_kinds": ["mention"]}
    await ada.call("chat:send", {**mention, "client_id": "m2"})
    assert (await call("GET", "/api/v1/notifications", token=token)).body["items"][0]["id"] == told["id"]
