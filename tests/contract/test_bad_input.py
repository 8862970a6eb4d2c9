"""Bad input over the socket: every command refuses it with a declared code, and the connection lives on.

The table of valid examples is `tests.contract.bad_input.EXAMPLES`; a command without a row fails the first test here.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from contract.catalogue import COMMANDS
from contract.registry import NAMESPACES, RESERVED_EVENTS
from tests.contract.bad_input import COMMAND_NAMES, EXAMPLES, Bad, bad_values, brief, check_error, required, where
from tests.contract.stage import Stage, settings_for_tests, staged

pytestmark = pytest.mark.asyncio(loop_scope="module")
every_command = pytest.mark.parametrize("name", COMMAND_NAMES)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(mongo_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with staged(settings_for_tests(tmp_path_factory.mktemp("stage")), mongo_url) as set_up:
        yield set_up


async def refused(stage: Stage, name: str, *args: Any, code: str = "validation_failed") -> dict[str, Any]:
    command = COMMANDS[name]
    answer = await stage.ada.ask(where(command), name, *args)
    assert answer["ok"] is False, f"accepted {brief(args)}"
    assert set(answer) == {"ok", "error"}
    check_error(answer["error"], command.all_errors, code)
    error: dict[str, Any] = answer["error"]
    return error


async def not_refused(stage: Stage, name: str, values: list[Bad]) -> list[str]:
    """Those of the values that got another answer than validation_failed naming their field."""
    faults = []
    for bad in values:
        try:
            error = await refused(stage, name, {**EXAMPLES[name](stage), bad.field: bad.value})
            assert error["details"][0]["field"].startswith(bad.field), error
        except AssertionError as fault:
            faults.append(f"{bad.field} = {brief(bad.value)}: {str(fault).splitlines()[0]}")
    return faults


async def accepted(stage: Stage, name: str) -> None:
    answer = await stage.ada.ask(where(COMMANDS[name]), name, EXAMPLES[name](stage))
    assert answer["ok"] is True, answer
    assert set(answer) == {"ok", "data"}


async def test_every_command_has_an_example() -> None:
    assert set(EXAMPLES) == set(COMMANDS)


@every_command
async def test_the_example_is_accepted(stage: Stage, name: str) -> None:
    await accepted(stage, name)


@every_command
async def test_a_missing_field(stage: Stage, name: str) -> None:
    example = EXAMPLES[name](stage)
    for field in required(COMMANDS[name].payload):
        error = await refused(stage, name, {key: value for key, value in example.items() if key != field})
        assert error["details"][0]["field"] == field
    if required(COMMANDS[name].payload):
        await refused(stage, name)
        await refused(stage, name, None)
    await accepted(stage, name)


@every_command
async def test_an_unknown_field(stage: Stage, name: str) -> None:
    error = await refused(stage, name, {**EXAMPLES[name](stage), "colour": "red"})
    assert error["details"][0]["field"] == "colour"
    await accepted(stage, name)


@every_command
async def test_wrong_types_and_limits_of_each_field(stage: Stage, name: str) -> None:
    bad = [bad for bad in bad_values(COMMANDS[name].payload, EXAMPLES[name](stage)) if bad.kind != "newline"]
    faults = await not_refused(stage, name, bad)
    assert not faults, "\n".join(faults)
    await accepted(stage, name)


async def test_a_newline_after_a_value_that_has_a_pattern(stage: Stage) -> None:
    """Python's `$` matches before one, the `$` of JSON Schema does not."""
    faults = []
    for name in COMMAND_NAMES:
        values = [bad for bad in bad_values(COMMANDS[name].payload, EXAMPLES[name](stage)) if bad.kind == "newline"]
        faults += [f"{name}: {fault}" for fault in await not_refused(stage, name, values)]
    assert not faults, "\n".join(faults)


@every_command
@pytest.mark.parametrize("payload", ["text", 7, True, 1.5, ["x"], [{}]], ids=repr)
async def test_a_payload_that_is_no_object(stage: Stage, name: str, payload: Any) -> None:
    await refused(stage, name, payload)
    await accepted(stage, name)


@every_command
async def test_two_arguments(stage: Stage, name: str) -> None:
    example = EXAMPLES[name](stage)
    await refused(stage, name, example, example)
    await refused(stage, name, example, None)
    await accepted(stage, name)


@every_command
async def test_a_binary_attachment(stage: Stage, name: str) -> None:
    namespace = where(COMMANDS[name])
    event = json.dumps([name, {"_placeholder": True, "num": 0}])
    await stage.ada.send(f"451-{namespace},9{event}")
    await stage.ada.send(b"bytes")
    while not (frame := await stage.ada.receive() or "").startswith(f"43{namespace},9"):
        assert frame, "closed instead of acknowledged"
    answer = json.loads(frame.removeprefix(f"43{namespace},9"))[0]
    check_error(answer["error"], COMMANDS[name].all_errors, "validation_failed")
    await accepted(stage, name)


@every_command
async def test_on_another_namespace_it_is_unknown(stage: Stage, name: str) -> None:
    command = COMMANDS[name]
    for namespace in NAMESPACES:
        if command.namespace not in (namespace, "*"):
            answer = await stage.ada.ask(namespace, name, EXAMPLES[name](stage))
            check_error(answer["error"], ("unknown_command",), "unknown_command")
    await accepted(stage, name)


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("name", ["", "chat:nothing", "x" * 100_000, "__init__", "trigger_event", "*", "message"])
async def test_an_unknown_command_is_acknowledged(stage: Stage, namespace: str, name: str) -> None:
    assert name not in RESERVED_EVENTS
    answer = await stage.ada.ask(namespace, name, {})
    check_error(answer["error"], ("unknown_command",), "unknown_command")
    assert len(answer["error"]["message"]) < 300
    await accepted(stage, "chat:list")


@every_command
async def test_odd_but_valid_values_are_no_failure_of_ours(stage: Stage, name: str) -> None:
    """NUL, the ends of every range, times at the ends of the calendar: whatever is said of them, it is deliberate."""
    command, example = COMMANDS[name], EXAMPLES[name](stage)
    odd: list[Any] = ["\x00", "\ufeff\u202e", "🏳️‍🌈", "x" * 64, "9" * 64, f"{UNLIKELY}.9999999999999999"]
    odd += ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "2026-02-30T00:00:00Z", "2016-12-31T23:59:60Z"]
    odd += [0, 1, 200, 2**53 - 1, [], ["u_" + "9" * 62] * 20, {}, {"c_" + "9" * 62: 2**53 - 1}]
    faults = []
    for field in command.payload.__struct_fields__:
        for value in odd:
            unique = {"client_id": secrets.token_hex(8)} if "client_id" in example else {}
            answer = await stage.ada.ask(where(command), name, {**example, **unique, field: value})
            code = "" if answer["ok"] else answer["error"]["code"]
            if code == "internal_error" or (code and code not in command.all_errors):
                faults.append(f"{field} = {brief(value)}: {code}")
    assert not faults, "\n".join(faults)


UNLIKELY = "c_000000000000000000000000"


async def test_request_ids_differ(stage: Stage) -> None:
    seen = {(await refused(stage, "chat:get"))["request_id"] for _ in range(20)}
    assert len(seen) == 20
