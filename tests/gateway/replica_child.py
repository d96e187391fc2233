"""A server process that can be killed, hung and cut off, of the standard library alone so that it starts in no time.

Run as bundled servers are: `--http --fd N`, with `MCP_SERVER_SECRET`; or with `--port N` and no secret. Tools: `who`
gives the process id, `wait` answers only when the file of that name is there, `cut` breaks off in the middle of its
answer, `count` gives a number that grows with every call.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

READ = {"readOnlyHint": True}
CACHE = {"workbench/cache": {"ttl_ms": 60_000}}
TOOLS: list[dict[str, Any]] = [
    {"name": "who", "inputSchema": {"type": "object"}, "annotations": READ},
    {"name": "wait", "inputSchema": {"type": "object"}, "annotations": READ},
    {"name": "cut", "inputSchema": {"type": "object"}, "annotations": READ},
    {"name": "count", "inputSchema": {"type": "object"}, "annotations": READ, "_meta": CACHE},
]
counted = 0


def called(name: str, arguments: dict[str, Any]) -> Any:
    global counted
    if name == "wait":
        Path(arguments["begun"]).touch()
        while not Path(arguments["until"]).exists():
            time.sleep(0.01)
    if name == "count":
        counted += 1
        return counted
    return os.getpid()


def answer(message: dict[str, Any]) -> dict[str, Any]:
    method, params = message["method"], message.get("params", {})
    result: dict[str, Any] = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
    if method == "tools/list":
        result = {"tools": TOOLS, "ttlMs": 0, "cacheScope": "private"}
    if method == "tools/call":
        said = called(params["name"], params["arguments"])
        result = {"content": [{"type": "text", "text": str(said)}], "structuredContent": {"said": said}}
    return {"jsonrpc": "2.0", "id": message["id"], "result": {"resultType": "complete", **result}}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        secret = os.environ.get("MCP_SERVER_SECRET")
        if secret and self.headers.get("Authorization") != f"Bearer {secret}":
            self.send_error(401)
            return
        body = json.dumps(answer(message)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if message.get("params", {}).get("name") == "cut":
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
server.socket.close()
if "--fd" in sys.argv:
    server.socket = socket.socket(fileno=int(sys.argv[sys.argv.index("--fd") + 1]))
    server.socket.setblocking(True)
else:
    server.socket = socket.create_server(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])))
    print(server.socket.getsockname()[1], flush=True)
server.serve_forever()
