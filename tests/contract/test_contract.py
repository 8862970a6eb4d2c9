"""The contract against itself: its documents, its error table, and the code that keeps it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from openapi_spec_validator import OpenAPIV30SpecValidator

from contract import asyncapi, openapi, typescript
from contract.__main__ import documents
from contract.catalogue import COMMANDS, ENDPOINTS, EVENTS, OPERATIONS
from contract.errors import ERRORS, ErrorBody
from contract.registry import NAMESPACES, USER, Operation
from contract.types import Empty
from server import Server, check_bound
from tests.support import ROOT

Json = dict[str, Any]
PAYLOADS = {command.payload for command in COMMANDS.values()} | {one.payload for one in ENDPOINTS.values()}
SOURCES = [
    path
    for folder in ("handlers", "models", "ops", "realtime", "rest", "security", "storage", "contract")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
# Clients switch on these: none may go, and none may change its status or whether it is worth a retry.
FROZEN = {
    "validation_failed": (422, False), "malformed_json": (400, False), "unknown_command": (404, False),
    "not_found": (404, False), "method_not_allowed": (405, False), "payload_too_large": (413, False),
    "unsupported_media_type": (415, False), "unauthenticated": (401, False), "token_invalid": (401, False),
    "token_expired": (401, True), "session_revoked": (401, False), "refresh_reused": (401, False),
    "csrf_failed": (403, False), "forbidden": (403, False), "not_a_participant": (403, False),
    "invalid_credentials": (401, False), "account_locked": (423, True), "email_taken": (409, False),
    "idempotency_mismatch": (409, False), "message_deleted": (409, False), "message_version_stale": (409, False),
    "conflict": (409, True), "rate_limited": (429, True), "too_many_connections": (429, False),
    "unavailable": (503, True), "timeout": (504, True), "internal_error": (500, True), "over_capacity": (503, True),
    "token_not_yet_valid": (401, True), "too_many_pending": (409, False),
    "limit_reached": (409, False),
}  # fmt: skip


# Documents


def test_openapi_is_valid_and_has_every_endpoint() -> None:
    document = openapi.document()
    OpenAPIV30SpecValidator(document).validate()
    found = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert found == set(ENDPOINTS)


def test_openapi_names_every_error_of_every_endpoint() -> None:
    paths = openapi.document()["paths"]
    for (method, path), endpoint in ENDPOINTS.items():
        responses = paths[path][method.lower()]["responses"]
        assert str(endpoint.route.status) in responses
        for code in endpoint.all_errors:
            if (path.endswith("/health/ready"), ERRORS[code].status) != (True, 503):  # its 503 is the resource
                assert f"`{code}`" in responses[str(ERRORS[code].status)]["description"], (method, path, code)


def test_openapi_operations_have_their_own_names() -> None:
    names = [one["operationId"] for methods in openapi.document()["paths"].values() for one in methods.values()]
    assert len(names) == len(set(names))


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


@pytest.mark.parametrize("document", [openapi.document(), asyncapi.document()], ids=["openapi", "asyncapi"])
def test_every_reference_leads_somewhere(document: Json) -> None:
    found = set(references(document))
    assert found
    for reference in found:
        node: Any = document
        for part in reference.removeprefix("#/").split("/"):
            assert part in node, reference
            node = node[part]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_asyncapi_has_the_command(name: str) -> None:
    document, command = asyncapi.document(), COMMANDS[name]
    assert command.namespace is not None
    for namespace in NAMESPACES if command.namespace == "*" else (command.namespace,):
        channel = document["channels"][namespace.strip("/")]
        assert channel["address"] == namespace
        sent = [key for key in channel["messages"] if document["components"]["messages"][key]["name"] == name]
        key = next(key for key in sent if not key.endswith(".event"))
        message = document["components"]["messages"][key]
        assert message["payload"] == {"$ref": f"#/components/schemas/{command.payload.__name__}"}
        assert set(message["x-errors"]) == set(command.all_errors)
        assert message["x-rate-limit"]["count"] == command.limit.count
        assert document["operations"][key]["action"] == "receive"
        assert document["operations"][key]["reply"]["messages"][0]["$ref"].endswith(f"{key}.ack")


@pytest.mark.parametrize(("namespace", "name"), sorted(EVENTS))
def test_asyncapi_has_the_event(namespace: str, name: str) -> None:
    document = asyncapi.document()
    key = f"{namespace.strip('/')}.{name.replace(':', '.')}.event"
    assert document["components"]["messages"][key]["name"] == name
    assert key in document["channels"][namespace.strip("/")]["messages"]
    assert document["operations"][key]["action"] == "send"


def test_asyncapi_has_the_error_object() -> None:
    assert asyncapi.document()["components"]["schemas"]["ErrorBody"] == {
        **msgspec.json.schema(ErrorBody, ref_template="#/components/schemas/{name}")["$defs"]["ErrorBody"]
    }


def test_typescript_has_every_command_event_and_error() -> None:
    text = typescript.document()
    for command in COMMANDS.values():
        signature = (
            f'"{command.name}": (payload: {command.payload.__name__}, ack: (reply: Ack<{command.data.__name__}>)'
        )
        assert text.count(signature) == (len(NAMESPACES) if command.namespace == "*" else 1), command.name
    for event in EVENTS.values():
        assert f'"{event.name}": (payload: {event.payload.__name__}) => void;' in text
    union = re.search(r"export type ErrorCode =\n(.*?);", text, re.DOTALL)
    assert union is not None
    assert set(re.findall(r'"(\w+)"', union[1])) == set(ERRORS)


def test_the_documents_on_disk_are_fresh() -> None:
    stale = [str(path.relative_to(ROOT)) for path, text in documents().items() if path.read_text() != text]
    assert not stale, "run: make contract"


# Limits: every string, list and number a client sends has one


def unlimited(path: str, shape: Json, defs: Json) -> Iterator[str]:
    if "$ref" in shape:
        yield from unlimited(path, defs[shape["$ref"].rsplit("/", 1)[-1]], defs)
    for option in shape.get("anyOf", ()):
        yield from unlimited(path, option, defs)
    bounded_pattern = re.search(r"\{\d+,\d+\}\$(\(\?!\\n\))?$", shape.get("pattern", ""))
    needed = {"string": "maxLength", "integer": "maximum", "number": "maximum", "array": "maxItems"}
    kind = str(shape.get("type"))
    if kind in needed and needed[kind] not in shape and "enum" not in shape and not bounded_pattern:
        yield f"{path} has no {needed[kind]}"
    if kind == "object" and "properties" not in shape and "maxProperties" not in shape:
        yield f"{path} has no maxProperties"
    if kind == "array":
        yield from unlimited(f"{path}[]", shape["items"], defs)
    for name, inner in shape.get("properties", {}).items():
        yield from unlimited(f"{path}.{name}", inner, defs)
    for name in ("additionalProperties", "propertyNames"):
        if isinstance(shape.get(name), dict):
            yield from unlimited(f"{path}{{{name}}}", {"type": "string", **shape[name]}, defs)


def test_everything_a_client_sends_has_a_limit() -> None:
    found = []
    for payload in PAYLOADS:
        schema = msgspec.json.schema(payload)
        found += list(unlimited(payload.__name__, schema, schema["$defs"]))
    assert not sorted(set(found))


def test_payloads_refuse_unknown_fields() -> None:
    for payload in PAYLOADS:
        assert payload.__struct_config__.forbid_unknown_fields, payload


# The error table


def test_codes_are_never_taken_back() -> None:
    assert {code: (ERRORS[code].status, ERRORS[code].retryable) for code in FROZEN if code in ERRORS} == FROZEN


def test_rows_of_the_error_table_are_whole() -> None:
    for code, row in ERRORS.items():
        assert re.fullmatch(r"[a-z][a-z_]*", code)
        assert 400 <= row.status < 600
        assert row.message.endswith(".")


def raised(path: Path) -> Iterator[str]:
    """Codes spelled in the source: ParleyError("code"), error rows of declarations are checked by the registry."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "ParleyError":
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant):
                yield str(first.value)
            else:
                assert isinstance(first, ast.Name), f"{path}:{node.lineno}: a code nobody can look up"


