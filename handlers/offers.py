"""/offers: every command is an action of the offers and rules nouns."""

from __future__ import annotations

from contract import offers as contract
from contract import rules as rules_contract
from handlers.gate import Gate
from handlers.personal import PersonalNamespace
from models.offers.actions import Offers
from models.rules.actions import Rules
from realtime.rooms import Rooms


class OffersNamespace(PersonalNamespace):
    name = "/offers"

    def __init__(self, gate: Gate, rooms: Rooms, offers: Offers, rules: Rules) -> None:
        super().__init__(gate, rooms)
        self.bind(contract.CREATE, offers.create)
        self.bind(contract.RESPOND, offers.respond)
        self.bind(contract.FULFIL, offers.fulfil)
        self.bind(contract.CANCEL, offers.cancel)
        self.bind(contract.GET, offers.get)
        self.bind(contract.LIST, offers.list_mine)
        self.bind(rules_contract.FIGURES, offers.figures)
        self.bind(rules_contract.RULES, rules.list_mine)
        self.bind(rules_contract.SET_RULE, rules.put)
        self.bind(rules_contract.DELETE_RULE, rules.delete)
