"""Who is on the other end of a request."""

from __future__ import annotations

from aiohttp import web


def client_ip(request: web.BaseRequest, trusted_proxies: int) -> str | None:
    """The peer, or behind N trusted proxies the N-th address from the right of X-Forwarded-For.

    Anything further left was written by the client and could say whatever it likes.
    """
    if trusted_proxies:
        chain = [part.strip() for part in request.headers.get("X-Forwarded-For", "").split(",") if part.strip()]
        if len(chain) >= trusted_proxies:
            return chain[-trusted_proxies][:64]
    return request.remote
