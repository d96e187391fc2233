"""Every feature, for every kind of client, over every upstream transport: what the table in docs/protocol.md says."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import (
    CreateMessageResult,
    ElicitResult,
    ListRootsResult,
    PromptReference,
    Root,
    TextContent,
)

from tests.gateway.conftest import House, until
from tests.gateway.crossing_server import make
from tests.gateway.upstreams import UPSTREAMS, upstream

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
]

SERVER = Path(__file__).with_name("crossing_server.py")
DOCUMENT = Path(__file__).parents[2] / "docs" / "protocol.md"

CLIENTS = ("2026-07-28", "2025-11-25", "HTTP+SSE")


@pytest.fixture(params=UPSTREAMS)
async def house(request: Any, serve: Any, furnish: Any) -> AsyncIterator[House]:
    kind: str = request.param
    async with upstream(kind, serve, make, SERVER) as server:
        house: House = await furnish(servers={"x": server})
        state = house.registry.state("x")
        assert state is not None
        assert state.era == ("2026-07-28" if kind in ("HTTP, 2026", "stdio, 2026", "in-process") else "2025-11-25")
        yield house
        await house.registry.stop()


class Visitor:
    """A client of the SDK that can be asked everything."""

    def __init__(self) -> None:
        self.client: Any = None
        self.told: list[Any] = []
        self.asked: list[str] = []

    async def elicited(self, *_: Any) -> ElicitResult:
        self.asked.append("elicitation")
        return ElicitResult(action="accept", content={"name": "Ada"})

    async def sampled(self, *_: Any) -> CreateMessageResult:
        self.asked.append("sampling")
        return CreateMessageResult(role="assistant", content=TextContent(type="text", text="Paris"), model="m")

    async def roots(self, *_: Any) -> ListRootsResult:
        self.asked.append("roots")
        return ListRootsResult(roots=[Root(uri="file:///tmp")])

    async def logged(self, params: Any) -> None:
        self.told.append(params.data)

    async def progress(self, done: float, total: float | None, message: str | None) -> None:
        self.told.append(message)

    async def call(self, tool: str, **arguments: Any) -> Any:
        return await self.client.call_tool(f"x.{tool}", arguments, progress_callback=self.progress)

    async def text(self, tool: str) -> str:
        return str((await self.call(tool)).content[0].text)


@asynccontextmanager
async def visiting(house: House, base: str, kind: str) -> AsyncIterator[Visitor]:
    visitor = Visitor()
    headers = {"Authorization": f"Bearer {house.access.local_key()}"}
    more: dict[str, Any] = {
        "elicitation_callback": visitor.elicited, "sampling_callback": visitor.sampled,
        "list_roots_callback": visitor.roots, "logging_callback": visitor.logged,
    }  # fmt: skip
    more |= {"log_level": "info"} if kind == "2026-07-28" else {"mode": "legacy"}
    async with httpx2.AsyncClient(headers=headers) as http:
        if kind == "HTTP+SSE":
            transport: Any = sse_client(f"{base}/sse", headers=headers)
        else:
            transport = streamable_http_client(f"{base}/mcp", http_client=http)
        async with Client(transport, **more) as visitor.client:
            assert visitor.client.protocol_version == ("2025-11-25" if kind == "HTTP+SSE" else kind)
            yield visitor


# --- the features -----------------------------------------------------------------------------------

Feature = Callable[[Visitor], Awaitable[None]]


async def tools(visitor: Visitor) -> None:
    listed = await visitor.client.list_tools()
    (add,) = [tool for tool in listed.tools if tool.name == "x__add"]
    assert add.output_schema is not None
    assert (await visitor.call("add", a=1, b=2)).structured_content == {"total": 3}
    failed = await visitor.call("fail")
    assert failed.is_error
    assert failed.content[0].text.endswith("No such thing.")


async def progress(visitor: Visitor) -> None:
    assert await visitor.text("steps") == "done"
    assert visitor.told == ["half"]


async def logs(visitor: Visitor) -> None:
    assert await visitor.text("log") == "logged"
    await until(lambda: visitor.told == ["careful"], 5)


async def elicitation(visitor: Visitor) -> None:
    assert await visitor.text("greet") == "Hello Ada"
    assert visitor.asked == ["elicitation"]


async def sampling(visitor: Visitor) -> None:
    assert await visitor.text("think") == "Paris"
    assert visitor.asked == ["sampling"]


async def roots(visitor: Visitor) -> None:
    assert (await visitor.text("folders")).rstrip("/") == "file:///tmp"
    assert visitor.asked == ["roots"]


async def cancellation(visitor: Visitor) -> None:
    calling = asyncio.create_task(visitor.call("hang"))
    await until(lambda: visitor.told == ["begun"])
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    async with asyncio.timeout(10):
        while await visitor.text("cancellations") != "1":
            pass


async def resources(visitor: Visitor) -> None:
    assert [str(one.uri) for one in (await visitor.client.list_resources()).resources] == ["doc://one"]
    assert (await visitor.client.read_resource("doc://one")).contents[0].text == "first"
    templates = (await visitor.client.list_resource_templates()).resource_templates
    assert [one.uri_template for one in templates] == ["doc://{shelf}/{book}"]
    assert (await visitor.client.read_resource("doc://a/b")).contents[0].text == "a/b"


async def prompts(visitor: Visitor) -> None:
    assert [one.name for one in (await visitor.client.list_prompts()).prompts] == ["x__about"]
    found = await visitor.client.get_prompt("x__about", {"topic": "seas"})
    assert found.messages[0].content.text == "About seas"


async def completion(visitor: Visitor) -> None:
    found = await visitor.client.complete(PromptReference(name="x.about"), {"name": "topic", "value": "s"})
    assert found.completion.values == ["s!"]


FEATURES: dict[str, Feature] = {
    "tools, structured content, failures": tools,
    "progress": progress,
    "logs": logs,
    "elicitation (form)": elicitation,
    "sampling": sampling,
    "roots": roots,
    "cancellation": cancellation,
    "resources and templates": resources,
    "prompts": prompts,
    "completion": completion,
}


@pytest.mark.parametrize("kind", CLIENTS)
async def test_every_feature_crosses(house: House, serve: Any, kind: str) -> None:
    base = await serve(house.endpoint)
    failed = {}
    for name, feature in FEATURES.items():
        async with visiting(house, base, kind) as visitor:
            try:
                async with asyncio.timeout(15):
                    await feature(visitor)
            except Exception as e:  # noqa: BLE001 - all of them are told at once
                failed[name] = repr(e)
    assert failed == {}


def test_the_table_says_what_is_tested_here() -> None:
    rows = re.findall(
        r"^\| ([^|]+?) \| ([^|]+?) \| ([^|]+?) \| ([^|]+?) \|$", DOCUMENT.read_text("utf-8"), re.MULTILINE
    )
    at = next(n for n, row in enumerate(rows) if row[0] == "feature")
    assert rows[at][1:] == CLIENTS
    assert {row[0]: row[1:] for row in rows[at + 1 : at + 1 + len(FEATURES)]} == dict.fromkeys(FEATURES, ("all",) * 3)
