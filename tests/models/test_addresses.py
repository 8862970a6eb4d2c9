"""What of an address stands for whoever is behind it."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request

from ops.addresses import client_ip, network


@pytest.mark.parametrize(
    ("address", "same"),
    [
        ("203.0.113.9", "203.0.113.9"), ("::ffff:203.0.113.9", "203.0.113.9"), ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"), ("2001:db8:0:1::1", "2001:db8:0:1::/64"), ("fe80::1%eth0", "fe80::/64"),
        ("somewhere", "somewhere"), ("", "unknown"), (None, "unknown"),
    ],
)  # fmt: skip
def test_an_ipv6_customer_is_one(address: str | None, same: str) -> None:
    assert network(address) == same


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("203.0.113.9", "203.0.113.9"), ("203.0.113.9:5678", "203.0.113.9"), ("[2001:db8::1]:5678", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"), ("2001:db8::1", "2001:db8::1"), ("1.1.1.1, 203.0.113.9", "203.0.113.9"),
    ],
)  # fmt: skip
def test_what_a_proxy_writes(written: str, address: str) -> None:
    request = make_mocked_request("GET", "/", headers={"X-Forwarded-For": written})
    assert client_ip(request, 1) == address
