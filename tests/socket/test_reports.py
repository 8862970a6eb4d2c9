"""Summaries, exports, and the limits that administrators set by them."""

from __future__ import annotations

import csv
import io

from tests.socket.test_finance import Desk
from tests.socket.test_offers import FINANCE, item, refused

from .test_finance import desk as desk

DAY = "2026-01-01T00:00:00.000Z"


async def test_a_summary_by_period_and_by_counterparty(desk: Desk) -> None:
    await desk.correct("refund", "r1", amount=100)
    payment = (await desk.pay(300))["payment"]
    await desk.confirm(payment["id"])
    await desk.step(desk.ben, await desk.offer(items=[item(10, 1)]), "accept")  # held, not posted
    summary = await desk.ben.call("finance:summary", {"by": "day"}, FINANCE)
    (day,) = summary["periods"]
    assert (day["debits"], day["credits"], day["transfers"]) == (1000, 400, 3)
    others = {line["key"]: (line["debits"], line["credits"]) for line in summary["counterparties"]}
    assert others == {desk.ada.account.id: (1000, 100), "provider.console": (0, 300)}
    assert summary["complete"] is True
    adas = await desk.ada.call("finance:summary", {"by": "month", "purpose": "receivable"}, FINANCE)
    assert [(line["debits"], line["credits"]) for line in adas["periods"]] == [(100, 1000)]
    assert adas["periods"][0]["key"].endswith("-01")
    past = await desk.ben.call("finance:summary", {"from": DAY, "to": "2026-02-01T00:00:00.000Z"}, FINANCE)
    assert past["periods"] == []
    await refused("validation_failed", desk.ben.call("finance:summary", {"from": DAY, "to": DAY}, FINANCE))
    await refused("validation_failed", desk.ben.call("finance:summary", {"from": "2020-01-01T00:00:00.000Z"}, FINANCE))


async def test_a_statement_as_csv(desk: Desk) -> None:
    for number, reason in enumerate(("=1", "Zoë\n＝1; =1", "for 山田さん, thanks"), 1):
        await desk.correct("refund", f"r{number}", amount=100, reason=reason)
    token = desk.ben.account.access_token
    async with desk.call._session.get(
        f"{desk.ben._rest.url}/api/v1/finance/statement.csv?currency=USD", headers={"Authorization": f"Bearer {token}"}
    ) as response:
        assert (response.content_type, response.charset) == ("text/csv", "utf-8")
        assert "statement-USD.csv" in response.headers["Content-Disposition"]
        content = await response.read()
    assert content.startswith("\ufeff".encode()), "Excel reads it in the computer's own code page"
    lines = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    assert [line["note"] for line in lines[:3]] == ["for 山田さん, thanks", "Zoë\n'＝1;' =1", "'=1"]
    assert [(line["side"], line["kind"], line["amount"], line["owed"], line["held"]) for line in lines] == [
        ("credit", "single", "100", "700", "0"), ("credit", "single", "100", "800", "0"),
        ("credit", "single", "100", "900", "0"), ("debit", "post", "1000", "1000", "0"),
        ("debit", "pending", "1000", "0", "1000"),
    ]  # fmt: skip
    assert lines[0]["counterparty"] == desk.ada.account.id


async def test_limits_by_risk_and_their_trail(desk: Desk) -> None:
    path = f"/api/v1/admin/users/{desk.ben.account.id}"
    for place in ("/risk", "/credit-limit"):
        assert (await desk.call("GET", path + place, token=desk.ben.account.access_token)).code == "forbidden"
        assert (await desk.call("GET", path.replace("u_", "u_0") + place, token=desk.admin)).code == "not_found"
    payment = (await desk.pay(1_000))["payment"]
    await desk.confirm(payment["id"])
    risk = (await desk.call("GET", f"{path}/risk", token=desk.admin)).body
    assert (risk["score"], risk["suggested_limit"]) == (100, 2_000)
    assert [factor["name"] for factor in risk["factors"]] == ["utilisation", "lateness", "disputes"]
    stale = await desk.call("POST", f"{path}/risk/apply", {"suggested_limit": 1}, token=desk.admin)
    assert stale.code == "conflict"
    applied = await desk.call("POST", f"{path}/risk/apply", {"suggested_limit": 2_000}, token=desk.admin)
    assert (applied.status, applied.body["credit_limit"]) == (200, 2_000)
    trail = (await desk.call("GET", f"{path}/credit-limit", token=desk.admin)).body
    assert [(change["before"], change["after"]) for change in trail["changes"]] == [(1_500, 2_000), (0, 1_500)]
    assert trail["changes"][0]["reason"] == "risk score 100 (utilisation -0, lateness -0, disputes -0)"
    assert trail["account"]["credit_limit"] == 2_000
