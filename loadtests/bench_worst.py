"""How long the worst of texts holds up everybody else, in whatever kind of message it comes.

`python -m loadtests.bench_worst [--only WORD]`. For each text that is the worst for some recogniser, pattern or check,
a small call is made again and again by one client while another sends 4 MiB of it: as arguments of a tool that does
not exist, as arguments of one that does (1 MiB, more is denied; as one text, as texts of 2,000 characters, and as a
value for each time), as result, error and progress message of a server, and over stdio as a result in one line and as
a line that is no message. The gateway knows `SECRETS` secrets, which it hides in all of it. What counts is how long
the small call had to wait at most, beside the same without anybody else. Its client and its server are processes of
their own; those that make and read the texts run behind all others, so that what counts is what the gateway does.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import sys
import tempfile
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Final

import uvicorn

from loadtests.bare import TOOL, add, read, reply
from loadtests.bench_gateway import META, ROOT, Target, narrow_key, platform, process, report, row
from loadtests.bench_pauses import REPEATS, longest_wait, other_client, request, step_back

SIZE: Final = (4 << 20) - 4096
ALLOWED: Final = (1 << 20) - 4096
TARGET_MS: Final = 50.0

SECRETS: Final = 500
KNOWN: Final = {f"SERVICE_{number}_TOKEN": hashlib.sha256(b"%d" % number).hexdigest() for number in range(SECRETS)}
"""Secrets that the gateway knows, by the variables that they come from."""

WORST: Final = {
    "schemes without a token": "Bearer ",
    "beginnings of tokens": "Basic 1",
    "headers of web tokens": "-eyJaaaaaaaa",
    "URLs": "://a:",
    "names of passwords": "password is ",
    "open quotes": 'token="',
    "private keys": "-----BEGIN A PRIVATE KEY-----",
    "digits": "1",
    "digits with blanks": "1 ",
    "telephone numbers": "415-555-0134 ",
    "cards": "4111 1111 1111 1111 ",
    "social security numbers": "123-45-6789 ",
    "accounts": "DE89370400440532013000 ",
    "addresses": "ada@example.org ",
    "local parts without end": "a." * 2000 + "@ ",
    "network addresses": "::1 ",
    "documents": '[{"a":',
    "instructions": "must cc send ",
    "hidden characters": "\u00e9\u200d",
    "one word": "x",
    "pipes": "|sudo -",
    "pipes into a shell": "curl a |sh ",
    "paths": "/a/b/%2e/c",
    "addresses of services": "http://1.1.1.1:80/",
    "known secrets": "".join(f"{value} " for value in KNOWN.values()),
}
OVER_STDIO: Final = ("result over stdio", "noise over stdio")
KINDS: Final = (
    *("arguments of no tool", "arguments", "arguments in pieces", "arguments, a value each"),
    *("result", "error", "progress", *OVER_STDIO),
)
PIECE: Final = 2000
MAX_VALUES: Final = 90_000
"""Values of one request; a body of more than 100,000 is refused."""
PLACE: Final = "<text>"
"""Stands where the encoded text goes in a message."""


def text_of(name: str, size: int) -> str:
    """So many bytes of one text, as JSON writes it."""
    part = WORST[name]
    encoded = len(json.dumps(part)) - 2
    return part * (size // encoded)


def encoded_text(name: str, size: int) -> bytes:
    """The same as a JSON string. Encoding the whole would keep a processor from the gateway while it is measured."""
    encoded = json.dumps(WORST[name])[1:-1].encode()
    return b'"' + encoded * (size // len(encoded)) + b'"'


def answer(message: Any) -> tuple[bytes, bytes]:
    """What is said before the response to a request, and the response; `say` says a text in a message of some kind."""
    method, params = message["method"], message.get("params") or {}
    found: dict[str, Any] = {"result": {"resultType": "complete"}}
    before = text = b""
    if method == "server/discover":
        found["result"] |= {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
    elif method == "tools/list":
        say = {"name": "say", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}}
        found["result"] |= {"tools": [TOOL, say], "ttlMs": 60_000, "cacheScope": "public"}
    elif params.get("name") == "add":
        found["result"] |= add(1, 2)
    elif "kind" in params.get("arguments", {}):
        kind, text = params["arguments"]["kind"], encoded_text(params["arguments"]["text"], SIZE)
        if kind == "error":
            found = {"error": {"code": -32000, "message": "no", "data": PLACE}}
        elif kind == "progress":
            about = {"progressToken": params["_meta"]["progressToken"], "progress": 1, "message": PLACE}
            told = {"jsonrpc": "2.0", "method": "notifications/progress", "params": about}
            before = json.dumps(told).encode()
            found["result"] |= {"content": []}
        elif kind == "noise over stdio":
            before = text_of(params["arguments"]["text"], SIZE).encode()
            found["result"] |= {"content": []}
        else:
            found["result"] |= {"content": [{"type": "text", "text": PLACE}]}
    else:
        found["result"] |= {"content": []}
    body = json.dumps({"jsonrpc": "2.0", "id": message["id"], **found}).encode()
    return with_text(before, text), with_text(body, text)


def with_text(message: bytes, text: bytes) -> bytes:
    """`message` with `text` in its place."""
    return message.replace(json.dumps(PLACE).encode(), text)


def stdio() -> None:
    """The server over stdio."""
    step_back()
    for line in sys.stdin.buffer:
        message = json.loads(line)
        if "id" in message and "method" in message:
            before, body = answer(message)
            sys.stdout.buffer.write((before + b"\n" if before else b"") + body + b"\n")
            sys.stdout.buffer.flush()


async def server(scope: Any, receive: Any, send: Any) -> None:
    """The server over HTTP."""
    message = json.loads(await read(receive) or b"{}")
    if "id" not in message:
        await reply(send, 202, b"")
        return
    before, body = answer(message)
    if not before:
        await reply(send, 200, body)
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    await send({"type": "http.response.body", "body": b"data: " + before + b"\n\n", "more_body": True})
    await send({"type": "http.response.body", "body": b"data: " + body + b"\n\n"})


def sent(port: int, token: str, kind: str, name: str) -> bytes:
    """The request that brings a text in one kind of message."""
    if kind == "arguments of no tool":
        return request(port, token, "bare.nothing", {"text": text_of(name, SIZE)})
    if kind == "arguments":
        return request(port, token, "bare.say", {"text": text_of(name, ALLOWED)})
    if kind == "arguments in pieces":
        text = text_of(name, ALLOWED - ALLOWED // PIECE * 5)
        return request(port, token, "bare.say", {"texts": [text[at : at + PIECE] for at in range(0, len(text), PIECE)]})
    if kind == "arguments, a value each":
        times = min((ALLOWED - 4096) // (len(json.dumps(WORST[name])) + 1), MAX_VALUES)
        return request(port, token, "bare.say", {"texts": [WORST[name]] * times})
    return request(port, token, "piped.say" if kind in OVER_STDIO else "bare.say", {"kind": kind, "text": name})


async def measure(port: int, token: str, other: Executor, only: str) -> list[dict[str, Any]]:
    """All rows."""
    small = Target(port, (), "small.add", {"a": 1, "b": 2}, token)
    idle = sorted([await longest_wait(small, other, None) for _ in range(REPEATS)])[REPEATS // 2]
    rows = [row(f"longest wait of a small call beside nothing, median of {REPEATS}", idle, "ms")]
    for name in WORST:
        for kind in KINDS:
            if only not in f"{kind}: {name}":
                continue
            huge = sent(port, token, kind, name)
            waits = sorted([await longest_wait(small, other, huge) for _ in range(REPEATS)])
            rows.append(row(f"beside {kind}: {name}", waits[REPEATS // 2], "ms", TARGET_MS))
            print(rows[-1]["name"], round(waits[REPEATS // 2]), "ms", file=sys.stderr, flush=True)
    return rows


def main(only: str = "", json_path: str | None = None) -> list[dict[str, Any]]:
    """Measure and print; rows also go to `json_path`."""
    META["progressToken"] = "p"
    with (
        tempfile.TemporaryDirectory(prefix="workbench-worst-") as folder,
        process("-m", "loadtests.bench_worst", "--serve") as quick,
        process("-m", "loadtests.bench_worst", "--serve", "--behind") as child,
        other_client() as other,
    ):
        url, small = (f"http://127.0.0.1:{int(next(iter(each.stdout or ())))}/mcp" for each in (child, quick))
        piped = {
            "command": sys.executable,
            "args": ["-m", "loadtests.bench_worst", "--stdio"],
            "env": {"PYTHONPATH": str(ROOT), **KNOWN},
        }
        with platform(Path(folder) / "home", {"bare": url, "small": small, "piped": piped}) as (port, _, _, env):
            token = narrow_key(env, scopes=("bare:read", "small:read", "piped:read"))
            rows = asyncio.run(measure(port, token, other, only))
    return report(rows, json_path)


def serve() -> None:
    """Print the port and answer on it."""
    import socket

    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(64)
    print(listening.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(server, log_level="error", access_log=False, lifespan="off")).run(sockets=[listening])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="rows whose name has this in it")
    parser.add_argument("--json", dest="json_path")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--stdio", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--behind", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.behind:
        step_back()
    if given.serve:
        serve()
    elif given.stdio:
        stdio()
    else:
        main(given.only, given.json_path)
