"""The rules are asked about every tool when a caller lists for the first time; nobody else waits for that."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from tests.gateway.conftest import Browser, House
from workbench.events import Caller, Tool


@pytest.mark.parametrize("modern", [True, False])
async def test_a_call_is_answered_while_somebody_lists_for_the_first_time(
    house: House, monkeypatch: pytest.MonkeyPatch, modern: bool
) -> None:
    judging, called = threading.Event(), threading.Event()
    visible = house.gateway.policy.visible

    def slowly(caller: Caller, tool: Tool) -> bool:
        judging.set()
        assert called.wait(20), "the call was not answered meanwhile"
        return visible(caller, tool)

    monkeypatch.setattr(house.gateway.policy, "visible", slowly)
    listing = asyncio.create_task(ask(Browser(house), modern))
    await asyncio.to_thread(judging.wait, 20)
    answer = await Browser(house).modern("tools/call", {"name": "calc.add", "arguments": {"a": 1, "b": 2}})
    called.set()
    assert answer.json["result"]["structuredContent"] == {"total": 3}
    assert "calc__add" in {tool["name"] for tool in (await listing).json["result"]["tools"]}


async def ask(browser: Browser, modern: bool) -> Any:
    return await (browser.modern("tools/list") if modern else browser.legacy("tools/list"))
