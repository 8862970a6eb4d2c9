"""What the tests of bad input over REST share: an example of every endpoint, and how to send and check one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from contract.catalogue import ENDPOINTS
from contract.errors import ERRORS
from contract.registry import ADMINISTRATOR, ANYONE, USER, Endpoint
from tests.contract.bad_input import EXAMPLES, check_error
from tests.contract.stage import Stage
from tests.rest.client import Answer, Http
from tests.support import PASSWORD

Json = dict[str, Any]

# One row for each endpoint that mirrors no command and takes anything.
REST_EXAMPLES: dict[tuple[str, str], Callable[[Stage], Json]] = {
    ("POST", "/api/v1/auth/register"): lambda s: {
        "email": "new@example.test", "password": PASSWORD, "name": "New", "role": "vendor", "phone": "+4912345678",
        "business": "Beans", "device": {"id": "d1", "name": "Phone", "platform": "ios"},
    },
    ("POST", "/api/v1/auth/login"): lambda s: {"email": "nobody@example.test", "password": PASSWORD},
    ("POST", "/api/v1/auth/refresh"): lambda s: {"refresh_token": "s_1.x"},
    ("PATCH", "/api/v1/auth/me"): lambda s: {"name": "Ada", "phone": "+4912345678", "business": "Beans"},
    ("POST", "/api/v1/auth/password/change"): lambda s: {
        "current_password": PASSWORD, "new_password": PASSWORD[::-1],
    },
    ("DELETE", "/api/v1/auth/sessions/{session_id}"): lambda s: {"session_id": "s_1"},
    ("GET", "/api/v1/admin/connections"): lambda s: {"user_id": s.ada_id, "limit": 5},
    ("DELETE", "/api/v1/admin/connections/{connection_id}"): lambda s: {"connection_id": "00000000-1"},
    ("GET", "/api/v1/admin/jobs/dead"): lambda s: {"limit": 5},
    ("POST", "/api/v1/admin/jobs/{job_id}/replay"): lambda s: {"job_id": "j_1"},
    ("POST", "/api/v1/admin/payments/{payment_id}/confirm"): lambda s: {"payment_id": "p_1"},
    ("POST", "/api/v1/admin/disputes/{dispute_id}/resolve"): lambda s: {"dispute_id": "d_1", "outcome": "won"},
    ("DELETE", "/api/v1/offer-rules/{rule_id}"): lambda s: {"rule_id": "r_1"},
    ("GET", "/api/v1/finance/statement.csv"): lambda s: {
        "currency": "USD", "purpose": "payable", "to": "2026-01-01T00:00:00.000Z",
    },
    ("GET", "/api/v1/admin/users/{user_id}/credit-limit"): lambda s: {"user_id": s.ada_id, "currency": "USD"},
    ("GET", "/api/v1/admin/users/{user_id}/risk"): lambda s: {"user_id": s.ada_id, "currency": "USD"},
    ("POST", "/api/v1/admin/users/{user_id}/risk/apply"): lambda s: {
        "user_id": s.ada_id, "suggested_limit": 1, "currency": "USD",
    },
    ("PUT", "/api/v1/admin/users/{user_id}/disabled"): lambda s: {
        "user_id": s.ada_id, "disabled": False, "reason": "It was a mistake",
    },
    ("PUT", "/api/v1/admin/users/{user_id}/credit-limit"): lambda s: {
        "user_id": s.ada_id, "amount": 1_000, "currency": "USD", "reason": "A good customer",
    },
    ("GET", "/api/v1/chat/conversations/{conversation_id}/messages"): lambda s: {
        "conversation_id": s.group, "limit": 5,
    },
}  # fmt: skip
ALL = sorted(ENDPOINTS)


def those(condition: Callable[[Endpoint], bool]) -> pytest.MarkDecorator:
    keys = [key for key in ALL if condition(ENDPOINTS[key])]
    return pytest.mark.parametrize("key", keys, ids=[f"{method} {path}" for method, path in keys])


def example(endpoint: Endpoint, stage: Stage) -> Json:
    if endpoint.operation.namespace is not None:
        return EXAMPLES[endpoint.operation.name](stage)
    row = REST_EXAMPLES.get((endpoint.method, endpoint.path))
    return row(stage) if row else {}


def token_for(endpoint: Endpoint, stage: Stage) -> str:
    """Of one who may ask for it."""
    return {ANYONE: "", USER: stage.token, ADMINISTRATOR: stage.admin_token}[endpoint.operation.permission]


def split(endpoint: Endpoint, fields: Json) -> tuple[str, Json]:
    """(the path with its parameters filled in, the other fields)."""
    path, rest = endpoint.path, dict(fields)
    for name in endpoint.route.path_names:
        path = path.replace(f"{{{name}}}", quote(str(rest.pop(name)), safe=""))
    return path, rest


async def send(call: Http, endpoint: Endpoint, stage: Stage, fields: Json, **options: Any) -> Answer:
    """The request with these fields, wherever the endpoint takes them."""
    path, rest = split(endpoint, fields)
    options.setdefault("token", token_for(endpoint, stage))
    if endpoint.route.takes_body:
        return await call(endpoint.method, path, rest, **options)
    return await call(endpoint.method, f"{path}?{urlencode(rest, doseq=True)}", **options)


def check(answer: Answer, endpoint: Endpoint, *codes: str) -> None:
    assert answer.code in codes, answer.body
    assert set(answer.body) == {"error"}
    check_error(answer.body["error"], endpoint.all_errors, answer.code)
    assert answer.status == ERRORS[answer.code].status
    check_headers(answer)


def check_headers(answer: Answer) -> None:
    assert answer.headers["X-Request-Id"]
    assert float(answer.headers["X-Process-Time"]) >= 0
    assert answer.headers["Content-Type"].startswith("application/json")
    if "error" in answer.body:
        assert answer.body["error"]["request_id"] == answer.headers["X-Request-Id"]
