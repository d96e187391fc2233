"""Requests of the management API as a hostile or broken client sends them, and what must hold of every answer.

A finding is a status of 500 or above other than 503 and 504, an error that has not the form of all errors, no answer,
or a secret in one. Paths, parameters and bodies are made after what the API documents of itself, then spoiled.
"""

from __future__ import annotations

import json
import random
from typing import Any, Final
from urllib.parse import quote

from tests.fuzz.protocol_grammar import Grammar

Route = tuple[str, str]
"""Method and path, as `openapi()` documents them: `("delete", "/servers/{server}")`."""

LEFT_OUT: Final = frozenset({"/api/platform/query", "/api/platform/servers/{server}/restart"})
"""The one starts a run of the agent, which is slow for what it tells; the other would take away the server that the
well-behaved client calls."""
ANSWER_TIMEOUT_S: Final = 120.0
"""Seconds until a missing answer is a finding; queries and exports start a process first."""

_NAMES: Final = (
    "calc",
    "calc.add",
    "none",
    "..",
    "%2e%2e",
    "a/b",
    "\u00fc",
    "x" * 2000,
    "'; drop table x; --",
    "\x00",
    "1",
)
_STATEMENTS: Final = (
    "select 1", "select count(*) from tool_calls", "selec", "select * from read_csv('/etc/passwd')", "", ";",
    "select $x", "pragma version", "select repeat('x', 1000)", "attach 'x'", "select 1; select 2",
)  # fmt: skip


def bodies(chance: random.Random, grammar: Grammar) -> dict[str, Any]:
    """Path → a body that may be right."""
    return {
        "/api/platform/call": {
            "tool": chance.choice(("calc.add", "calc.fail", "calc.none", "")),
            "arguments": chance.choice(({"a": 1, "b": 2}, {"a": grammar.odd()}, {})),
        },
        "/api/platform/sql": {"sql": chance.choice(_STATEMENTS), "max_rows": chance.choice((1, 10, 0, -1))},
        "/servers": {
            "id": chance.choice(_NAMES),
            "url": chance.choice(("http://127.0.0.1:1/mcp", "file:///x", "http://[")),
        },
        "/api/platform/definitions/{tool}": {"hash": chance.choice(("0" * 64, "x")), "varying": True},
        "/api/platform/approvals/{approval}": {"approve": chance.choice((True, False)), "note": "fuzz"},
        "/api/platform/load-runs": {"run": {"id": "x", "profile": "p", "started_us": 1, "ended_us": 2}},
        "/api/platform/load-requests": {"run": {"id": "x"}, "requests": [grammar.odd()]},
    }


def rest_request(grammar: Grammar, routes: list[Route], token: str) -> tuple[bytes, bool]:
    """A whole HTTP request for one of `routes`, and whether it is proper HTTP."""
    chance = grammar.chance
    method, path = chance.choice(routes)
    body = b""
    if method == "post":
        value = bodies(chance, grammar).get(path, {"subject": chance.choice(("fuzz", "", 7)), "roles": ["viewer"]})
        for _ in range(chance.choice((0, 0, 1, 2))):
            grammar.spoil(value)
        body, _ = grammar.encoded(value if chance.random() < 0.95 else grammar.odd())
    while "{" in path:
        before, _, rest = path.partition("{")
        path = before + quote(chance.choice(_NAMES), safe=chance.choice(("", "/%"))) + rest.partition("}")[2]
    if chance.random() < 0.3:
        name = chance.choice(("q", "limit", "profile", "table", "format", "from", "x"))
        path += f"?{name}={quote(str(grammar.odd())[:500].encode('utf-8', 'replace'))}"
    if chance.random() < 0.05:
        method = chance.choice(("put", "patch", "head", "options"))
    headers = [("Host", "127.0.0.1"), ("Authorization", f"Bearer {token}"), ("Content-Length", str(len(body)))]
    kind = chance.choice(("application/json",) * 8 + ("text/plain", "application/x-www-form-urlencoded", "\u00fc"))
    headers.append(("Content-Type", kind))
    proper = True
    match chance.randrange(30):
        case 0:
            headers = [h for h in headers if h[0] != "Authorization"]
        case 1:
            headers.append(("Authorization", "Bearer x"))
        case 2:
            headers.append(("Origin", "http://evil.example"))
        case 3:
            headers[0] = ("Host", "evil.example")
        case 4:
            headers[2], proper = ("Content-Length", str(len(body) + 9)), False
        case 5:
            headers.append(("X-Workbench-Source", "\xff" * 50))
        case 6:
            headers.append(("Accept", "text/event-stream"))
    head = (
        f"{method.upper()} {path} HTTP/1.1\r\n"
        + "".join(f"{n}: {t}\r\n" for n, t in headers)
        + "Connection: close\r\n\r\n"
    )
    return head.encode("latin-1", "replace") + body, proper


def objection(status: int, headers: dict[str, str], body: bytes) -> str:
    """What is wrong with an answer; empty where nothing is."""
    if status >= 500 and status not in (503, 504):
        return f"status {status}: {body[:300]!r}"
    if status < 400 or not body:
        return ""
    if "application/json" not in headers.get("content-type", ""):
        return (
            ""
            if headers.get("content-type", "").startswith("text/")
            else f"status {status} without a kind: {body[:200]!r}"
        )
    found = json.loads(body)
    if status == 422 and "detail" in found:
        return f"an error of the framework: {body[:300]!r}"
    said = found.get("error", found) if isinstance(found, dict) else None
    if not isinstance(said, dict | str):
        return f"an error of another form: {body[:300]!r}"
    return ""
