"""A seller's rules: to make, to change, and to ask what they say of an offer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from contract import rules as contract
from contract.errors import ParleyError, invalid
from contract.types import Empty
from models.context import Actions, Context, now
from models.rules.decision import Decision, decide
from models.rules.document import rule_id, to_rule
from models.rules.store import RuleStore
from models.users.actions import Users
from ops import audit
from storage.mongo import Database, Document, Transaction


class Rules:
    def __init__(self, store: RuleStore, users: Users, database: Database) -> None:
        self._store = store
        self._users = users
        self._database = database

    def actions(self) -> Actions:
        return {
            contract.RULES: self.list_mine,
            contract.SET_RULE: self.put,
            contract.DELETE_RULE: self.delete,
            contract.REMOVE_RULE: self.delete_existing,
        }

    async def list_mine(self, context: Context, payload: Empty) -> contract.RuleList:
        return contract.RuleList(items=[to_rule(rule) for rule in await self._store.of_seller(context.user_id)])

    async def put(self, context: Context, payload: contract.SetRule) -> contract.RuleData:
        _check(payload)
        at, identifier = now(), rule_id(context.user_id, payload.currency, payload.sku, payload.title)
        fields: dict[str, Any] = msgspec.to_builtins(payload)

        async def work(tx: Transaction) -> Document:
            rules = {rule["_id"]: rule for rule in await self._store.of_seller(context.user_id, tx)}
            if identifier not in rules and len(rules) >= contract.RULES_MAX:
                raise ParleyError("conflict", f"A seller has at most {contract.RULES_MAX} rules.")
            created_at = rules[identifier]["created_at"] if identifier in rules else at
            rule = {
                "_id": identifier, "seller_id": context.user_id, **fields, "created_at": created_at, "updated_at": at,
            }  # fmt: skip
            await self._store.put(rule, tx)
            return rule

        rule = await self._database.transact(work)
        audit.record("rule_changed", user_id=context.user_id, rule_id=identifier)
        return contract.RuleData(rule=to_rule(rule))

    async def delete(self, context: Context, payload: contract.RuleTarget) -> Empty:
        """Again does no harm: a client that lost the answer may ask again."""
        await self._delete(context, payload)
        return Empty()

    async def delete_existing(self, context: Context, payload: contract.RuleTarget) -> None:
        """The same for REST, which says so if there was nothing."""
        if not await self._delete(context, payload):
            raise ParleyError("not_found", "You have no such rule.")

    async def _delete(self, context: Context, payload: contract.RuleTarget) -> bool:
        deleted = await self._store.delete(context.user_id, payload.rule_id)
        if deleted:
            audit.record("rule_changed", user_id=context.user_id, rule_id=payload.rule_id)
        return deleted

    # For offers

    async def has_any(self, seller_id: str, tx: Transaction) -> bool:
        return await self._store.any_enabled(seller_id, tx)

    async def decide(self, offer: Document) -> Sequence[Decision]:
        """What the seller's rules say of the offer, see `models.rules.decision`; nothing, if the account is closed."""
        if await self._users.disabled_among([offer["seller_id"]]):
            return []
        return decide(offer, await self._store.of_seller(offer["seller_id"]))


def _check(payload: contract.SetRule) -> None:
    if payload.quantity_min > payload.quantity_max:
        raise invalid("quantity_min", "is above quantity_max")
    low = payload.decline_below
    if low is not None and low > payload.accept_at:
        raise invalid("decline_below", "is above accept_at: such an offer would be both accepted and declined")
    if payload.counter is not None:
        if payload.counter.floor < payload.accept_at:
            raise invalid("counter.floor", "is below accept_at: the rule would ask for less than it accepts")
        if payload.counter.ask < payload.counter.floor:
            raise invalid("counter.ask", "is below counter.floor")
        if (payload.counter.kind == "step") != (payload.counter.step is not None):
            raise invalid("counter.step", "belongs to the kind step, and is needed there")
