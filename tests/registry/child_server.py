"""A real server process for the tests, of the standard library alone so that it starts in no time.

`python child_server.py [--http --fd N] [MODE]`: `serve`; `die` at once; `deaf` ignores SIGTERM and the end of stdin;
`nest` starts grandchildren and tells their process ids in its tool descriptions; `noisy` writes a lot to stderr;
`loading` starts grandchildren, writes the process ids of all to the file in STARTED, and never gets ready, nor ends by
itself.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

TOOLS = [{"name": "who", "description": f"pid {os.getpid()}", "inputSchema": {"type": "object"}}]


def answer(message: dict[str, Any]) -> dict[str, Any] | None:
    if "id" not in message:
        return None
    results: dict[str, dict[str, Any]] = {
        "server/discover": {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}},
        "tools/list": {"tools": TOOLS},
    }
    reply: dict[str, Any] = {"jsonrpc": "2.0", "id": message["id"]}
    found = results.get(message["method"])
    if found is None:
        return {**reply, "error": {"code": -32601, "message": "no such method"}}
    return {**reply, "result": {"resultType": "complete", "ttlMs": 0, "cacheScope": "private", **found}}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = self.headers.get("Authorization") == f"Bearer {os.environ['MCP_SERVER_SECRET']}"
        reply = answer(message) if known else {}
        body = json.dumps(reply).encode() if reply else b""
        self.send_response(200 if body else 202 if known else 401)
        if body:
            self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


def nest() -> None:
    """One grandchild in our group, and one that has left it."""
    sleep = [sys.executable, "-c", "import time; time.sleep(300)"]
    near, far = subprocess.Popen(sleep), subprocess.Popen(sleep, start_new_session=True)
    TOOLS[0]["description"] = f"{near.pid} {far.pid}"


def main() -> None:
    mode = next((a for a in sys.argv[1:] if a.isalpha()), "serve")
    if mode == "die":
        print("\x1b[31mno such database\x1b[0m: /nowhere", file=sys.stderr)
        raise SystemExit(3)
    if mode == "noisy":
        for n in range(1000):
            print(f"line {n}", file=sys.stderr)
        print("x" * 100_000 + "\nlast", file=sys.stderr, flush=True)
    if mode == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if mode == "nest":
        nest()
    if mode == "loading":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        nest()
        started = Path(os.environ["STARTED"])
        started.with_suffix(".part").write_text(f"{os.getpid()} {TOOLS[0]['description']}")
        started.with_suffix(".part").rename(started)
        while True:
            signal.pause()
    if "--http" in sys.argv:
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
        server.socket.close()
        server.socket = socket.socket(fileno=int(sys.argv[sys.argv.index("--fd") + 1]))
        server.socket.setblocking(True)
        server.serve_forever()
    for line in sys.stdin:
        if reply := answer(json.loads(line)):
            print(json.dumps(reply), flush=True)
    while mode == "deaf":
        signal.pause()


if __name__ == "__main__":
    main()
