"""The sequencer's turns: what this process publishes itself waits for its place in the order."""

from __future__ import annotations

import asyncio

from realtime.ordering import Sequencer
from tests.models.sequenced import KEY, THERE, Client, run


def test_a_turn_waits_for_its_predecessor_and_the_next_waits_for_its_end() -> None:
    async def check() -> None:
        client = Client(Sequencer(THERE, hold_s=0.3))
        client.hear(1)

        async def publish() -> None:
            async with client.sequencer.turn(KEY, 3, settled=False):
                client.seen.append(3)
                await asyncio.sleep(0.1)  # on its way to the other processes
            client.seen.append(-3)  # the acknowledgement

        own = asyncio.ensure_future(publish())
        await asyncio.sleep(0.01)
        assert client.seen == [1]
        client.hear(2)
        await asyncio.sleep(0.01)
        client.hear(4)
        await own
        await asyncio.sleep(0.01)
        assert client.seen == [1, 2, 3, -3, 4]

    run(check())


def test_a_turn_that_is_cancelled_while_it_waits_stops_nobody() -> None:
    async def check() -> None:
        client = Client(Sequencer(THERE, hold_s=0.3))
        client.hear(1)

        async def publish() -> None:
            async with client.sequencer.turn(KEY, 3, settled=False):
                raise AssertionError("it was cancelled")

        own = asyncio.ensure_future(publish())
        await asyncio.sleep(0.01)
        own.cancel()
        client.hear(2)
        client.hear(4)
        await asyncio.sleep(1)
        assert client.seen == [1, 2, 4]

    run(check())
