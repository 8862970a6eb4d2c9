"""Well-formed commands that may not be done: strangers, other people's messages, things that do not exist."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from contract.catalogue import COMMANDS
from contract.registry import NAMESPACES
from models.paging import encode_cursor
from tests.contract.bad_input import EXAMPLES, check_error, where
from tests.contract.stage import Stage, settings_for_tests, staged
from tests.support import Raw

pytestmark = pytest.mark.asyncio(loop_scope="module")
Payload = Callable[[Stage], dict[str, Any]]
NOWHERE = "c_000000000000000000000000"
NOBODY = "u_000000000000000000000000"
OF_CONVERSATION = (
    "chat:get", "chat:join", "chat:send", "chat:delivered", "chat:read", "chat:history", "chat:search", "chat:members",
    "chat:update", "typing:start", "typing:stop",
)  # fmt: skip
OF_MESSAGE = ("chat:edit", "chat:delete", "chat:react")


def changed(name: str, **fields: Any) -> Payload:
    """The command's example with other fields; a callable is asked of the stage; client_id is always new."""

    def payload(stage: Stage) -> dict[str, Any]:
        given = {key: value(stage) if callable(value) else value for key, value in fields.items()}
        example = EXAMPLES[name](stage)
        if "client_id" in example:
            example["client_id"] = secrets.token_hex(8)
        return {key: value for key, value in (example | given).items() if value is not ...}

    return payload


