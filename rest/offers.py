"""/api/v1/offers: the mirrors of the socket commands."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from contract import offers as contract
from contract import rules as rules_contract
from contract.registry import Command
from models.context import Context
from models.offers.actions import Offers
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
