"""Requests of MCP as a hostile or broken client sends them: made by grammar, then spoiled; the same for a seed."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from typing import Any, Final

MODERN: Final = "2026-07-28"
REVISIONS: Final = (MODERN, "2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05", "1999-01-01", "", "\u00e9")
METHODS: Final = (
    "initialize", "notifications/initialized", "ping", "server/discover", "tools/list", "tools/call", "tools/call",
    "tools/call", "resources/list", "resources/read", "resources/templates/list", "resources/subscribe",
    "resources/unsubscribe", "prompts/list", "prompts/get", "completion/complete", "logging/setLevel", "tasks/get",
    "tasks/update", "tasks/cancel", "tasks/list", "tasks/result", "subscriptions/listen", "notifications/cancelled",
    "notifications/progress", "notifications/roots/list_changed", "roots/list", "sampling/createMessage",
    "elicitation/create", "x.example/unknown", "rpc.discover", "", "tools/call/", "TOOLS/LIST",
)  # fmt: skip
PATHS: Final = ("/mcp",) * 8 + (
    "/mcp/",
    "/servers/calc/mcp",
    "/servers/none/mcp",
    "/MCP",
    "//mcp",
    "/mcp/x",
    "/mcp?a=%00",
)
_NESTED: Final = "\x01nested\x01"
_HUGE: Final = "\x01huge\x01"


@dataclass
class Message:
    """One body, and what of it a client would wait for."""

    value: Any
    body: bytes
    revision: str
    spoiled: bool
    """Whether the bytes are no longer those of `value`."""

    @property
    def id(self) -> Any:
        """Of a request, where it is one that an answer can repeat; else None."""
        value = self.value
        if self.spoiled or not isinstance(value, dict) or not isinstance(value.get("method"), str):
            return None
        id = value.get("id")
        return id if isinstance(id, str | int) and not isinstance(id, bool) and abs(hash(id)) < 1 << 62 else None


@dataclass
class Grammar:
    """Makes messages.

    Args:
        chance: where everything comes from.
        sessions: ids of sessions, of the sender and of others.
    """

    chance: random.Random
    sessions: list[str] = field(default_factory=list)

    def odd(self) -> Any:
        """A value of any type that a field should not have."""
        return self.chance.choice(
            (
                None, True, False, -1, 0, 1.5, 1e308, 2**53, 2**63, -(2**64), "", " ", "x" * 3000, "\ud800", "\x00",
                "\u202e\u200b", [], {}, [[]], {"": {}}, {"__proto__": {"x": 1}}, "../../../etc/passwd", "${7*7}",
                "'; drop table calls; --", _NESTED, _HUGE, ["a"] * 200, {str(n): n for n in range(100)}, "calc.add",
            )
        )  # fmt: skip

    def message(self) -> Message:
        """A request, notification, response, batch, or something else."""
        revision = self.chance.choice((MODERN, MODERN, "2025-11-25", *REVISIONS))
        value: Any = self.request(revision)
        if self.chance.random() < 0.06:
            value = [self.request("2025-03-26") for _ in range(self.chance.randrange(4))]
        elif self.chance.random() < 0.05:
            value = {"jsonrpc": "2.0", "id": self.chance.choice((1, "ask-x-y", None)), "result": self.odd()}
        elif self.chance.random() < 0.03:
            value = self.odd()
        body, spoiled = self.encoded(value)
        return Message(value, body, revision, spoiled)

    def request(self, revision: str) -> dict[str, Any]:
        """One request with up to three fields that are wrong."""
        chance = self.chance
        method = chance.choice(METHODS)
        params = self.params(method)
        if revision == MODERN or chance.random() < 0.2:
            params["_meta"] = {
                "io.modelcontextprotocol/protocolVersion": revision,
                "io.modelcontextprotocol/clientCapabilities": chance.choice(
                    ({}, {"elicitation": {}}, {"extensions": {}}, {"extensions": self.odd()}, self.odd())
                ),
            }
            if chance.random() < 0.2:
                params["_meta"]["progressToken"] = chance.choice((1, "t", self.odd()))
        request: dict[str, Any] = {"jsonrpc": "2.0", "id": self.id(), "method": method, "params": params}
        if method.startswith("notifications/") and chance.random() < 0.9:
            del request["id"]
        for _ in range(chance.choice((0, 0, 0, 1, 1, 2, 3))):
            self.spoil(request)
        return request

    def id(self) -> Any:
        """Of all kinds, mostly good ones."""
        return self.chance.choice((1, 7, "a", "\u00fc", 0, -5, "x" * 200, 2**40, self.odd(), 1.0, None))

    def params(self, method: str) -> dict[str, Any]:
        """What the method takes."""
        chance = self.chance
        match method:
            case "initialize":
                info = {"name": "fuzz", "version": "1"}
                return {"protocolVersion": chance.choice(REVISIONS), "capabilities": {}, "clientInfo": info}
            case "tools/call":
                name = chance.choice(
                    ("calc.add", "calc__add", "calc.fail", "calc.region", "calc.erase", "calc.nothing", "add")
                )
                given = chance.choice(
                    ({"a": 1, "b": 2}, {"a": self.odd(), "b": self.odd()}, {"region": "eu"}, {"what": "x"})
                )
                return {"name": name, "arguments": dict(given)}
            case "resources/read" | "resources/subscribe" | "resources/unsubscribe":
                return {"uri": chance.choice(("calc://x", "file:///etc/passwd", "", "http://169.254.169.254/", "\x00"))}
            case "prompts/get":
                return {"name": chance.choice(("calc.p", "", "calc__p")), "arguments": {"x": "y"}}
            case "completion/complete":
                return {"ref": {"type": "ref/prompt", "name": "calc.p"}, "argument": {"name": "x", "value": ""}}
            case "logging/setLevel":
                return {"level": chance.choice(("debug", "loud", "error"))}
            case "tasks/get" | "tasks/update" | "tasks/cancel" | "tasks/result":
                return {"taskId": chance.choice(("1", "../1", "x" * 500))}
            case "notifications/cancelled":
                return {"requestId": self.id(), "reason": "fuzz"}
            case _ if method.endswith("/list"):
                return {"cursor": self.odd()} if chance.random() < 0.3 else {}
            case _:
                return {}

    def spoil(self, value: dict[str, Any]) -> None:
        """Put something odd somewhere into `value`, take a field away, or add one."""
        at: Any = value
        for _ in range(self.chance.randrange(4)):
            below = [
                item for item in (at.values() if isinstance(at, dict) else at) if isinstance(item, dict | list) and item
            ]
            if not below:
                break
            at = self.chance.choice(below)
        if isinstance(at, list):
            at.append(self.odd())
        elif at and (kind := self.chance.random()) < 0.6:
            at[self.chance.choice(list(at))] = self.odd()
        elif at and kind < 0.8:
            del at[self.chance.choice(list(at))]
        else:
            at[self.chance.choice(("extra", "", "id", "\u0000", "constructor"))] = self.odd()

    def encoded(self, value: Any) -> tuple[bytes, bool]:
        """The bytes of a body, and whether they mean something else than `value`."""
        chance = self.chance
        text = json.dumps(value, ensure_ascii=chance.random() < 0.7 or "\\ud800" in json.dumps(value))
        marked = text
        deep = chance.choice((40, 300, 5000))
        text = text.replace(json.dumps(_NESTED), "[" * deep + "]" * deep).replace(json.dumps(_HUGE), "9" * 400)
        spoiled = text != marked
        body = text.encode("utf-8", "surrogatepass")
        if chance.random() < 0.75:
            return body, spoiled
        at = chance.randrange(max(1, len(body)))
        return chance.choice(
            (
                lambda: body[:at],
                lambda: body[:at] + bytes([chance.randrange(256)]) + body[at + 1 :],
                lambda: body[:at] + b"\xff\xfe\xc0\x80" + body[at:],
                lambda: b"\xef\xbb\xbf" + body,
                lambda: body + b"\n" + body,
                lambda: body + b"}",
                lambda: body.decode("utf-8", "replace").encode("utf-16"),
                lambda: body.replace(b'"id"', b'"id": 1, "id"'),
                lambda: body.replace(b": 1", b": NaN").replace(b": 2", b": -Infinity"),
                lambda: b" " * 5000 + body,
                lambda: b"",
                lambda: bytes(chance.randrange(256) for _ in range(200)),
            )
        )(), True  # fmt: skip


def http_request(grammar: Grammar, message: Message, token: str) -> tuple[bytes, bool]:
    """A whole HTTP request with this body, and whether it is proper HTTP with a whole body for `POST /mcp`."""
    chance = grammar.chance
    headers = [("Host", "127.0.0.1"), ("Content-Type", "application/json"), ("Authorization", f"Bearer {token}")]
    headers.append(("Accept", "application/json, text/event-stream"))
    value = message.value if isinstance(message.value, dict) else {}
    if chance.random() < 0.85 and message.revision.isascii():
        headers.append(("MCP-Protocol-Version", message.revision))
    if message.revision == MODERN and chance.random() < 0.85:
        headers.append(("Mcp-Method", _line(value.get("method"))))
        params = value.get("params")
        if isinstance(params, dict) and ("name" in params or "uri" in params or "taskId" in params):
            headers.append(("Mcp-Name", _line(params.get("name") or params.get("uri") or params.get("taskId"))))
    if chance.random() < 0.2:
        headers.append(("Mcp-Session-Id", chance.choice((*grammar.sessions, "none", "x" * 300, "../"))))
    method, path, proper = "POST", chance.choice(PATHS), True
    body = message.body
    framing = [("Content-Length", str(len(body)))]
    if chance.random() < 0.15:
        framing, body = [("Transfer-Encoding", "chunked")], _chunks(chance, body)
    if chance.random() < 0.3:
        proper = False
        method, headers, framing, body, path = _broken(chance, method, headers, framing, body, path)
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {text}\r\n" for name, text in headers + framing) + "\r\n"
    return head.encode("latin-1", "replace") + body, proper and path == "/mcp"


def _broken(
    chance: random.Random,
    method: str,
    headers: list[tuple[str, str]],
    framing: list[tuple[str, str]],
    body: bytes,
    path: str,
) -> tuple[str, list[tuple[str, str]], list[tuple[str, str]], bytes, str]:
    """One thing about the request that no client should do."""
    match chance.randrange(14):
        case 0:
            headers = [*headers, chance.choice(headers)]
        case 1:
            headers = [*headers, (chance.choice(("Host", "Origin", "Content-Type")), "evil.example")]
        case 2:
            framing = [("Content-Length", str(len(body) + chance.choice((1, 50, 10**9))))]
        case 3:
            framing = [("Content-Length", str(max(0, len(body) - chance.choice((1, 30)))))]
        case 4:
            framing = [("Content-Length", chance.choice(("-1", "+5", "0x10", "", "1, 1", "9" * 30)))]
        case 5:
            framing = [("Content-Length", str(len(body))), ("Transfer-Encoding", "chunked")]
        case 6:
            framing, body = [("Transfer-Encoding", "chunked")], b"zz\r\n" + body
        case 7:
            framing, body = [("Transfer-Encoding", "gzip, chunked")], _chunks(chance, body)
        case 8:
            method = chance.choice(("GET", "DELETE", "PUT", "PATCH", "OPTIONS", "HEAD", "BREW", "post", "CONNECT"))
        case 9:
            headers = [(n, t) for n, t in headers if n != chance.choice(("Host", "Authorization", "Content-Type"))]
        case 10:
            headers = [*headers, ("X-" + "y" * 20, "\xff\x01" * 20)]
        case 11:
            headers = [*headers, ("X-Long", "y" * 70_000)]
        case 12:
            headers = [
                (n, chance.choice(("Basic QQ==", "Bearer", "Bearer x", "")) if n == "Authorization" else t)
                for n, t in headers
            ]
        case _:
            path = chance.choice(("*", "http://evil.example/mcp", "/" + "a" * 9000, "/%00", "/mcp#x", " "))
    return method, headers, framing, body, path


def _chunks(chance: random.Random, body: bytes) -> bytes:
    size = max(1, len(body) // chance.choice((1, 2, 7)))
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def _line(value: Any) -> str:
    """As the value of a header."""
    return "".join(c for c in str(value)[:300] if " " < c <= "\xff" and c != "\x7f")
