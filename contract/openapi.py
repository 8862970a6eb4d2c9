"""OpenAPI 3.0 of the REST endpoints, from their declarations. Pure: the same contract gives the same document."""

from __future__ import annotations

from typing import Any

from contract.catalogue import ENDPOINTS, VERSION
from contract.errors import ERRORS
from contract.registry import Endpoint
from contract.schemas import REF, Schema, components, openapi_30
from contract.types import Empty

TITLE = "Parley"
_HEADERS = ("X-Request-Id", "X-Process-Time")
_ABOUT = (
    "REST surface of Parley, a real-time backend for trade conversations. The events and socket commands are on "
    "[the events page](/docs/events). Lists give `items` and `next_cursor`; errors give `error` with a stable `code`. "
    "Text with half of a surrogate pair is refused (validation_failed), never altered."
)

_COOKIE = (
    "In production its name begins with `__Host-`, as does that of `csrf_token`, whose value goes into X-CSRF-Token "
    "with everything but GET. AUTH_COOKIE=access_token names it so; only one name authenticates."
)


def document(cookie: str = "auth_token") -> dict[str, Any]:
    """`cookie`: the name of the one that authenticates."""
    schemas = {name: openapi_30(schema) for name, schema in components().items()}
    paths: dict[str, Any] = {}
    for endpoint in ENDPOINTS.values():
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, schemas)
    return {
        "openapi": "3.0.3",
        "info": {"title": TITLE, "version": VERSION, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": cookie, "description": _COOKIE},
            },
        },
    }


def _operation(endpoint: Endpoint, schemas: dict[str, Schema]) -> dict[str, Any]:
    fields = _fields(endpoint, schemas)
    asked = endpoint.operation
    rate = asked.limit
    operation: dict[str, Any] = {
        "operationId": _operation_id(endpoint),
        "tags": [endpoint.route.tag],
        "summary": asked.doc,
        "description": f"Limit: {rate.count} per {rate.per_s} s, {rate.burst} at once."
        + (f" Mirrors `{asked.name}`." if asked.namespace else ""),
        "parameters": _parameters(endpoint, fields),
        "responses": _responses(endpoint, schemas),
    }
    if endpoint.route.takes_body and (body := _body(endpoint, fields)):
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    operation["security"] = [{"bearer": []}, {"cookie": []}] if asked.needs_login else []
    return operation


def _operation_id(endpoint: Endpoint) -> str:
    words = [part.strip("{}") for part in endpoint.path.split("/")[3:]]
    return "_".join([endpoint.method.lower(), *words]).replace("-", "_")


def _fields(endpoint: Endpoint, schemas: dict[str, Schema]) -> Schema:
    if endpoint.payload is Empty:
        return {"properties": {}, "required": []}
    return schemas[endpoint.payload.__name__]


def _parameters(endpoint: Endpoint, fields: Schema) -> list[Schema]:
    path = [
        {"name": name, "in": "path", "required": True, "schema": fields["properties"][name]}
        for name in endpoint.route.path_names
    ]
    if endpoint.route.takes_body:
        if "client_id" not in fields["properties"]:
            return path
        schema = {"type": "string", "minLength": 1, "maxLength": 64}
        about = "The same as client_id in the body, which it may stand in for."
        return [*path, {"name": "Idempotency-Key", "in": "header", "schema": schema, "description": about}]
    query = [
        {"name": name, "in": "query", "required": name in fields.get("required", ()), "schema": _plain(schema)}
        for name, schema in fields["properties"].items()
        if name not in endpoint.route.path_names
    ]
    return path + query


def _plain(schema: Schema) -> Schema:
    """A query parameter is there or not: it is never null."""
    return {name: value for name, value in schema.items() if name not in ("nullable", "default")}


def _body(endpoint: Endpoint, fields: Schema) -> Schema | None:
    of_path = endpoint.route.path_names
    properties = {name: schema for name, schema in fields["properties"].items() if name not in of_path}
    if not properties:
        return None
    if not of_path:
        return {"$ref": REF.format(name=endpoint.payload.__name__)}
    required = [name for name in fields.get("required", ()) if name in properties]
    body: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return body | ({"required": required} if required else {})


def _responses(endpoint: Endpoint, schemas: dict[str, Schema]) -> dict[str, Any]:
    headers = {name: {"schema": {"type": "string"}} for name in _HEADERS}
    success: dict[str, Any] = {"description": "Done.", "headers": headers}
    if endpoint.operation.data is not Empty:
        name = endpoint.operation.data.__name__
        schema = (
            schemas[name]["properties"][endpoint.route.returns]
            if endpoint.route.returns
            else {"$ref": REF.format(name=name)}
        )
        success |= {"description": "The resource.", "content": {"application/json": {"schema": schema}}}
    responses: dict[str, Any] = {str(endpoint.route.status): success}
    if endpoint.route.status == 201 and endpoint.operation.namespace is not None:
        replay = {"description": "It was there before: the result of the first request."}
        responses["200"] = {**success, **replay}
    if endpoint.path.endswith("/health/ready"):
        responses["503"] = {**success, "description": "Not ready, or draining."}
    by_status: dict[int, list[str]] = {}
    for code in endpoint.all_errors:
        by_status.setdefault(ERRORS[code].status, []).append(code)
    for status, codes in sorted(by_status.items()):
        if str(status) not in responses:
            responses[str(status)] = _error(codes, headers)
    return responses


def _error(codes: list[str], headers: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"error": {"$ref": REF.format(name="ErrorBody")}}, "required": ["error"]}
    about = "; ".join(f"`{code}`: {ERRORS[code].message}" for code in codes)
    return {"description": about, "headers": headers, "content": {"application/json": {"schema": schema}}}
