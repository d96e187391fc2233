"""Odd lines to `workbench connect`, the bridge that a client of stdio starts: what must hold of what it writes.

A finding is a line that is no JSON-RPC, more answers than requests, no answer to the last request although the bridge
runs, a traceback, an end for another reason than that the gateway closed the connection, or a secret in any of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.fuzz.protocol_grammar import MODERN, Grammar

LINES: Final = 50
"""To one bridge, before the next is started."""
ANSWER_TIMEOUT_S: Final = 120.0
_LAST: Final = "the last one"
_CLOSED: Final = b"closed the connection"


async def over_stdio(
    port: int, token: str, home: Path, secrets: Sequence[bytes], seed: str, lines: int = LINES
) -> tuple[list[str], Counter[str]]:
    """Start one bridge, write to it, and judge what it says; the findings, and how often it answered how."""
    grammar = Grammar(random.Random(seed), [])
    asked: Counter[str] = Counter()
    written = b""
    for _ in range(lines):
        message = grammar.message()
        for line in message.body.split(b"\n"):
            written += line + grammar.chance.choice((b"\n", b"\n", b"\r\n", b"\n\n"))
        asked[json.dumps(message.id)] += 1
    meta = {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}}
    last = {"jsonrpc": "2.0", "id": _LAST, "method": "tools/list", "params": {"_meta": meta}}
    written += json.dumps(last).encode() + b"\n"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "workbench", "connect",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=home.parent,
        env={"PATH": os.environ["PATH"], "HOME": str(home.parent), "WORKBENCH_URL": f"http://127.0.0.1:{port}",
             "WORKBENCH_TOKEN": token, "PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            said, wrong = await process.communicate(written)  # its input ends: it waits for the answers, then ends
    except TimeoutError:
        return [f"seed {seed}: the bridge neither answered nor ended"], Counter()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return _judged(seed, process.returncode or 0, said, wrong, asked, secrets)


def _judged(
    seed: str, code: int, said: bytes, wrong: bytes, asked: Counter[str], secrets: Sequence[bytes]
) -> tuple[list[str], Counter[str]]:
    findings, counts = [], Counter[str]()
    answered: Counter[str] = Counter()
    for line in said.splitlines():
        try:
            each = json.loads(line)
        except ValueError:
            findings.append(f"a line that is no JSON: {line[:200]!r}")
            continue
        for one in each if isinstance(each, list) else [each]:
            if not isinstance(one, dict) or one.get("jsonrpc") != "2.0":
                findings.append(f"no message of JSON-RPC: {line[:200]!r}")
            elif "method" not in one:
                answered[json.dumps(one.get("id"))] += 1
    closed = _CLOSED in wrong
    if json.dumps(_LAST) not in answered and not closed:
        findings.append(f"no answer to the last request; it ended with {code}: {wrong[-400:]!r}")
    if code not in (0, 4) or (code == 4 and not closed) or b"Traceback" in wrong:
        findings.append(f"it ended with {code}: {wrong[-400:]!r}")
    unknown = asked["null"]
    extra = [
        id for id, count in answered.items() if id not in ("null", json.dumps(_LAST)) and count > asked[id] + unknown
    ]
    if extra:
        findings.append(f"more answers than requests: {extra[:3]}")
    if any(secret in said or secret in wrong for secret in secrets):
        findings.append("a secret in what it wrote")
    counts["bridges"] += 1
    counts["answers"] += sum(answered.values())
    counts["closed"] += closed
    return [f"seed {seed}: {text}" for text in findings], counts
