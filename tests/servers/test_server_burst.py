"""The sample servers behind a real platform: a burst is answered whole, and a misspelt argument is refused."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.platforms import up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

AT_ONCE = 64
BY = ("revenue", "units", "orders")


async def burst(url: str, token: str, tool: str, arguments: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All calls at the same time, each on a connection of its own."""
    headers = {"Authorization": f"Bearer {token}"}
    limits = httpx2.Limits(max_connections=len(arguments))
    async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=60, limits=limits) as client:
        calls = [client.post("/api/platform/call", json={"tool": tool, "arguments": a}) for a in arguments]
        return [answer.json() for answer in await asyncio.gather(*calls)]


def found(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return list(answer["result"]["structuredContent"]["products"])


async def test_sixty_four_heavy_calls_at_once_are_all_answered(tmp_path: Path) -> None:
    # no two alike, so that none is answered from a cache
    asked = [{"by": BY[n % 3], "limit": n + 1} for n in range(AT_ONCE)]
    with up(tmp_path / "home", "--servers", "products") as (running, _):
        answers = await burst(running.url, running.token, "products.top_products", asked)
        again = await burst(running.url, running.token, "products.top_products", [{}] * AT_ONCE)
    assert [a for a in answers + again if a["kind"] != "ok"] == []
    longest = {by: max((found(a) for q, a in zip(asked, answers, strict=True) if q["by"] == by), key=len) for by in BY}
    for question, answer in zip(asked, answers, strict=True):
        assert found(answer) == longest[question["by"]][: question["limit"]], "an answer of another question"


async def test_a_misspelt_argument_is_refused_with_the_right_one(tmp_path: Path) -> None:
    with up(tmp_path / "home", "--servers", "crm") as (running, _):
        (refused,) = await burst(running.url, running.token, "crm.search_customers", [{"quer": "smith"}])
        (right,) = await burst(running.url, running.token, "crm.search_customers", [{"query": "smith"}])
    assert refused["kind"] == "invalid"
    assert "Did you mean 'query'?" in str(refused)
    assert right["kind"] == "ok"
