"""State + events == refetch: a client that applies what it is told has what it would get by asking again.

Two or three people write, edit, react, read, rename, add, remove, drop off and come back in any order, partly at the
same moment. Each device keeps a mirror with nothing but acknowledgements, events and, after a drop, one `chat:sync`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, note
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from bench.clients import Account, Person, Rest
from settings import Settings
from tests.properties.test_reducer import Mirror
from tests.support import PASSWORD, PATIENCE_S, SECRET, serving

EVENTS = ("chat:message", "chat:message_updated", "chat:receipt", "chat:conversation")
NAMES = ("Ada", "Ben", "Cleo")
Json = dict[str, Any]
Operation = tuple[str, int, int]  # what, who, and a number that chooses among what there is


class Device:
    """A person's one connection, and the mirror that lives on while it is away."""

    def __init__(self, rest: Rest, account: Account) -> None:
        self._rest = rest
        self.account = account
        self.mirror = Mirror(account.id)
        self.person: Person | None = None
        self._counter = 0

    async def connect(self) -> None:
        """Comes back as a good client does: first the connection, which brings events, then what was missed."""
        self.person = Person(self._rest, self.account)
        for event in EVENTS:
            self.person.on(event, lambda payload, event=event: self.mirror.hear(event, payload))  # type: ignore[misc]
        await self.person.connect()
        more = True
        while more:
            page = await self.call("chat:sync", self.mirror.sync_request(), apply=True)
            more = page["more"] or any(entry["has_more"] for entry in page["conversations"])

    async def drop(self) -> None:
        assert self.person is not None
        person, self.person = self.person, None
        await person.close()

    async def call(self, command: str, payload: Json, apply: bool = False) -> Json:
        """The data of the acknowledgement, which the mirror has applied in the order of the wire, before this returns.

        A refusal is {}: with everyone acting at once some come too late.
        """
        assert self.person is not None
        answered: asyncio.Future[Json] = asyncio.get_running_loop().create_future()

        def answer(given: Json) -> None:
            if given["ok"] and apply:
                self.mirror.learn(command, given["data"])
            answered.set_result(given)

        await self.person._socket.emit(command, payload, namespace="/chat", callback=answer)
        given = await asyncio.wait_for(answered, PATIENCE_S)
        if given["ok"]:
            data: Json = given["data"]
            return data
        late = {"not_a_participant", "forbidden", "message_deleted", "conflict", "not_found"}
        if "pinned_message_ids" in payload:
            late.add("validation_failed")  # a deleted message cannot be pinned
        assert given["error"]["code"] in late
        return {}

    def client_id(self) -> str:
        self._counter += 1
        return f"{self.account.id}-{self._counter}"


