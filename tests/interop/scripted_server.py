"""A server of either era over HTTP that lists, answers and asks exactly what it was given."""

from __future__ import annotations

import json
from typing import Any

MODERN = "2026-07-28"
ANYTHING = {"type": "object"}


class ScriptedServer:
    """An ASGI application.

    Args:
        tools: definitions as they are listed; a tool without a schema takes anything.
        results: tool → what a call of it gives; a plain text where there is none.
        modern: of the revision 2026-07-28, instead of 2025-11-25.
    """

    def __init__(
        self, tools: list[dict[str, Any]], results: dict[str, dict[str, Any]] | None = None, *, modern: bool = False
    ) -> None:
        self.tools = tools
        self.results = results or {}
        self.modern = modern
        self.called: list[dict[str, Any]] = []
        """Params of the calls that arrived, oldest first."""

    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        """The result or the error of one request."""
        method, params = message["method"], message.get("params") or {}
        able = {"tools": {"listChanged": True}, "extensions": {"io.modelcontextprotocol/tasks": {}}}
        if method == "server/discover" and self.modern:
            return {"result": {"supportedVersions": [MODERN], "capabilities": able, "resultType": "complete"}}
        if method == "initialize" and not self.modern:
            info = {"name": "scripted", "version": "1"}
            return {"result": {"protocolVersion": "2025-11-25", "capabilities": able, "serverInfo": info}}
        if method == "ping":
            return {"result": {}}
        if method == "tools/list":
            return {"result": self._whole({"tools": [{"inputSchema": ANYTHING, **tool} for tool in self.tools]})}
        if method == "tools/call":
            self.called.append(params)
            found = self.results.get(params["name"]) or {"content": [{"type": "text", "text": "done"}]}
            if found.get("resultType") == "input_required" and "inputResponses" in params:
                found = {"content": [{"type": "text", "text": "answered"}]}
            return {"result": self._whole(found)}
        if method in ("tasks/get", "tasks/update"):
            return {"result": {"resultType": "complete", "taskId": params["taskId"], "status": "working"}}
        return {"error": {"code": -32601, "message": "Method not found"}}

    def _whole(self, result: dict[str, Any]) -> dict[str, Any]:
        return {"resultType": "complete", **result} if self.modern else result

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one HTTP request."""
        if scope["type"] != "http":
            return
        body = b""
        while (part := await receive())["type"] == "http.request":
            body += part.get("body", b"")
            if not part.get("more_body"):
                break
        if scope["method"] != "POST":
            await _reply(send, 405, None)
            return
        if not self.modern and (b"mcp-protocol-version", MODERN.encode()) in scope["headers"]:
            await _reply(send, 400, None)
            return
        message = json.loads(body)
        if "method" not in message or "id" not in message:
            await _reply(send, 202, None)
            return
        await _reply(send, 200, {"jsonrpc": "2.0", "id": message["id"], **self.answer(message)})


async def _reply(send: Any, status: int, answer: Any) -> None:
    data = b"" if answer is None else json.dumps(answer).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(data))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})
