"""Users who call tools through the gateway, one stateless 2026-07-28 `tools/call` after another.

Run by `workbench load`, or by hand:

    export WORKBENCH_URL=http://127.0.0.1:8800 WORKBENCH_TOKEN=mk_…
    locust -f loadtests/locustfile.py --headless -u 8 -r 8 -t 10s

`WORKBENCH_PROFILE` names a profile of profiles.toml. With `WORKBENCH_LOAD_OUT`, every request is appended to that file
as one JSON line; its trace id is the one that the record keeps, so that client and gateway figures can be joined.
"""

from __future__ import annotations

import json
import os
import secrets
import time
import tomllib
from pathlib import Path
from typing import Any

from locust import FastHttpUser, constant, events, task

REVISION = "2026-07-28"
PROFILES = tomllib.loads((Path(__file__).parent / "profiles.toml").read_text(encoding="utf-8"))
PROFILE = PROFILES[os.environ.get("WORKBENCH_PROFILE", "smoke")]
CALLS = [call for call in PROFILE["calls"] for _ in range(call.get("weight", 1))]


class Writer:
    """Appends one JSON line per request."""

    def __init__(self, path: str) -> None:
        self._file = Path(path).open("a", encoding="utf-8")  # noqa: SIM115 - open as long as the process

    def __call__(self, row: dict[str, Any]) -> None:
        self._file.write(json.dumps(row) + "\n")

    def close(self) -> None:
        self._file.close()


write = Writer(os.environ["WORKBENCH_LOAD_OUT"]) if "WORKBENCH_LOAD_OUT" in os.environ else None


@events.quitting.add_listener  # type: ignore[untyped-decorator]  # Locust annotates no event hook
def _close(**_: Any) -> None:
    if write is not None:
        write.close()


class Caller(FastHttpUser):
    """One client with one connection."""

    host = os.environ.get("WORKBENCH_URL", "http://127.0.0.1:8800")
    wait_time = constant(PROFILE.get("pause_seconds", 0.0))
    network_timeout = 60.0
    connection_timeout = 5.0

    def on_start(self) -> None:
        self._n = secrets.randbelow(len(CALLS))

    @task
    def call(self) -> None:
        self._n += 1
        wanted = CALLS[self._n % len(CALLS)]
        trace = secrets.token_hex(16)
        body = {
            "jsonrpc": "2.0",
            "id": self._n,
            "method": "tools/call",
            "params": {
                "name": wanted["tool"],
                "arguments": wanted["arguments"],
                "_meta": {
                    "io.modelcontextprotocol/protocolVersion": REVISION,
                    "io.modelcontextprotocol/clientInfo": {"name": "workbench-load", "version": "1"},
                    "io.modelcontextprotocol/clientCapabilities": {},
                    "traceparent": f"00-{trace}-{secrets.token_hex(8)}-01",
                },
            },
        }
        headers = {
            "Authorization": f"Bearer {os.environ.get('WORKBENCH_TOKEN', '')}",
            "Accept": "application/json, text/event-stream",
            "Content-Type": "application/json",
            "MCP-Protocol-Version": REVISION,
            "Mcp-Method": "tools/call",
            "Mcp-Name": wanted["tool"],
        }
        began_us, began = time.time_ns() // 1000, time.perf_counter_ns()
        with self.client.post(
            "/mcp", data=json.dumps(body), headers=headers, name=wanted["tool"], catch_response=True
        ) as response:
            problem = _problem(response)
            if problem:
                response.failure(problem)
            else:
                response.success()
        if write is not None:
            row = {"timestamp": began_us, "latency_us": (time.perf_counter_ns() - began) // 1000, "trace_id": trace}
            row |= {"name": wanted["tool"], "ok": not problem, "message": problem, "status": response.status_code}
            write(row | {"bytes": len(response.content or b"")})


def _problem(response: Any) -> str:
    """Why a response is no success; empty when it is one."""
    if response.status_code != 200:
        return f"HTTP {response.status_code}"
    try:
        answer = json.loads(response.text)
    except ValueError:
        return "not JSON"
    if "error" in answer:
        return f"error {answer['error'].get('code')}: {answer['error'].get('message', '')[:120]}"
    return "tool error" if answer.get("result", {}).get("isError") else ""
