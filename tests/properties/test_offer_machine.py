"""Random steps on offers, many at once, on two servers: one step a version, and money and messages go with it.

A round is a handful of commands that run concurrently. Afterwards the offers, the messages and the ledger must tell the
same story as the answers did. That the machine finds what it is for is shown by planted bugs.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.errors import FlakyFailure
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from contract import chat
from contract import offers as contract
from contract.errors import ParleyError
from contract.identity import Register
from models.context import Context
from models.ledger.store import LedgerStore
from models.ledger.verify import verify
from models.offers.machine import STEPS
from models.offers.proof import check_holds
from models.offers.store import OfferStore
from server import Server
from settings import Settings
from storage.mongo import Document
from tests.properties.test_ledger_machine import EXAMPLES
from tests.support import PASSWORD, SECRET, serving

DECLARED = {
    "offer_version_stale", "offer_closed", "offer_not_your_turn", "offer_expired", "credit_limit_exceeded",
    "amount_exceeded", "forbidden",
}  # fmt: skip
NEXT = {(step.state, step.action): step.next for step in STEPS}
LIMIT = 1_000
SLACK_S = 15.0  # a step may wait for others between the moment its expiry is reckoned from and its own
COMMAND = st.tuples(
    st.sampled_from(["create", "accept", "accept", "decline", "counter", "counter", "withdraw", "fulfil", "cancel"]),
    st.integers(0, 1),  # on which server
    st.integers(0, 1),  # by whom
    st.integers(0, 3),  # which offer, from the last
    st.integers(0, 5),  # 0: names the version before
    st.integers(1, 400),  # the price
    st.sampled_from([None, None, 600, 7_200]),  # for how long, where that is named
)


@dataclass
class Done:
    """A step that was acknowledged as done."""

    named: int
    expires_in_s: int | None
    offer: contract.Offer


class Table:
    """Two servers of one deployment, on a loop that lives for all examples."""

    def __init__(self, runner: asyncio.Runner, url: str, redis_url: str, root: Path) -> None:
        self.runner = runner
        self.stack = AsyncExitStack()
        self.servers: list[Server] = runner.run(self._open(url, redis_url, root))

    async def _open(self, url: str, redis_url: str, root: Path) -> list[Server]:
        name = f"t_{secrets.token_hex(6)}"
        one = Settings(data_dir=root, mongo_db=name, jwt_secret=SECRET, redis_url=redis_url, bcrypt_rounds=4)
        return [(await self.stack.enter_async_context(serving(one, url)))[0] for _ in range(2)]

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)


class OfferMachine(RuleBasedStateMachine):
    table: Table

    @initialize()
    def open(self) -> None:
        self.numbers = itertools.count()
        self.versions: dict[str, int] = {}
        self.done: list[Done] = []
        self.table.run(self._open())

    async def _open(self) -> None:
        domain = self.table.servers[0].domain
        self.people = []
        for _ in range(2):
            email = f"{secrets.token_hex(8)}@example.test"
            user = await domain.users.create(Register(email=email, password=PASSWORD, name="A"), "user")
            self.people.append(Context(user.id, "s_1", "user", "r"))
            await domain.ledger.set_limit(user.id, "USD", LIMIT, "admin", "the beginning")
        made = chat.Create(type="direct", participant_ids=[self.people[1].user_id], client_id="c")
        self.conversation_id = (await domain.chat.membership.create(self.people[0], made)).conversation.id

    @rule(commands=st.lists(COMMAND, min_size=1, max_size=8))
    def together(self, commands: list[tuple[Any, int, int, int, int, int, int | None]]) -> None:
        self.table.run(self._together(commands))

    async def _together(self, commands: list[tuple[Any, int, int, int, int, int, int | None]]) -> None:
        works = [self._command(*command) for command in commands]
        answers = await asyncio.gather(*works)
        for answer in answers:
            if answer is not None:
                self.done.append(answer)
                self.versions[answer.offer.id] = max(answer.offer.version, self.versions.get(answer.offer.id, 0))

    async def _command(
        self, action: Any, server: int, by: int, back: int, early: int, price: int, expires_in_s: int | None
    ) -> Done | None:
        offers, context = self.table.servers[server].domain.offers, self.people[by]
        items = [{"title": "Water", "quantity": 1, "unit_price": {"amount": price, "currency": "USD"}}]
        fields: dict[str, Any] = {"client_id": f"{next(self.numbers)}"}
        lasting = {} if expires_in_s is None else {"expires_in_s": expires_in_s}
        work: Any
        named = 0
        if action == "create" or not self.versions:
            fields |= {"conversation_id": self.conversation_id, "items": items, "settlement": "credit", "side": "buy"}
            fields |= lasting
            work = offers.create(context, msgspec.convert(fields, contract.CreateOffer))
        else:
            offer_id, version = list(self.versions.items())[-1 - back % len(self.versions)]
            named = max(1, version - (early == 0))
            fields |= {"offer_id": offer_id, "version": named}
            if action == "fulfil":
                work = offers.fulfil(context, msgspec.convert(fields | {"amount": price}, contract.FulfilOffer))
            elif action == "cancel":
                work = offers.cancel(context, msgspec.convert(fields, contract.CancelOffer))
            else:
                fields |= {"action": action} | ({"items": items, **lasting} if action == "counter" else {})
                work = offers.respond(context, msgspec.convert(fields, contract.RespondOffer))
        try:
            return Done(named, expires_in_s, (await work).offer)
        except ParleyError as error:
            if error.code not in DECLARED:
                raise
            return None

    @invariant()
    def all_tell_one_story(self) -> None:
        if hasattr(self, "people"):
            self.table.run(self._check())

    async def _check(self) -> None:
        server = self.table.servers[0]
        stored = await self._stored(server)
        steps = {(offer["_id"], step["version"]): step for offer in stored for step in offer["history"]}
        acknowledged = [(done.offer.id, done.offer.version) for done in self.done]
        assert sorted(acknowledged) == sorted(steps), "one step a version, each of them acknowledged"
        for done in self.done:
            assert done.offer.version == done.named + 1, "a step that named another version"
            self._check_expiry(done, steps)
        for offer in stored:
            state = "pending"
            for step in offer["history"][1:]:
                state = NEXT[state, step["action"]]  # type: ignore[index]
            assert state == offer["status"]
        place = chat.History(conversation_id=self.conversation_id, after_seq=0, limit=200)
        messages = (await server.domain.chat.reading.history(self.people[0], place)).messages
        told = [message.offer for message in messages]
        assert [message.seq for message in messages] == list(range(1, len(messages) + 1))
        assert sorted((one.offer_id, one.version) for one in told if one) == sorted(steps)
        await self._check_money(server)

    @staticmethod
    def _check_expiry(done: Done, steps: dict[tuple[str, int], Document]) -> None:
        """It lasts as long as the step said; one that said nothing, or cannot, leaves the expiry as it was."""
        step = steps[done.offer.id, done.offer.version]
        if step["action"] == "create" or (step["action"] == "counter" and done.expires_in_s is not None):
            named_s = done.expires_in_s or contract.EXPIRES_IN_DEFAULT_S
            assert abs((step["expires_at"] - step["at"]).total_seconds() - named_s) < SLACK_S
        else:
            assert step["expires_at"] == steps[done.offer.id, done.offer.version - 1]["expires_at"]

    async def _stored(self, server: Server) -> list[Document]:
        query = {"conversation_id": self.conversation_id}
        found: list[Document] = await server.database.collection("offers").find(query).to_list(None)
        return found

    async def _check_money(self, server: Server) -> None:
        ids = [f"{person.user_id}:USD:{purpose}" for person in self.people for purpose in ("payable", "receivable")]
        report = await verify(LedgerStore(server.database), ids)
        store = OfferStore(server.database)
        mine = [offer["hold_id"] for offer in await self._stored(server) if offer["hold_id"]]
        problems = [one for one in await check_holds(store, report.holds) if any(hold in one for hold in mine)]
        assert report.problems + problems == []


@pytest.fixture(scope="module")
def table(mongo_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Table]:
    with asyncio.Runner() as runner:
        made = Table(runner, mongo_url, redis_url, tmp_path_factory.mktemp("offers"))
        yield made
        runner.run(made.stack.aclose())


def play(table: Table, examples: int, phases: Any = tuple(Phase)) -> None:
    run_state_machine_as_test(
        type("Machine", (OfferMachine,), {"table": table}),
        settings=settings(
            max_examples=examples, stateful_step_count=6, deadline=None, report_multiple_bugs=False, database=None,
            suppress_health_check=list(HealthCheck), print_blob=False, phases=phases,
        ),
    )  # fmt: skip


def test_no_interleaving_of_steps_breaks_an_invariant(table: Table) -> None:
    play(table, EXAMPLES // 2)


def _forgets_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    original = OfferStore.step

    async def step(self: OfferStore, document: Any, fields: Any, step: Any, session: Any) -> None:
        await original(self, document, {**fields, "status": "pending"}, step, session)

    monkeypatch.setattr(OfferStore, "step", step)


def test_a_planted_bug_is_found(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    _forgets_the_state(monkeypatch)
    with pytest.raises((AssertionError, FlakyFailure)):  # the same commands meet in another way when run again
        play(table, 60, [Phase.generate])