Row = tuple[str, str, str, Payload]
ROWS: list[Row] = [
    *((name, "not_a_participant", "of strangers", changed(name, conversation_id=lambda s: s.foreign))
      for name in OF_CONVERSATION),
    *((name, "not_found", "unknown", changed(name, conversation_id=NOWHERE)) for name in OF_CONVERSATION),
    *((name, "not_a_participant", "of strangers", changed(name, message_id=lambda s: s.foreign_message))
      for name in OF_MESSAGE),
    *((name, "not_found", "unknown", changed(name, message_id=lambda s: f"{s.group}.99999")) for name in OF_MESSAGE),
    *((name, "not_found", "seq 0", changed(name, message_id=lambda s: f"{s.group}.0")) for name in OF_MESSAGE),
    *((name, "not_found", "seq 01", changed(name, message_id=lambda s: f"{s.group}.01")) for name in OF_MESSAGE),
    *((name, "not_found", "no message id", changed(name, message_id="what")) for name in OF_MESSAGE),
    *((name, "not_found", "nowhere", changed(name, message_id=f"{NOWHERE}.1")) for name in OF_MESSAGE),
    ("chat:edit", "forbidden", "of another", changed("chat:edit", message_id=lambda s: s.bens)),
    ("chat:delete", "forbidden", "of another", changed("chat:delete", message_id=lambda s: s.bens)),
    ("chat:edit", "message_deleted", "deleted", changed("chat:edit", message_id=lambda s: s.deleted)),
    ("chat:react", "message_deleted", "deleted", changed("chat:react", message_id=lambda s: s.deleted)),
    ("chat:edit", "message_version_stale", "stale", changed("chat:edit", version=99)),
    ("chat:edit", "validation_failed", "blank", changed("chat:edit", text=" \n")),
    ("chat:create", "not_found", "nobody", changed("chat:create", participant_ids=[NOBODY])),
    ("chat:create", "validation_failed", "oneself", changed("chat:create", participant_ids=lambda s: [s.ada_id])),
    ("chat:create", "validation_failed", "three in direct",
     changed("chat:create", type="direct", title=..., participant_ids=lambda s: [s.ben_id, NOBODY])),
    ("chat:create", "validation_failed", "titled direct", changed("chat:create", type="direct")),
    ("chat:create", "idempotency_mismatch", "other payload", changed("chat:create", client_id="example", title="Nut")),
    ("chat:send", "idempotency_mismatch", "other payload", changed("chat:send", client_id="example", text="Other")),
    ("chat:send", "validation_failed", "nothing said", changed("chat:send", text=...)),
    ("chat:send", "validation_failed", "blank", changed("chat:send", text=" \t ")),
    ("chat:send", "validation_failed", "no upload", changed("chat:send", attachments=["up_1"])),
    ("chat:send", "validation_failed", "mentions a stranger", changed("chat:send", mentions=[NOBODY])),
    ("chat:send", "validation_failed", "reply to nothing", changed("chat:send", reply_to="m_1")),
    ("chat:send", "validation_failed", "reply elsewhere", changed("chat:send", reply_to=lambda s: s.foreign_message)),
    ("chat:history", "validation_failed", "both bounds", changed("chat:history", before_seq=3)),
    ("chat:search", "validation_failed", "no words", changed("chat:search", query="!?")),
    ("chat:search", "validation_failed", "many words", changed("chat:search", query="a b c d e f g h i j k")),
    ("chat:members", "forbidden", "direct", changed("chat:members", conversation_id=lambda s: s.direct)),
    ("chat:members", "not_found", "nobody", changed("chat:members", add=[NOBODY])),
    ("chat:members", "validation_failed", "in and out", changed("chat:members", remove=lambda s: [s.ben_id])),
    ("chat:update", "validation_failed", "titled direct", changed("chat:update", conversation_id=lambda s: s.direct)),
    ("chat:update", "validation_failed", "pin elsewhere",
     changed("chat:update", pinned_message_ids=lambda s: [s.foreign_message])),
    ("notification:read", "validation_failed", "neither", changed("notification:read", ids=...)),
    ("notification:read", "validation_failed", "both", changed("notification:read", all=True)),
    ("auth:refresh", "token_invalid", "garbage", changed("auth:refresh", token="a.b.c")),
    ("auth:refresh", "forbidden", "of another", changed("auth:refresh", token=lambda s: s.ben_token)),
]  # fmt: skip
CURSORS = (
    "nonsense", "====", "é", encode_cursor(7), encode_cursor(["x", "y"]), encode_cursor([-1, ""]),
    encode_cursor([1, 2, 3]), encode_cursor({"a": 1}), encode_cursor(["0001-01-01T00:00:00+01:00", "c"]),
)  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(mongo_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with staged(settings_for_tests(tmp_path_factory.mktemp("stage")), mongo_url) as set_up:
        for name in ("chat:create", "chat:send"):  # the client_id that two rows use again
            assert (await set_up.ada.ask("/chat", name, EXAMPLES[name](set_up)))["ok"]
        yield set_up


@pytest.mark.parametrize(("name", "code", "what", "payload"), ROWS, ids=[f"{r[0]}-{r[2]}" for r in ROWS])
async def test_it_is_refused_and_closes_nothing(
    stage: Stage, name: str, code: str, what: str, payload: Payload
) -> None:
    command = COMMANDS[name]
    answer = await stage.ada.ask(where(command), name, payload(stage))
    assert answer["ok"] is False, f"accepted: {what}"
    check_error(answer["error"], command.all_errors, code)
    assert (await stage.ada.ask("/chat", "chat:get", {"conversation_id": stage.group}))["ok"]


@pytest.mark.parametrize("cursor", CURSORS)
@pytest.mark.parametrize("name", ["chat:list", "chat:search", "notification:list"])
async def test_a_cursor_the_list_did_not_give(stage: Stage, name: str, cursor: str) -> None:
    command = COMMANDS[name]
    answer = await stage.ada.ask(where(command), name, EXAMPLES[name](stage) | {"cursor": cursor})
    assert answer["ok"] is False
    check_error(answer["error"], command.all_errors, "validation_failed")
    assert answer["error"]["details"][0]["field"] == "cursor"


async def test_a_stale_edit_brings_the_current_message(stage: Stage) -> None:
    answer = await stage.ada.ask("/chat", "chat:edit", {"message_id": stage.own, "text": "x", "version": 99})
    assert answer["error"]["details"]["message"]["id"] == stage.own
    assert answer["error"]["details"]["message"]["version"] >= 1


async def test_a_member_may_not_remove_the_owner(stage: Stage) -> None:
    async with Raw(stage.url) as ben:
        await ben.connect("/chat", stage.ben_token)
        answer = await ben.ask("/chat", "chat:members", {"conversation_id": stage.group, "remove": [stage.ada_id]})
    check_error(answer["error"], COMMANDS["chat:members"].all_errors, "forbidden")


async def test_a_refusal_changes_nothing(stage: Stage) -> None:
    before = await stage.ada.ask("/chat", "chat:join", {"conversation_id": stage.group})
    for name, code, _, payload in ROWS:
        if code in ("forbidden", "not_a_participant"):
            await stage.ada.ask(where(COMMANDS[name]), name, payload(stage))
    after = await stage.ada.ask("/chat", "chat:join", {"conversation_id": stage.group})
    assert after == before


async def test_a_refused_join_hears_no_typing(stage: Stage) -> None:
    """The stranger's room is closed to them whatever they ask."""
    async with Raw(stage.url) as ben, Raw(stage.url) as eve:
        for namespace in NAMESPACES:
            await ben.connect(namespace, stage.ben_token)
            await eve.connect(namespace, stage.token)
        assert not (await eve.ask("/chat", "chat:join", {"conversation_id": stage.foreign}))["ok"]
        assert (await ben.ask("/typing", "typing:start", {"conversation_id": stage.foreign}))["ok"]
        await eve.send('42/typing,5["typing:stop",{}]')  # its answer comes after anything that was sent before
        heard = await eve.receive()
        assert heard is not None
        assert heard.startswith("43/typing,5")