def test_codes_in_the_sources_are_in_the_table() -> None:
    found = {code: path for path in SOURCES for code in raised(path)}
    assert len(found) > 15
    assert not {code: path for code, path in found.items() if code not in ERRORS}


def test_every_code_of_the_table_is_used() -> None:
    text = "\n".join(path.read_text() for path in SOURCES if path.name != "errors.py")
    assert [code for code in ERRORS if f'"{code}"' not in text] == []


# Commands are bound


async def test_every_command_is_bound_once(server: Server) -> None:
    namespaces = list(server.sio.namespace_handlers.values())
    check_bound(namespaces)
    bound = [(one.name, name) for one in namespaces for name in one.bound]
    assert sorted(name for _, name in bound if COMMANDS[name].namespace != "*") == sorted(
        name for name, command in COMMANDS.items() if command.namespace != "*"
    )


async def test_an_unbound_command_stops_the_start(server: Server) -> None:
    namespaces = list(server.sio.namespace_handlers.values())
    for namespace in namespaces:
        for name in sorted(namespace.bound):
            taken = namespace._handlers.pop(name)
            with pytest.raises(RuntimeError, match=re.escape(name)):
                check_bound(namespaces)
            namespace._handlers[name] = taken
    check_bound(namespaces)


async def test_an_extra_command_or_a_missing_namespace_stops_the_start(server: Server) -> None:
    namespaces = list(server.sio.namespace_handlers.values())
    with pytest.raises(RuntimeError):
        check_bound(namespaces[1:])
    chat = next(namespace for namespace in namespaces if namespace.name == "/chat")
    chat._handlers["chat:extra"] = chat._handlers["chat:get"]
    with pytest.raises(RuntimeError, match="chat:extra"):
        check_bound(namespaces)


async def test_a_command_takes_one_handler(server: Server) -> None:
    chat = server.sio.namespace_handlers["/chat"]
    command, handler = chat._handlers["chat:get"]
    with pytest.raises(AssertionError, match="two handlers"):
        chat.bind(command, handler)
    with pytest.raises(AssertionError, match="typing:start"):
        chat.bind(COMMANDS["typing:start"], handler)


def test_a_command_is_declared_once_with_known_errors() -> None:
    known = COMMANDS["chat:get"]
    with pytest.raises(AssertionError, match="chat:get"):
        Operation("chat:get", Empty, Empty, USER, known.limit, "", namespace="/chat")
    with pytest.raises(AssertionError, match="no_such_code"):
        Operation("chat:other", Empty, Empty, USER, known.limit, "", ("no_such_code",), namespace="/chat")
    with pytest.raises(TypeError, match="permission"):
        Operation("chat:other", Empty, Empty, limit=known.limit, doc="")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="limit"):
        Operation("chat:other", Empty, Empty, USER, doc="")  # type: ignore[call-arg]
    assert "chat:other" not in OPERATIONS
