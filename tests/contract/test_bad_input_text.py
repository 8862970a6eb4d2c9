"""Human text at every door: what shows nothing, or hides something, is refused; the rest is kept in one form."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from contract.catalogue import COMMANDS, ENDPOINTS
from tests.contract.bad_input import COMMAND_NAMES, EXAMPLES, where
from tests.contract.human import BLANK, NOT_A_LINE, NOT_A_TEXT, human, name_of, put
from tests.contract.rest_input import example, send, those
from tests.contract.stage import Stage, settings_for_tests, staged
from tests.rest.client import Http, http
from tests.support import Crowd

pytestmark = pytest.mark.asyncio(loop_scope="module")
WRITTEN = [name for name in COMMAND_NAMES if human(COMMANDS[name].payload)]
BAD = {
    "line": [*BLANK, *NOT_A_LINE], "line?": NOT_A_LINE, "text": [*BLANK, *NOT_A_TEXT], "text?": NOT_A_TEXT,
    "emoji": [*BLANK, "👍\u202e", "👍\u200b"], "address": ["ada\u200b@example.test", "\u202eada@example.test"],
}  # fmt: skip
Json = dict[str, Any]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(mongo_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with staged(settings_for_tests(tmp_path_factory.mktemp("stage")), mongo_url) as set_up:
        yield set_up


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def call(stage: Stage) -> AsyncIterator[Http]:
    async with http(stage.url) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crowd(stage: Stage) -> AsyncIterator[Crowd]:
    people = Crowd(stage.url)
    yield people
    await people.close()


def blamed(error: Json | None) -> str | None:
    """The field that a refusal names."""
    return error["details"][0]["field"] if error and error["code"] == "validation_failed" else None


@pytest.mark.parametrize("name", WRITTEN)
async def test_a_command(stage: Stage, name: str) -> None:
    faults = []
    for path, kind in human(COMMANDS[name].payload):
        for value in BAD[kind]:
            payload = put(EXAMPLES[name](stage), path, value)
            answer = await stage.ada.ask(where(COMMANDS[name]), name, payload)
            if blamed(answer.get("error")) != name_of(path):
                faults.append(f"{name_of(path)} = {value!a}: {answer}")
    assert not faults, "\n".join(faults)


@those(lambda endpoint: bool(human(endpoint.payload)))
async def test_an_endpoint(stage: Stage, call: Http, key: tuple[str, str]) -> None:
    endpoint = ENDPOINTS[key]
    faults = []
    for path, kind in human(endpoint.payload):
        for value in BAD[kind]:
            fields = put({"device": {}, **example(endpoint, stage)} if path[0] == "device" else
                         example(endpoint, stage), path, value)  # fmt: skip
            answer = await send(call, endpoint, stage, fields)
            if blamed(answer.body.get("error")) != name_of(path):
                faults.append(f"{name_of(path)} = {value!a}: {answer.status} {answer.body}")
    assert not faults, "\n".join(faults)


async def test_a_message_of_nothing_visible(stage: Stage) -> None:
    """Its text may be left out for what comes with it, but then something must."""
    for text in (*BLANK, "", None):
        answer = await stage.ada.ask(
            "/chat", "chat:send", {"conversation_id": stage.group, "client_id": "b", "text": text}
        )
        assert blamed(answer.get("error")) == "text", ascii(text)


async def test_what_is_stored_is_the_normal_form_and_a_repeat_finds_it(crowd: Crowd) -> None:
    ada, ben = await crowd.person("Ada"), await crowd.person("Ben")
    title = {
        "type": "group",
        "participant_ids": [ben.account.id],
        "client_id": "g",
        "title": " Cafe\u0301 \u00a0 Talk ",
    }
    made = (await ada.call("chat:create", title))["conversation"]
    assert made["title"] == "Café Talk"
    again = await ada.call("chat:create", {**title, "title": "Café Talk"})
    assert (again["conversation"]["id"], again["duplicate"]) == (made["id"], True)
    message = {"conversation_id": made["id"], "client_id": "m", "text": "Cafe\u0301?\r\n\u202eYes"}
    sent = await ada.call("chat:send", message)
    assert sent["message"]["text"] == "Café?\nYes"
    repeated = await ada.call("chat:send", {**message, "text": "Café?\nYes"})
    assert (repeated["message"]["id"], repeated["duplicate"]) == (sent["message"]["id"], True)
    edit = {"message_id": sent["message"]["id"], "text": "Cafe\u0301?\rYes"}
    edited = (await ada.call("chat:edit", edit))["message"]
    assert edited == sent["message"]  # nothing was changed
    shown = (await ada.call("presence:set", {"status": "away", "text": "  at\u00a0 lunch "}))["presence"]
    assert shown["text"] == "at lunch"
    nothing = (await ada.call("presence:set", {"status": "away", "text": "\u200b"}))["presence"]
    assert nothing["text"] == ""


async def test_a_person_cannot_be_made_to_look_like_another(crowd: Crowd, call: Http) -> None:
    fields = {"password": "correct horse battery staple", "device": {"name": "  Ada\u2019s   phone "}}
    for name in ("Ada\u202e", "A\u200dda", "Ad\u034fa", "Ada\u3164"):
        address = f"{secrets.token_hex(6)}@example.test"
        answer = await call("POST", "/api/v1/auth/register", {**fields, "email": address, "name": name})
        assert blamed(answer.body.get("error")) == "name"
    named = {**fields, "email": f"{secrets.token_hex(6)}@example.test", "name": "  Ada \t Lovelace "}
    made = await call("POST", "/api/v1/auth/register", named)
    assert made.body["user"]["name"] == "Ada Lovelace"
    token = made.body["tokens"]["access_token"]
    sessions = (await call("GET", "/api/v1/auth/sessions", token=token)).body["items"]
    assert sessions[0]["device"]["name"] == "Ada’s phone"
    for change in ({"name": "\u3164"}, {"business": "B\u200eeans"}):
        refused = await call("PATCH", "/api/v1/auth/me", change, token)
        assert blamed(refused.body.get("error")) == next(iter(change))


async def test_an_item_is_found_by_its_sku_however_it_was_typed(crowd: Crowd) -> None:
    ada = await crowd.person("Ada")
    for sku in ("Cafe\u0301 1", " Café   1 "):
        rule = {"currency": "USD", "accept_at": 100, "title": "Coffee", "quantity_max": 1, "sku": sku}
        assert (await ada.call("offer:set_rule", rule))["rule"]["sku"] == "Café 1"
    assert len((await ada.call("offer:rules", {}))["items"]) == 1
