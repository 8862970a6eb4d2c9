"""Security events: stable names, bounded lines, exact counts."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest

from ops import audit
from ops.metrics import SECURITY_EVENTS
from tests.clock import Clock
from tests.support import ROOT


def lines(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    return [vars(record) for record in caplog.records if record.name == "parley.security" and record.msg == event]


def test_an_event_is_a_line_with_its_particulars(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "parley.security")
    audit.record("account_enabled", user_id="u_1", by="u_2", reason=None)
    (line,) = lines(caplog, "account_enabled")
    assert (line["event"], line["user_id"], line["by"]) == ("account_enabled", "u_1", "u_2")
    assert "reason" not in line


def test_many_of_one_kind_are_counted_and_not_all_written(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "parley.security")
    clock = Clock()
    monkeypatch.setattr(audit, "monotonic", lambda: 1_000.0 + clock.ahead_s)
    monkeypatch.setitem(audit._lines, "login_failed", audit._Lines())
    before = SECURITY_EVENTS.labels("login_failed")._value.get()
    for _ in range(1_000):
        audit.record("login_failed", ip="10.0.0.1")
    assert SECURITY_EVENTS.labels("login_failed")._value.get() == before + 1_000
    assert len(lines(caplog, "login_failed")) == audit.LINES_BURST
    clock.move(1)
    audit.record("login_failed", ip="10.0.0.1")
    assert lines(caplog, "login_failed")[-1]["left_out"] == 1_000 - audit.LINES_BURST


def test_a_name_that_is_not_declared_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        audit.record("login_fialed")


def test_the_documented_names_are_the_declared_ones() -> None:
    text = (ROOT / "docs/security.md").read_text()
    table = text.partition("## Events")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.MULTILINE))
    assert rows == audit.EVENTS
