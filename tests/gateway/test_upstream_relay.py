"""Notifications from a channel that many calls share: in order, before the answer, and never at the cost of others."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from workbench.upstream.in_memory import MemoryConnection
from workbench.upstream.notification_relay import MAX_WAITING, NotificationRelay


class Client:
    """Takes notifications when it is told to."""

    def __init__(self) -> None:
        self.reads = asyncio.Event()
        self.got: list[Any] = []

    async def notify(self, message: Any) -> None:
        await self.reads.wait()
        self.got.append(message["n"])


async def test_of_too_much_the_oldest_is_dropped_and_the_order_stands() -> None:
    client = Client()
    relay = NotificationRelay(client.notify)
    text = "x" * (MAX_WAITING // 4)
    for n in range(8):
        relay.add({"n": n, "text": text})
        await asyncio.sleep(0)
    client.reads.set()
    async with asyncio.timeout(5):
        await relay.drained()
        await relay.drained()
    assert client.got == [0, 5, 6, 7]  # the first was on its way already
    relay.add({"n": 8})
    await relay.drained()
    assert client.got[-1] == 8


async def test_what_waits_for_a_request_that_is_over_is_dropped() -> None:
    client = Client()
    relay = NotificationRelay(client.notify)
    relay.add({"n": 0})
    await asyncio.sleep(0)
    relay.close()
    client.reads.set()
    await asyncio.sleep(0)
    assert client.got == []


async def test_a_fault_in_passing_on_is_told_to_the_request() -> None:
    async def broken(message: Any) -> None:
        raise ZeroDivisionError

    relay = NotificationRelay(broken)
    relay.add({"n": 0})
    with pytest.raises(ZeroDivisionError):
        await relay.drained()


async def test_a_client_that_does_not_read_keeps_nobody_else_waiting(calc: Any) -> None:
    connection = MemoryConnection(calc.mcp, name="calc")
    await connection.open()
    started, never = asyncio.Event(), asyncio.Event()

    async def stuck(message: Any) -> None:
        started.set()
        await never.wait()

    steps = connection.request("tools/call", {"name": "steps"}, timeout=30, notify=stuck, meta={"progressToken": 1})
    slow = asyncio.create_task(steps)
    async with asyncio.timeout(10):
        await started.wait()
        arguments = {"a": 1, "b": 2}
        answer = await connection.request("tools/call", {"name": "add", "arguments": arguments}, timeout=5)
        assert answer["structuredContent"] == {"total": 3}
        assert not slow.done()
        never.set()
        assert (await slow)["content"][0]["text"] == "done"
    await connection.close()
