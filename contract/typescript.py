"""TypeScript types of the contract, for `socket.io-client` and fetch. Pure, like `contract.openapi`."""

from __future__ import annotations

from typing import Any

from contract.asyncapi import commands_of, events_of
from contract.errors import ERRORS
from contract.registry import NAMESPACES
from contract.schemas import Schema, components

_HEAD = """// Made by `make contract` from the contract package. Do not edit.
//
//   const chat: Socket<ChatEvents, ChatCommands> = io(url + "/chat", { auth: { token } });
//   const ack = await chat.emitWithAck("chat:send", { conversation_id, client_id, text });
//   if (ack.ok) ack.data.message; else ack.error.code;
"""


def document() -> str:
    parts = [_HEAD]
    codes = " |\n  ".join(f'"{code}"' for code in ERRORS)
    parts.append(f"export type ErrorCode =\n  {codes};\n")
    for name, schema in components().items():
        parts.append(_declaration(name, schema))
    parts.append("export type Ack<Data> = { ok: true; data: Data } | { ok: false; error: ErrorBody };\n")
    for namespace in NAMESPACES:
        parts.append(_namespace(namespace))
    return "\n".join(parts)


def _declaration(name: str, schema: Schema) -> str:
    comment = f"/** {schema['description']} */\n" if schema.get("description") else ""
    if schema.get("type") != "object" or "properties" not in schema:
        return f"{comment}export type {name} = {_type(schema)};\n"
    required = set(schema.get("required", ()))
    lines = []
    for field, shape in schema["properties"].items():
        kind = "ErrorCode" if (name, field) == ("ErrorBody", "code") else _type(shape)
        lines.append(f"  {field}{'' if field in required else '?'}: {kind};")
    body = "\n".join(lines)
    return (
        f"{comment}export interface {name} {{\n{body}\n}}\n"
        if lines
        else f"{comment}export type {name} = Record<string, never>;\n"
    )


def _type(schema: Any) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    if "enum" in schema:
        return " | ".join("null" if value is None else f'"{value}"' for value in schema["enum"])
    if "const" in schema:
        return f'"{schema["const"]}"'
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(_type(option) for option in schema["anyOf"]))
    kind = schema.get("type")
    if kind == "array":
        inner = _type(schema["items"]) if "items" in schema else "unknown"
        return f"({inner})[]" if "|" in inner else f"{inner}[]"
    if kind == "object":
        values = schema.get("additionalProperties")
        return f"Record<string, {_type(values) if isinstance(values, dict) and values else 'unknown'}>"
    return {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}.get(
        str(kind), "unknown"
    )


def _namespace(namespace: str) -> str:
    name = namespace.strip("/").capitalize()
    commands = "\n".join(
        f'  /** {command.doc} */\n  "{command.name}": '
        f"(payload: {command.payload.__name__}, ack: (reply: Ack<{command.data.__name__}>) => void) => void;"
        for command in commands_of(namespace)
    )
    events = "\n".join(
        f'  /** {event.doc} */\n  "{event.name}": (payload: {event.payload.__name__}) => void;'
        for event in events_of(namespace)
    )
    return f"export interface {name}Commands {{\n{commands}\n}}\n\nexport interface {name}Events {{\n{events}\n}}\n"
