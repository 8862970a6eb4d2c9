"""Who is on the other end of a request."""

from __future__ import annotations

from aiohttp import web


def client_ip(request: web.BaseRequest, trusted_proxies: int) -> str | None:
    """The peer, or behind N trusted proxies the N-th address from the right of X-Forwarded-For.

    Anything further left was written by the client and could say whatever it likes. A proxy may write its address
    on a line of its own (HAProxy does): lines count as one list, in their order.
    """
    if trusted_proxies:
        written = ",".join(request.headers.getall("X-Forwarded-For", ()))
        chain = [part.strip() for part in written.split(",") if part.strip()]
        if len(chain) >= trusted_proxies:
            return chain[-trusted_proxies][:64]
    return request.remote
