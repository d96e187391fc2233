"""A child for the stdio tests: `sdk` is a dual-era server, `older` the same before 2026-07-28, `old` knows little more
than the handshake, `rude` never answers."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from typing import Any

import anyio
import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage
from mcp_types import (
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    ErrorData,
    InputRequiredResult,
    JSONRPCError,
    SamplingMessage,
    TextContent,
)

FORM = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


def sdk() -> None:
    mcp = MCPServer("child", version="3")

    @mcp.tool()
    def echo(text: str) -> str:
        """Gives the text back."""
        return text

    @mcp.tool()
    async def steps(ctx: Context) -> str:
        """Reports progress."""
        await ctx.report_progress(1, 2, "half")
        return "done"

    @mcp.tool()
    async def hang() -> str:
        """Never answers."""
        print("hanging", flush=True)
        await asyncio.Event().wait()
        return ""

    @mcp.tool()
    async def greet(ctx: Context) -> str | InputRequiredResult:
        """Asks for a name, and logs."""
        await ctx.session.send_log_message("warning", "greeting")
        answer = (ctx.input_responses or {}).get("name")
        if isinstance(answer, ElicitResult):
            return f"Hello {(answer.content or {}).get('name', answer.action)}"
        ask = ElicitRequest(params=ElicitRequestFormParams(message="name?", requested_schema=FORM))
        return InputRequiredResult(input_requests={"name": ask})

    if "--http" not in sys.argv:
        mcp.run()
        return
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()  # a client that comes before the server does waits, and is not refused
    print(listening.getsockname()[1], flush=True)
    config = uvicorn.Config(mcp.streamable_http_app(), log_level="error")
    asyncio.run(uvicorn.Server(config).serve(sockets=[listening]))


def interactive(mcp: MCPServer) -> None:
    """Tools that ask as servers up to 2025-11-25 do, and log."""

    @mcp.tool()
    async def greet(ctx: Context, about: str = "") -> str:
        """Asks for a name."""
        answer = await ctx.session.elicit_form(f"name{about}?", FORM)
        return f"Hello {(answer.content or {}).get('name', answer.action)}{about}"

    @mcp.tool()
    async def visit(ctx: Context) -> str:
        """Asks to open a page."""
        return str((await ctx.session.elicit_url("open it", "https://example.org/", "e1")).action)

    @mcp.tool()
    async def think(ctx: Context) -> str:
        """Asks the client's model."""
        asked = [SamplingMessage(role="user", content=TextContent(type="text", text="capital of France?"))]
        answer = await ctx.session.create_message(asked, max_tokens=9)
        return str(answer.content.text)

    @mcp.tool()
    async def folders(ctx: Context) -> str:
        """Asks for the client's roots."""
        return " ".join(str(root.uri) for root in (await ctx.session.list_roots()).roots)

    @mcp.tool()
    async def log(ctx: Context, text: str = "line", hang: bool = False) -> str:
        """Logs at two levels."""
        await ctx.session.send_log_message("debug", f"little {text}")
        await ctx.session.send_log_message("warning", text)
        if hang:
            await asyncio.Event().wait()
        return "logged"


def older() -> None:
    """A server of the SDK that has not heard of 2026-07-28."""
    mcp = MCPServer("older")
    interactive(mcp)
    run_older(mcp)


def run_older(mcp: MCPServer) -> None:
    """Run a server over stdio so that it does not know what came after 2025-11-25."""
    server = vars(mcp)["_lowlevel_server"]

    async def run() -> None:
        async with stdio_server() as (read, write):
            sender, heard = anyio.create_memory_object_stream[Any](0)

            async def filtered() -> None:
                async with sender:
                    async for item in read:
                        message = getattr(item, "message", None)
                        if getattr(message, "method", "") == "server/discover":
                            error = ErrorData(code=-32601, message="Method not found")
                            refused = JSONRPCError(jsonrpc="2.0", id=message.id, error=error)
                            await write.send(SessionMessage(refused))
                        else:
                            await sender.send(item)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(filtered)
                await server.run(heard, write, server.create_initialization_options())
                tasks.cancel_scope.cancel()

    anyio.run(run)


def send(message: dict[str, Any]) -> None:
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def old() -> None:
    """2025-03-26: silent about everything before the handshake, serves one call at a time, tells what it was sent."""
    ready, heard = False, []
    for line in sys.stdin:
        message = json.loads(line)
        method, id = message.get("method"), message.get("id")
        if method == "initialize":
            print("a banner that does not belong here", flush=True)
            send(
                {"id": id, "result": {"protocolVersion": "2025-03-26", "capabilities": {}, "serverInfo": {"name": "o"}}}
            )
        elif method == "notifications/initialized":
            ready = True
            send({"id": "q", "method": "roots/list"})
            send({"method": "notifications/tools/list_changed"})
        elif not ready:
            continue
        elif method == "tools/call" and message["params"]["name"] == "hang":
            heard.append("hang")
        elif method == "tools/call" and message["params"]["name"] == "die":
            sys.exit(3)
        elif method == "tools/call" and message["params"]["name"] == "big":
            send({"id": id, "result": {"text": "x" * message["params"]["arguments"]["size"]}})
        elif method == "tools/call":
            send({"id": id, "result": {"heard": heard}})
        else:
            heard.append(method or message.get("error", {}).get("code"))


def rude() -> None:
    """Never answers anything, and sleeps on."""
    time.sleep(60)


if __name__ == "__main__":
    {"sdk": sdk, "older": older, "old": old, "rude": rude}[sys.argv[1]]()