class Play:
    """One conversation of the people, and the operations on it."""

    def __init__(self, devices: list[Device]) -> None:
        self.devices = devices
        self.id = ""

    async def begin(self) -> None:
        """Of three the last is not in it yet."""
        await asyncio.gather(*[device.connect() for device in self.devices])
        others = [device.account.id for device in self.devices[1:2]]
        payload = {"type": "group", "participant_ids": others, "title": "start", "client_id": secrets.token_hex(6)}
        self.id = (await self.devices[0].call("chat:create", payload, apply=True))["conversation"]["id"]

    async def do(self, step: list[Operation]) -> None:
        """All of a step at the same moment; a device does one thing at a time."""
        by_device: dict[Device, Operation] = {}
        for operation in step:
            by_device.setdefault(self._actor(operation), operation)
        await asyncio.gather(*[self._one(device, operation) for device, operation in by_device.items()])

    def _actor(self, operation: Operation) -> Device:
        """Whoever is able to, if there is anyone: most of what absent people try is nothing."""
        able = [device for device in self.devices if device.person and self.id in device.mirror.conversations]
        among = self.devices if operation[0] == "drop or return" or not able else able
        return among[operation[1] % len(among)]

    async def _one(self, device: Device, operation: Operation) -> None:
        what, _, choice = operation
        if what == "drop or return":
            await (device.connect() if device.person is None else device.drop())
        elif device.person is not None and (command := self._command(what, device, choice)):
            await device.call(*command, apply=True)

    def _command(self, what: str, device: Device, choice: int) -> tuple[str, Json] | None:
        """None where there is nothing it could be done to."""
        place: Json = {"conversation_id": self.id}
        seqs = sorted(device.mirror.messages.get(self.id, {}))
        message_id = f"{self.id}.{seqs[choice % len(seqs)]}" if seqs else None
        if what == "send":
            return "chat:send", place | {"client_id": device.client_id(), "text": f"message {choice}"}
        if what in ("delivered", "read"):
            return f"chat:{what}", place | {"seq": choice}
        if what == "title":
            return "chat:update", place | {"title": f"title {choice}"}
        if what == "mute":
            return "chat:update", place | {"muted": bool(choice % 2)}
        present = device.mirror.conversations.get(self.id, {"participants": []})["participants"]
        within = [participant["user_id"] for participant in present]
        if what == "leave":
            return ("chat:members", place | {"remove": [device.account.id]}) if len(within) > 1 else None
        if what == "add or remove":
            others = [other.account.id for other in self.devices if other is not device]
            other = others[choice % len(others)]
            return "chat:members", place | {"remove" if other in within else "add": [other]}
        if message_id is None:
            return None
        commands: dict[str, tuple[str, Json]] = {
            "edit": ("chat:edit", {"message_id": message_id, "text": f"edited {choice}"}),
            "delete": ("chat:delete", {"message_id": message_id}),
            "react": ("chat:react", {"message_id": message_id, "emoji": "👍🎉"[choice % 2], "on": choice % 3 > 0}),
            "pin": ("chat:update", place | {"pinned_message_ids": [message_id]}),
        }
        return commands[what]

    async def check(self) -> None:
        for device in self.devices:
            if device.person is None:
                await device.connect()
        for device in self.devices:
            await device.call("chat:list", {})  # after its acknowledgement all that was told before has arrived
        for device in self.devices:
            listed = {item["id"]: item for item in (await device.call("chat:list", {"limit": 200}))["items"]}
            name = device.account.user["name"]
            assert device.mirror.conversations == listed, f"{name}'s conversations"
            for conversation_id in listed:
                place = {"conversation_id": conversation_id, "after_seq": 0, "limit": 200}
                stored = (await device.call("chat:history", place))["messages"]
                held = device.mirror.messages.get(conversation_id, {})
                assert [held[seq] for seq in sorted(held)] == stored, f"{name}'s messages"
            assert device.mirror.messages.keys() <= listed.keys(), f"{name} keeps messages of what they left"


async def play(url: str, people: int, steps: list[list[Operation]]) -> None:
    rest = Rest(url)
    devices: list[Device] = []
    try:
        for name in NAMES[:people]:
            email = f"{name.lower()}.{secrets.token_hex(6)}@example.test"
            devices.append(Device(rest, await rest.register(email, PASSWORD, name)))
        show = Play(devices)
        await show.begin()
        for step in steps:
            step = [operation for operation in step if operation[0] != "nothing"]
            if step:
                note(f"at once: {step}")
            await show.do(step)
        await show.check()
    finally:
        for device in devices:
            if device.person is not None:
                await device.drop()
        await rest.__aexit__()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, mongo_url: str) -> Iterator[tuple[asyncio.Runner, str]]:
    """A server for all examples, on a loop that each example runs on too."""
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("mirror"), mongo_db=f"t_{secrets.token_hex(6)}", jwt_secret=SECRET,
        rate_limit_scale=0, bcrypt_rounds=4,
    )  # fmt: skip
    with asyncio.Runner() as runner:
        server = serving(settings, mongo_url)
        _, url = runner.run(server.__aenter__())
        yield runner, url
        runner.run(server.__aexit__(None, None, None))


WHAT = (
    "nothing", "send", "send", "send", "send", "edit", "edit", "delete", "react", "react", "delivered", "read",
    "read", "title", "mute", "pin", "add or remove", "add or remove", "leave", "drop or return",
)  # fmt: skip
OPERATION = st.tuples(st.sampled_from(WHAT), st.integers(0, 2), st.integers(0, 12))


def steps(at_once: int) -> st.SearchStrategy[list[list[Operation]]]:
    """Of up to so many operations at the same moment. Always many: Hypothesis by itself prefers short plays."""
    return st.lists(st.lists(OPERATION, min_size=1, max_size=at_once), min_size=40, max_size=60)


MODEST = hypothesis_settings(
    max_examples=25, deadline=None, print_blob=True,
    suppress_health_check=[HealthCheck.too_slow], phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
)  # fmt: skip


@MODEST
@given(people=st.integers(2, 3), script=steps(at_once=1))
def test_one_after_the_other(stage: tuple[asyncio.Runner, str], people: int, script: list[list[Operation]]) -> None:
    runner, url = stage
    runner.run(play(url, people, script))


@MODEST
@given(people=st.integers(2, 3), script=steps(at_once=3))
def test_at_the_same_moment(stage: tuple[asyncio.Runner, str], people: int, script: list[list[Operation]]) -> None:
    runner, url = stage
    runner.run(play(url, people, script))
