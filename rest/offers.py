"""/api/v1/offers and /api/v1/finance: the mirrors of the socket commands, and what administrators do to credit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from contract import finance as finance_contract
from contract import offers as contract
from contract import rules as rules_contract
from contract.registry import Command
from models.context import Context
from models.finance.actions import Finance
from models.finance.corrections import Corrections
from models.offers.actions import Offers
from models.payments.actions import Payments
from models.rules.actions import Rules
from rest.endpoint import Rest

Action = Callable[[Context, Any], Awaitable[Any]]


def add_offers(rest: Rest, offers: Offers, rules: Rules) -> None:
    actions: dict[Command, Action] = {
        contract.LIST: offers.list_mine, contract.CREATE: offers.create, contract.GET: offers.get,
        contract.RESPOND: offers.respond, contract.FULFIL: offers.fulfil, contract.CANCEL: offers.cancel,
    }  # fmt: skip
    for endpoint in contract.MIRRORS:
        assert endpoint.command is not None
        rest.mirror(endpoint, actions[endpoint.command])
    rest.mirror(rules_contract.FIGURES_GET, offers.figures)
    rest.mirror(rules_contract.RULES_GET, rules.list_mine)
    rest.mirror(rules_contract.RULES_PUT, rules.put)
    rest.mirror(rules_contract.RULES_DELETE, rules.delete_existing)


def add_finance(rest: Rest, finance: Finance, payments: Payments, corrections: Corrections) -> None:
    rest.mirror(finance_contract.ACCOUNT_GET, finance.account)
    rest.mirror(finance_contract.STATEMENT_GET, finance.statement)
    rest.mirror(finance_contract.PAYMENTS_POST, payments.pay)
    rest.mirror(finance_contract.REFUNDS_POST, corrections.refund)
    rest.mirror(finance_contract.DISPUTES_POST, corrections.dispute)
    rest.mirror(finance_contract.CREDIT_LIMIT_PUT, finance.set_credit_limit)
    rest.mirror(finance_contract.PAYMENT_CONFIRM, payments.confirm_by_operator)
    rest.mirror(finance_contract.DISPUTE_RESOLVE, corrections.resolve)
