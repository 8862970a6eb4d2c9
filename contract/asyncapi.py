"""AsyncAPI 3.0 of the Socket.IO namespaces, from the declared commands and events. Pure, like `contract.openapi`."""

from __future__ import annotations

from typing import Any

from contract.catalogue import COMMANDS, EVENTS, VERSION
from contract.closing import CLOSE_CODES
from contract.errors import ERRORS
from contract.quotas import DAY_S, LIMITS, Daily, Most
from contract.registry import FAN_OUT_FREE, FAN_OUT_TIERS, NAMESPACES, Event, Operation, Rate, connect_rate
from contract.schemas import REF, Schema, components

_RATE = connect_rate(1)
_ABOUT = (
    "Socket.IO surface of Parley: path `/socket.io/`, Engine.IO 4. Every namespace connects with "
    "`auth: {token, device_id?}`. A command is acknowledged with `{ok: true, data}` or `{ok: false, error}`. "
    "Commands of a connection are done one after the other, in the order in which they were sent; of those marked "
    "x-overlaps the next one begins before this one is acknowledged, once its place is certain. Of events marked "
    "x-latest-by, a client that does not keep up gets only the newest of those that agree in the named fields. No "
    "other event is ever left out: a client that falls too far behind is disconnected (x-close-codes) and catches up "
    "with `chat:sync`. Connection state recovery is that of the official JavaScript client: CONNECT carries a `pid`, "
    "an event an offset behind its payload, and a client that returns with both within two minutes gets exactly what "
    "it missed, or starts afresh. Python and Dart clients get neither, except Dart in a browser that begins with "
    "WebSocket, which cannot be told from JavaScript: `?recovery=0` or `1` in the connection's query decides. "
    "A second CONNECT on a namespace replaces the first. Text with half of a surrogate pair (cut inside an emoji) is "
    "refused as validation_failed that names the field, and never altered. "
    "A refused namespace gets CONNECT_ERROR with the error object as `data`; `over_capacity` and `rate_limited` say in "
    "`retry_after_ms` when to connect again. For each connection that a user may have on a process "
    f"(`MAX_CONNECTIONS_PER_USER`) they may connect {_RATE.count} namespaces in {_RATE.per_s} s, {_RATE.burst} at "
    "once. Commands with an x-fan-out-limit also count the people of a conversation of more than "
    f"{FAN_OUT_FREE}, all commands of a tier together: those who are told, and where they are sent the conversation "
    f"itself, which names everyone to everyone, once more for each {FAN_OUT_FREE} of them. x-limits says what a user "
    "may have, and do in a day."
)


def document() -> dict[str, Any]:
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    for namespace in NAMESPACES:
        name = namespace.strip("/")
        channels[name] = {"address": namespace, "messages": {}}
        for command in commands_of(namespace):
            key = _key(namespace, command.name)
            messages[key] = _command_message(command)
            messages[f"{key}.ack"] = _ack_message(command)
            _list(channels[name], key)
            _list(channels[name], f"{key}.ack")
            operations[key] = _operation("receive", name, key, command.doc) | {
                "reply": {
                    "channel": {"$ref": f"#/channels/{name}"},
                    "messages": [{"$ref": f"#/channels/{name}/messages/{key}.ack"}],
                }
            }
        for event in events_of(namespace):
            key = f"{_key(namespace, event.name)}.event"
            messages[key] = _event_message(event)
            _list(channels[name], key)
            operations[key] = _operation("send", name, key, event.doc)
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Parley", "version": VERSION, "description": _ABOUT},
        "x-limits": {limit.name: _limit(limit) for limit in LIMITS},
        "x-close-codes": {str(code): text for code, text in CLOSE_CODES.items()},
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": components()},
    }


def commands_of(namespace: str) -> list[Operation]:
    return [command for command in COMMANDS.values() if command.namespace in (namespace, "*")]


def events_of(namespace: str) -> list[Event]:
    return [event for event in EVENTS.values() if event.namespace == namespace]


def _key(namespace: str, name: str) -> str:
    return f"{namespace.strip('/')}.{name.replace(':', '.')}"


def _list(channel: dict[str, Any], key: str) -> None:
    channel["messages"][key] = {"$ref": f"#/components/messages/{key}"}


def _operation(action: str, channel: str, key: str, doc: str) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": doc,
        "messages": [{"$ref": f"#/channels/{channel}/messages/{key}"}],
    }


def _ref(struct: type) -> Schema:
    return {"$ref": REF.format(name=struct.__name__)}


def _rate(rate: Rate) -> dict[str, int]:
    return {"count": rate.count, "per_s": rate.per_s, "burst": rate.burst}


def _limit(limit: Most | Daily) -> dict[str, Any]:
    per = {"per_s": DAY_S} if isinstance(limit, Daily) else {}
    return {"amount": limit.amount, **per, "description": limit.doc}


def _command_message(command: Operation) -> dict[str, Any]:
    tier = command.fan_out
    fan_out = {"x-fan-out-limit": {"tier": tier, **_rate(FAN_OUT_TIERS[tier])}} if tier is not None else {}
    return {
        "name": command.name,
        "summary": command.doc,
        "payload": _ref(command.payload),
        "x-rate-limit": _rate(command.limit),
        **fan_out,
        "x-overlaps": command.overlaps,
        "x-errors": {code: ERRORS[code].message for code in command.all_errors},
    }


def _ack_message(command: Operation) -> dict[str, Any]:
    ok = {
        "type": "object",
        "required": ["ok", "data"],
        "properties": {"ok": {"const": True}, "data": _ref(command.data)},
    }
    error = {"$ref": REF.format(name="ErrorBody")}
    failed = {"type": "object", "required": ["ok", "error"], "properties": {"ok": {"const": False}, "error": error}}
    return {"name": f"{command.name} acknowledgement", "payload": {"oneOf": [ok, failed]}}


def _event_message(event: Event) -> dict[str, Any]:
    latest = {"x-latest-by": list(event.latest_by)} if event.latest_by else {}
    return {"name": event.name, "summary": event.doc, "payload": _ref(event.payload), **latest}
