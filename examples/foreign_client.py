"""Use the gateway from another program: the official MCP client needs nothing but its URL and a token.

Frameworks that speak MCP over Streamable HTTP take the same two values.
"""

import asyncio
import tempfile

import httpx2
from gateway_process import gateway
from mcp import Client
from mcp.client.streamable_http import streamable_http_client


async def use(url: str, token: str) -> None:
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        print("tools:", sorted(tool.name for tool in (await client.list_tools()).tools)[:3])
        result = await client.call_tool("crm__search_customers", {"query": "john.smith@acme.com"})
        print("found:", result.structured_content)


with tempfile.TemporaryDirectory() as home, gateway(home, servers="crm") as (wb, running):
    asyncio.run(use(running.mcp_url, running.token))
    print("recorded:", wb.sql("select tool, outcome, source from tool_calls").to_dict("records"))
