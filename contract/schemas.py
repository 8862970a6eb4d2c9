"""JSON Schemas of the contract's structs, as components that documents refer to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from contract.catalogue import EVENTS, OPERATIONS
from contract.errors import ErrorBody

REF = "#/components/schemas/{name}"
Schema = dict[str, Any]


def structs() -> list[type[msgspec.Struct]]:
    """Every struct that an operation, event or error names, once, in order of declaration."""
    found: dict[type[msgspec.Struct], None] = {}
    for operation in OPERATIONS.values():
        found |= {operation.payload: None, operation.data: None}
    for event in EVENTS.values():
        found[event.payload] = None
    found[ErrorBody] = None
    return list(found)


def components(types: Iterable[type[msgspec.Struct]] | None = None) -> dict[str, Schema]:
    """JSON Schema 2020-12 by name, those that are only referred to included."""
    _, schemas = msgspec.json.schema_components(structs() if types is None else types, ref_template=REF)
    return {name: schemas[name] for name in sorted(schemas)}


def openapi_30(schema: Any) -> Any:
    """The same in OpenAPI 3.0's dialect, which says nullable where JSON Schema says "or null"."""
    if isinstance(schema, list):
        return [openapi_30(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {name: openapi_30(value) for name, value in schema.items() if name != "propertyNames"}
    if schema.get("required") == []:
        del schema["required"]
    if "anyOf" in schema:
        options = [option for option in schema["anyOf"] if option != {"type": "null"}]
        if len(options) < len(schema["anyOf"]):
            del schema["anyOf"]
            schema["nullable"] = True
            if len(options) == 1 and "$ref" in options[0]:
                schema["allOf"] = options
            elif len(options) == 1:
                schema |= options[0]
            else:
                schema["anyOf"] = options
    if schema.get("enum") and None in schema["enum"]:
        schema["nullable"] = True
    if "const" in schema:
        schema["enum"] = [schema.pop("const")]
    return schema
