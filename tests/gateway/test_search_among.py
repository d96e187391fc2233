"""A search finds what the caller may call, whether that is everything or a part."""

from __future__ import annotations

import pytest

from tests.gateway.conftest import House


@pytest.mark.parametrize("everything", [True, False])
async def test_a_search_finds_what_may_be_called_and_nothing_else(house: House, everything: bool) -> None:
    caller = house.caller("owner", scopes=("*",) if everything else ("calc:read",))
    mine = {tool.qualified for tool in house.gateway.tools(caller)}
    everyones = {tool.qualified for tool in house.registry.tools()}
    assert (mine == everyones) is everything
    found = {tool.qualified for tool, _ in house.gateway.search(caller, "add erase fail region numbers", 100)}
    assert "calc.add" in found
    assert found <= mine
    assert ("calc.erase" in found) is everything
