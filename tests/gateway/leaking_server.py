"""A server that says a person's address, a card number and a key of somebody in every field that a server can fill.

Raw, because the SDK would not let it. `Leaking` is the server over Streamable HTTP, `LeakingStream` over HTTP+SSE,
`LeakingObject` in the process of the gateway, and this file as a program over stdio.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

EMAIL: Final = "ada.canary@leak.example"
CARD: Final = "5105105105105100"
KEY: Final = "ghp_" + "a1B2" * 9
CANARIES: Final = (EMAIL, CARD, KEY, "ada.canary")

MODERN: Final = "2026-07-28"

ADDRESS: Final = f"leak://people/{EMAIL}/{CARD}/{KEY}"

Send = Callable[[dict[str, Any]], Awaitable[None]]


def told(kind: str) -> str:
    """A sentence with all that must not get through; its beginning shows that the sentence did."""
    return f"told-{kind}: write to {EMAIL}, pay with {CARD}, use {KEY} today"


def schema(kind: str) -> dict[str, Any]:
    return {
        "type": "object",
        "title": told(f"{kind}-schema"),
        "properties": {
            "email": {
                "type": "string", "title": told(kind), "description": told(kind), "default": EMAIL, "examples": [CARD],
            }
        },
    }  # fmt: skip


TOOLS: Final = ("error", "failed", "result", "progress", "log", "custom", "elicit", "sample", "task", f"card-{CARD}")


def tools() -> list[dict[str, Any]]:
    return [
        {
            "name": name, "title": told("tool-title"), "description": told("tool-description"),
            "inputSchema": schema("tool-input"), "outputSchema": schema("tool-output"),
            "annotations": {"title": told("tool-annotation"), "readOnlyHint": True},
            "_meta": {"x.example/note": told("tool-meta")},
            "icons": [{"src": f"https://icons.example/{EMAIL}.png"}],
        }
        for name in TOOLS
    ]  # fmt: skip


def lists(method: str) -> dict[str, Any]:
    if method == "tools/list":
        return {"tools": tools()}
    if method == "prompts/list":
        arguments = [{"name": "about", "description": told("prompt-argument")}]
        described = {"title": told("prompt-title"), "description": told("prompt-description"), "arguments": arguments}
        return {"prompts": [{"name": "greet", **described}, {"name": f"to {EMAIL} {CARD}", **described}]}
    if method == "resources/list":
        described = {"name": told("resource-name"), "description": told("resource-description")}
        return {"resources": [{"uri": "leak://plain", **described}, {"uri": ADDRESS, **described}]}
    described = {"name": told("template-name"), "description": told("template-description")}
    return {"resourceTemplates": [{"uriTemplate": f"leak://of/{EMAIL}/{{part}}", **described}]}


def elicitation(kind: str) -> dict[str, Any]:
    form = {"mode": "form", "message": told(f"{kind}-message"), "requestedSchema": schema(kind)}
    return {"method": "elicitation/create", "params": form}


def sampling(kind: str) -> dict[str, Any]:
    said = [{"role": "user", "content": {"type": "text", "text": told(f"{kind}-text")}}]
    return {
        "method": "sampling/createMessage",
        "params": {"messages": said, "systemPrompt": told(f"{kind}-system"), "maxTokens": 9},
    }


class Leaking:
    """The server, of one of both eras."""

    def __init__(self, *, modern: bool) -> None:
        self.modern = modern
        self.asked: dict[str, asyncio.Future[Any]] = {}
        self.read: list[str] = []
        """Addresses and names that were asked for."""

    async def answer(self, message: dict[str, Any], say: Send) -> dict[str, Any]:
        """The result or error of one request; what is said meanwhile goes to `say`."""
        method, params = message["method"], message.get("params") or {}
        info = {"name": "leaking", "title": told("server-title"), "version": told("server-version")}
        able: dict[str, Any] = {
            "tools": {}, "prompts": {}, "resources": {}, "completions": {}, "logging": {},
            "extensions": {"x.example/things": {"note": told("extension")}, "io.modelcontextprotocol/tasks": {}},
        }  # fmt: skip
        if method == "server/discover" and self.modern:
            return {"result": {
                "supportedVersions": [MODERN], "capabilities": able, "instructions": told("instructions"),
                "resultType": "complete", "ttlMs": 1, "cacheScope": "private",
                "_meta": {"io.modelcontextprotocol/serverInfo": info},
            }}  # fmt: skip
        if method == "initialize" and not self.modern:
            return {"result": {
                "protocolVersion": "2025-11-25", "capabilities": able, "serverInfo": info,
                "instructions": told("instructions"),
            }}  # fmt: skip
        if method == "ping":
            return {"result": {}}
        if method.endswith("/list") or method == "resources/templates/list":
            return {"result": self.whole({**lists(method), "ttlMs": 1, "cacheScope": "private"})}
        if method == "tools/call":
            return await self.called(params, say)
        return self.other(method, params)

    def whole(self, result: dict[str, Any]) -> dict[str, Any]:
        return {**result, "resultType": "complete"} if self.modern else result

    def other(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        if method == "resources/read":
            self.read.append(params["uri"])
            content = {"uri": params["uri"], "text": told("resource-text"), "_meta": {"note": told("resource-meta")}}
            return {"result": self.whole({"contents": [content]})}
        if method == "prompts/get":
            self.read.append(params["name"])
            said = {"role": "user", "content": {"type": "text", "text": told("prompt-message")}}
            return {"result": self.whole({"description": told("prompt-result"), "messages": [said]})}
        if method == "completion/complete":
            return {"result": self.whole({"completion": {"values": [told("completion")], "hasMore": False}})}
        if method == "tasks/get":
            return {"result": {**task(), "resultType": "complete", "status": "failed", "error": fault("task")}}
        return {"error": fault("method")}

    async def called(self, params: dict[str, Any], say: Send) -> dict[str, Any]:
        name, meta = params["name"], params.get("_meta") or {}
        self.read.append(name)
        if name == "error":
            return {"error": fault("error")}
        if name == "progress":
            token = meta.get("progressToken")
            about = {"progressToken": token, "progress": 1, "total": 2, "message": told("progress")}
            await say({"method": "notifications/progress", "params": about})
        if name == "log":
            line = {"level": "error", "logger": told("logger"), "data": {"text": told("log"), "email": EMAIL}}
            await say({"method": "notifications/message", "params": line})
        if name == "custom":
            await say({"method": "x.example/moved", "params": {"text": told("custom")}})
        if name in ("elicit", "sample"):
            question = elicitation("elicit") if name == "elicit" else sampling("sample")
            if not self.modern:
                id = f"q{len(self.asked)}"
                self.asked[id] = asyncio.get_running_loop().create_future()
                await say({"id": id, **question})
                await self.asked[id]
            elif not params.get("inputResponses"):
                return {"result": {"resultType": "input_required", "inputRequests": {"one": question}}}
        if name == "task" and self.modern:
            return {"result": {"resultType": "task", **task()}}
        link = {"type": "resource_link", "uri": ADDRESS, "name": told("link"), "description": told("link-description")}
        text = {"type": "text", "text": told("text"), "annotations": {"audience": ["user"]}}
        inner = {"type": "resource", "resource": {"uri": ADDRESS, "text": told("embedded")}}
        result: dict[str, Any] = {"content": [text, link, inner], "_meta": {"x.example/note": told("result-meta")}}
        result |= {"isError": True} if name == "failed" else {"structuredContent": {"note": told("structured")}}
        return {"result": self.whole(result)}

    async def received(self, message: dict[str, Any], say: Send) -> None:
        """Deal with one message on a channel that carries all of them."""
        if "method" not in message and message.get("id") in self.asked:
            self.asked[message["id"]].set_result(message)
        elif "method" in message and "id" in message:

            async def tell(other: dict[str, Any]) -> None:
                await say({"jsonrpc": "2.0", **other})

            await tell({"id": message["id"], **await self.answer(message, tell)})

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while (part := await receive())["type"] == "http.request":
            body += part.get("body", b"")
            if not part.get("more_body"):
                break
        if scope["method"] != "POST":
            await self.reply(send, 405, None)
            return
        if not self.modern and (b"mcp-protocol-version", MODERN.encode()) in scope["headers"]:
            await self.reply(send, 400, None)
            return
        message = json.loads(body)
        if "method" not in message and message.get("id") in self.asked:
            self.asked[message["id"]].set_result(message)
        if "method" not in message or "id" not in message:
            await self.reply(send, 202, None)
            return
        begun = False

        async def say(other: dict[str, Any]) -> None:
            nonlocal begun
            if not begun:
                begun = True
                headers = [(b"content-type", b"text/event-stream")]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
            event = b"data: " + json.dumps({"jsonrpc": "2.0", **other}).encode() + b"\n\n"
            await send({"type": "http.response.body", "body": event, "more_body": True})

        answer = {"jsonrpc": "2.0", "id": message["id"], **await self.answer(message, say)}
        if not begun:
            await self.reply(send, 200, answer)
            return
        await say(answer)
        await send({"type": "http.response.body", "body": b""})

    async def reply(self, send: Any, status: int, answer: Any) -> None:
        data = b"" if answer is None else json.dumps(answer).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(data))]
        if answer is not None and "protocolVersion" in (answer.get("result") or {}):
            headers.append((b"mcp-session-id", b"session"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": data})


def fault(kind: str) -> dict[str, Any]:
    return {"code": -32001, "message": told(f"{kind}-message"), "data": {"text": told(f"{kind}-data"), "email": EMAIL}}


def task() -> dict[str, Any]:
    return {
        "taskId": "t-1", "status": "working", "statusMessage": told("task-status"), "createdAt": "2026-01-01T00:00:00Z",
        "lastUpdatedAt": "2026-01-01T00:00:00Z", "ttlMs": 60000,
    }  # fmt: skip


class LeakingStream(Leaking):
    """The server over HTTP+SSE."""

    def __init__(self) -> None:
        super().__init__(modern=False)
        self.waiting: list[asyncio.Queue[bytes]] = []
        """What is to be written, by stream."""
        self.working: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if scope["method"] == "GET":
            await self.stream(receive, send)
            return
        if scope["path"] != "/messages":
            await self.reply(send, 405, None)
            return
        body = b""
        while (part := await receive())["type"] == "http.request":
            body += part.get("body", b"")
            if not part.get("more_body"):
                break

        waiting = self.waiting[int(scope["query_string"])]

        async def say(message: dict[str, Any]) -> None:
            waiting.put_nowait(b"event: message\ndata: " + json.dumps(message).encode() + b"\n\n")

        task = asyncio.create_task(self.received(json.loads(body), say))
        self.working.add(task)
        task.add_done_callback(self.working.discard)
        await self.reply(send, 202, None)

    async def stream(self, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        waiting: asyncio.Queue[bytes] = asyncio.Queue()
        waiting.put_nowait(b"event: endpoint\ndata: /messages?%d\n\n" % len(self.waiting))
        self.waiting.append(waiting)

        async def write() -> None:
            while True:
                await send({"type": "http.response.body", "body": await waiting.get(), "more_body": True})

        writing = asyncio.create_task(write())
        while (await receive())["type"] != "http.disconnect":
            pass
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)


class LeakingObject(Leaking):
    """The server as an object that runs on the streams of the SDK."""

    def create_initialization_options(self) -> None:
        """It takes none."""

    async def run(self, read: Any, write: Any, _: Any) -> None:
        """Answer until the streams end."""
        import mcp_types
        from mcp.shared.message import SessionMessage

        async def say(message: dict[str, Any]) -> None:
            await write.send(SessionMessage(mcp_types.jsonrpc_message_adapter.validate_python(message)))

        async with asyncio.TaskGroup() as tasks:
            async for item in read:
                tasks.create_task(self.received(item.message.model_dump(by_alias=True, exclude_unset=True), say))


async def over_stdio(kind: str, read: Path) -> None:
    """Serve over stdio.

    Args:
        kind: `older`, or not.
        read: file that gets a line of JSON for each address and name that was asked for.
    """
    server = Leaking(modern=kind != "older")
    loop = asyncio.get_running_loop()

    async def say(message: dict[str, Any]) -> None:
        print(json.dumps(message), flush=True)

    def kept() -> None:
        part = read.with_suffix(".part")
        part.write_text(json.dumps(server.read))
        part.rename(read)

    async def receive(message: dict[str, Any]) -> None:
        async def answer(said: dict[str, Any]) -> None:
            kept()  # before anybody can ask for it
            await say(said)

        await server.received(message, answer)

    async with asyncio.TaskGroup() as tasks:
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            tasks.create_task(receive(json.loads(line)))


if __name__ == "__main__":
    asyncio.run(over_stdio(sys.argv[1], Path(sys.argv[2])))
