"""The deals of a negotiation, as offers: who submits one creates it, who accepts, rejects or walks away answers it.

The three goods have prices. A proposal says who gets what; the offer sells the other one their share, or, where they
get nothing, buys the proposer theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bench.clients import Json, Person, Rest

PRICES = {"Food": 500, "Water": 300, "Firewood": 400}
CURRENCY = "USD"
# Nobody in the data deals in more than three of each good at once, and few deal often.
CREDIT = 1_000_000


class Step(NamedTuple):
    """A step that an offer took."""

    offer: Json
    again: bool

    @property
    def key(self) -> tuple[str, int]:
        return self.offer["id"], self.offer["version"]


@dataclass
class Deals:
    """One dialogue's. `states` are what its offers must have come to, by id."""

    people: tuple[Person, Person]
    conversation_id: str
    settlement: str = "none"
    states: dict[str, str] = field(default_factory=dict)
    _open: tuple[int, Json] | None = None  # who proposed it, and the offer

    async def act(self, by: int, action: str, deal: Json | None, client_id: str) -> Step | None:
        """Takes the step; None if there is no offer that it could be about, and it is only something said."""
        if action == "Submit-Deal":
            assert deal is not None
            data = await self.people[by].call("offer:create", self._proposal(by, deal, client_id), "/offers")
            self._open = by, data["offer"]
        elif self._open is None:
            return None
        else:
            proposer, offer = self._open
            answer = {"Accept-Deal": "accept", "Reject-Deal": "decline"}.get(action, "decline")
            if proposer == by:
                answer = "withdraw"
            payload = {"offer_id": offer["id"], "version": offer["version"], "client_id": client_id, "action": answer}
            data = await self.people[by].call("offer:respond", payload, "/offers")
            self._open = None
        self.states[data["offer"]["id"]] = data["offer"]["status"]
        return Step(data["offer"], data.get("duplicate", False))

    def _proposal(self, by: int, deal: Json, client_id: str) -> Json:
        sells = any(deal["other_gets"].values())
        share = deal["other_gets"] if sells else deal["proposer_gets"]
        return {
            "conversation_id": self.conversation_id, "client_id": client_id, "side": "sell" if sells else "buy",
            "to_user_id": self.people[1 - by].account.id, "settlement": self.settlement, "items": items(share),
        }  # fmt: skip

    async def wrong(self) -> int:
        """How many of its offers are not what they must be, or are not there."""
        stored: dict[str, Any] = {}
        for person in self.people:
            query = {"conversation_id": self.conversation_id, "limit": 200}
            listed = (await person.call("offer:list", query, "/offers"))["items"]
            stored = {offer["id"]: (offer["status"], offer["hold_id"] is not None) for offer in listed}
            expected = {
                offer_id: (status, status == "accepted" and self.settlement == "credit")
                for offer_id, status in self.states.items()
            }
            if stored != expected:
                return len(set(stored.items()) ^ set(expected.items()))
        return 0


def items(share: dict[str, int]) -> list[Json]:
    return [
        {"title": good, "quantity": count, "unit_price": {"amount": PRICES[good], "currency": CURRENCY}}
        for good, count in sorted(share.items())
        if count
    ]


async def give_credit(rest: Rest, token: str, people: Sequence[Person]) -> None:
    """`token`: an administrator's."""
    for person in people:
        path = f"/api/v1/admin/users/{person.account.id}/credit-limit"
        body = {"amount": CREDIT, "currency": CURRENCY, "reason": "to play negotiations"}
        await rest.request("PUT", path, body, token)
