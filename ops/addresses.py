"""Who is on the other end of a request, and what of that stands for them when callers are counted."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from aiohttp import web

IPV6_PREFIX = 64  # what a provider gives to one customer at least


def client_ip(request: web.BaseRequest, trusted_proxies: int) -> str | None:
    """The peer, or behind N trusted proxies the N-th address from the right of X-Forwarded-For.

    Anything further left was written by the client and could say whatever it likes. A proxy may write its address
    on a line of its own (HAProxy does): lines count as one list, in their order.
    """
    if trusted_proxies:
        written = ",".join(request.headers.getall("X-Forwarded-For", ()))
        chain = [part.strip() for part in written.split(",") if part.strip()]
        if len(chain) >= trusted_proxies:
            return _without_port(chain[-trusted_proxies][:64])
    return request.remote


def _without_port(address: str) -> str:
    """Some proxies write `1.2.3.4:5678` or `[2001:db8::1]:5678`."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    host, colon, port = address.partition(":")
    return host if colon and port.isdecimal() else address


_THIS_MACHINE = ("127.0.0.1", "::1")


@lru_cache(maxsize=4_096)
def network(address: str | None) -> str:
    """An IPv4 address, or the /64 of an IPv6 one: whoever has one address of that has all. What is none stays."""
    if not address:
        return "unknown"
    try:
        parsed = _parse(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, IPV6_PREFIX), strict=False))
    return str(parsed)


@lru_cache(maxsize=4_096)
def shared_by_many(address: str | None) -> bool:
    """This machine itself, which is a proxy in front of us or a test, or an address that nobody knows."""
    try:
        return not address or str(_parse(address)) in _THIS_MACHINE
    except ValueError:
        return True


def _parse(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Raises ValueError."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return getattr(parsed, "ipv4_mapped", None) or parsed
