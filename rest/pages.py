"""The demo page: plain files from clients/web, the index at `/` and the rest under `/app/`."""

from __future__ import annotations

import mimetypes
from pathlib import Path

from aiohttp import web

WEB = Path(__file__).parent.parent / "clients" / "web"
# What a bare machine's MIME table may lack or get wrong; a module of the wrong type does not run.
mimetypes.add_type("text/javascript", ".js")
mimetypes.add_type("image/svg+xml", ".svg")


def add_pages(app: web.Application) -> None:
    async def index(_: web.Request) -> web.FileResponse:
        return web.FileResponse(WEB / "index.html", headers={"Cache-Control": "no-cache"})

    async def no_cache(request: web.Request, response: web.StreamResponse) -> None:
        if request.path.startswith("/app/"):
            response.headers["Cache-Control"] = "no-cache"

    app.router.add_get("/", index)
    app.router.add_static("/app", WEB)
    app.on_response_prepare.append(no_cache)
