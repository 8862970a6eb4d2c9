"""/docs: the interactive API page, and /docs/events: the page of the Socket.IO surface. Both work offline.

aiohttp-apispec builds Swagger 2.0 from marshmallow schemas and brings an old Swagger UI; here its spec class only
serves the OpenAPI 3.0 document that is made from the contract, with the Swagger UI of `rest/swagger`.
"""

from __future__ import annotations

import asyncio
import functools
import html
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import yaml
from aiohttp import web
from aiohttp_apispec.aiohttp_apispec import AiohttpApiSpec

from contract import asyncapi, openapi
from contract.asyncapi import commands_of, events_of
from contract.catalogue import VERSION
from contract.closing import CLOSE_CODES
from contract.errors import ERRORS
from contract.registry import NAMESPACES
from contract.schemas import components

_SWAGGER = Path(__file__).parent / "swagger"


class ContractSpec(AiohttpApiSpec):  # type: ignore[misc]
    """Swagger UI over the contract's own document."""

    def __init__(self, app: web.Application, cookie: str) -> None:
        self._cookie = cookie
        super().__init__(
            url="/docs/openapi.json", app=app, swagger_path="/docs", static_path="/docs/assets", in_place=True,
            title=openapi.TITLE, version=VERSION,
        )  # fmt: skip

    def register(self, app: web.Application, in_place: bool = False) -> None:
        """Only serves: the stock one collects marshmallow schemas and keeps them under plain string keys."""
        app.router.add_get(self.url, _serve(partial(_openapi_json, self._cookie), "application/json"))
        self._add_swagger_web_page(app, self.static_path, self.swagger_path)

    def _add_swagger_web_page(self, app: web.Application, static_path: str, view_path: str) -> None:
        async def view(_: web.Request) -> web.FileResponse:
            return web.FileResponse(_SWAGGER / "index.html", headers={"Cache-Control": "no-cache"})

        app.router.add_static(static_path, _SWAGGER)
        app.router.add_get(view_path, view)


def add_docs(app: web.Application, cookie: str) -> None:
    """`cookie`: the name of the one that authenticates here."""
    ContractSpec(app, cookie)
    app.router.add_get("/docs/events", _serve(_events_page, "text/html"))
    app.router.add_get("/docs/asyncapi.json", _serve(_asyncapi_json, "application/json"))
    app.router.add_get("/docs/openapi.yaml", _serve(partial(_openapi_yaml, cookie), "application/yaml"))


def _serve(render: Callable[[], bytes], content_type: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Rendered when first asked for, and in a thread: it takes up to half a second, which no start and no loop pays."""

    async def serve(_: web.Request) -> web.Response:
        body = await asyncio.to_thread(render)
        return web.Response(body=body, content_type=content_type, charset="utf-8")

    return serve


@functools.cache
def _openapi_json(cookie: str) -> bytes:
    return msgspec.json.encode(openapi.document(cookie))


@functools.cache
def _openapi_yaml(cookie: str) -> bytes:
    text: str = yaml.safe_dump(openapi.document(cookie), sort_keys=False, allow_unicode=True)
    return text.encode()


@functools.cache
def _asyncapi_json() -> bytes:
    return msgspec.json.encode(asyncapi.document())


@functools.cache
def _events_page() -> bytes:
    schemas = components()
    parts = []
    for namespace in NAMESPACES:
        name = namespace.strip("/")
        parts.append(f'<section id="{name}"><h2>{html.escape(namespace)}</h2><h3>Commands</h3>')
        for command in commands_of(namespace):
            limit = f"{command.limit.count} per {command.limit.per_s} s, {command.limit.burst} at once"
            codes = (
                ", ".join(f'<a href="#errors"><code>{code}</code></a>' for code in command.errors) or "only common ones"
            )
            parts.append(
                f'<article id="{name}-{command.name}"><h4><code>{command.name}</code> '
                f"{_link(command.payload)} → {_link(command.data)}</h4><p>{html.escape(command.doc)}</p>"
                f"<p class=small>Limit: {limit}. Errors: {codes}.</p></article>"
            )
        parts.append("<h3>Events</h3>")
        for event in events_of(namespace):
            kept = ", ".join(event.latest_by)
            latest = f" To a client that does not keep up only the newest goes, by {kept}." if kept else ""
            parts.append(
                f"<article><h4><code>{event.name}</code> {_link(event.payload)}</h4>"
                f"<p>{html.escape(event.doc + latest)}</p></article>"
            )
        parts.append("</section>")
    parts.append('<section id="schemas"><h2>Payloads</h2>')
    for name, schema in schemas.items():
        about = html.escape(schema.get("description", ""))
        parts.append(
            f'<article id="schema-{name}"><h4><code>{name}</code></h4><p>{about}</p>{_table(schema, schemas)}</article>'
        )
    parts.append('</section><section id="errors"><h2>Errors</h2><table><tr><th>code<th>HTTP<th>retryable<th>meaning')
    for row in ERRORS.values():
        retry = "yes" if row.retryable else "no"
        parts.append(f"<tr><td><code>{row.code}</code><td>{row.status}<td>{retry}<td>{html.escape(row.message)}")
    parts.append('</table><h3 id="closing">Why a WebSocket closes</h3><table><tr><th>code<th>meaning')
    for number, text in CLOSE_CODES.items():
        parts.append(f"<tr><td><code>{number}</code><td>{html.escape(text)}")
    parts.append("</table></section>")
    template = (Path(__file__).parent / "events.html").read_text()
    links = " ".join(f'<a href="#{namespace.strip("/")}">{namespace}</a>' for namespace in NAMESPACES)
    page = template.replace("{{links}}", links).replace("{{version}}", VERSION).replace("{{body}}", "".join(parts))
    return page.encode()


def _link(struct: type) -> str:
    return f'<a href="#schema-{struct.__name__}">{struct.__name__}</a>'


def _table(schema: dict[str, Any], schemas: dict[str, Any]) -> str:
    properties = schema.get("properties", {})
    if not properties:
        return "<p class=small>No fields.</p>"
    required = schema.get("required", ())
    rows = "".join(
        f"<tr><td><code>{name}</code>{'' if name in required else ' <i>optional</i>'}<td>{_shape(shape)}"
        for name, shape in properties.items()
    )
    return f"<table>{rows}</table>"


def _shape(schema: dict[str, Any]) -> str:
    """A type with its limits, as a person would write it."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return f'<a href="#schema-{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_shape(option) for option in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(f"<code>{html.escape(str(value))}</code>" for value in schema["enum"])
    kind = schema.get("type", "any")
    if kind == "array":
        kind = f"array of {_shape(schema.get('items', {}))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        kind = f"map of {_shape(schema['additionalProperties'])}"
    names = {"minLength": "≥", "maxLength": "≤", "minimum": "≥", "maximum": "≤", "minItems": "≥", "maxItems": "≤"}
    limits = [f"{sign} {schema[name]}" for name, sign in names.items() if name in schema]
    about = html.escape(schema.get("description", ""))
    return " ".join(part for part in (str(kind), ", ".join(limits), f"<i>{about}</i>" if about else "") if part)
