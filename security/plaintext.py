"""What a URL of Redis or MongoDB reaches without TLS: whoever is on the way there reads and writes along.

Certificates that are not checked are no better than none. The host itself and Unix sockets are nobody's way.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import parse_qsl, unquote, urlsplit

_UNCHECKED = {
    "ssl_cert_reqs": ("none", "optional"), "ssl_check_hostname": ("0", "f", "false", "n", "no"),
    "tlsinsecure": ("true",), "tlsallowinvalidcertificates": ("true",), "tlsallowinvalidhostnames": ("true",),
}  # fmt: skip
_LOCAL = ("127.0.0.0/8", "::1/128", "localhost")
_NAME = re.compile(r"[a-z0-9_.-]{1,253}")


class Hosts:
    """Names and networks, as `PLAINTEXT_HOSTS` lists them. Raises ValueError with the entry that is neither."""

    def __init__(self, listed: Sequence[str]) -> None:
        self._names: set[str] = set()
        self._networks: list[IPv4Network | IPv6Network] = []
        for entry in (*_LOCAL, *listed):
            try:
                self._networks.append(ip_network(entry, strict=False))
            except ValueError:
                name = _name(entry)
                if not _NAME.fullmatch(name):
                    raise ValueError(entry) from None
                self._names.add(name)

    def __contains__(self, host: str) -> bool:
        try:
            address = ip_address(host)
        except ValueError:
            return _name(host) in self._names
        return any(address in network for network in self._networks)


def redis_hosts(url: str) -> list[str]:
    """Those that are reached in plain text; Sentinel and a cluster always are."""
    parts = urlsplit(url)
    if parts.scheme == "unix" or (parts.scheme == "rediss" and not _is_unchecked(parts.query)):
        return []
    return _hosts(parts.netloc) or [_options(parts.query).get("host", "localhost")]


def mongo_hosts(url: str) -> list[str]:
    """Those that are reached in plain text."""
    scheme, _, rest = url.partition("://")
    where, _, query = rest.partition("?")
    options = _options(query)
    tls = options.get("tls", options.get("ssl", "true" if scheme.lower() == "mongodb+srv" else "false"))
    return [] if tls == "true" and not _is_unchecked(query) else _hosts(where.partition("/")[0])


def _is_unchecked(query: str) -> bool:
    return any(value in _UNCHECKED.get(name, ()) for name, value in _options(query).items())


def _options(query: str) -> dict[str, str]:
    """As MongoDB's driver reads them: names in any case, `;` as good as `&`."""
    return {name.lower(): value.lower() for name, value in parse_qsl(query.replace(";", "&"))}


def _hosts(authority: str) -> list[str]:
    """Without what logs in and without ports. A part that begins with a slash is the path of a socket."""
    named = [unquote(part.strip()) for part in authority.rpartition("@")[2].split(",") if part.strip()]
    return [_without_port(part) for part in named if not part.startswith("/")]


def _without_port(part: str) -> str:
    if part.startswith("["):
        return part[1:].partition("]")[0]
    return part.partition(":")[0] or "localhost"


def _name(host: str) -> str:
    return host.lower().rstrip(".")
