"""A client that sends a gateway thousands of odd messages over HTTP, WebSocket and SSE, and judges every answer.

What counts as a finding: a status of 500 or an unhandled exception; no answer and no end of the connection; more than
one answer to a request, or one that is no JSON-RPC; a secret in any answer; a wrong answer to the well-behaved client
that works beside it. `Fuzzer.case(n)` depends on seed and `n` alone, so that a finding can be sent again by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from tests.fuzz import rest_client
from tests.fuzz.protocol_grammar import MODERN, Grammar, Message, http_request
from tests.fuzz.rest_client import Route, objection, rest_request

ANSWER_TIMEOUT_S: Final = 30.0
"""Seconds until a missing answer is a finding; the machine may be busy."""
AT_ONCE: Final = 8
_INTERNAL_ERROR: Final = 1011
_STREAMS: Final = ("subscriptions/listen",)


class FindingError(Exception):
    """The gateway did something that it must never do."""


@dataclass
class HttpAnswer:
    """One answer as it came over the socket."""

    status: int
    headers: dict[str, str]
    body: bytes

    def messages(self) -> list[Any]:
        """The JSON-RPC messages in it: of a body, a batch, or an event stream."""
        if "text/event-stream" in self.headers.get("content-type", ""):
            lines = self.body.replace(b"\r\n", b"\n").split(b"\n")
            return [json.loads(line[6:]) for line in lines if line.startswith(b"data: ") and len(line) > 6]
        if "application/json" not in self.headers.get("content-type", "") or not self.body:
            return []
        found = json.loads(self.body)
        return found if isinstance(found, list) else [found]


@dataclass
class Fuzzer:
    """Sends cases to one gateway.

    Args:
        port: where it listens on this machine.
        tokens: of the callers who send; the first one behaves well.
        secrets: texts that must stand in no answer.
        seed: of all that is sent.
        sessions: ids of sessions that belong to the well-behaved client.
        routes: of the management API; with any, they are what is sent to.
    """

    port: int
    tokens: Sequence[str]
    secrets: Sequence[bytes]
    seed: int = 42
    sessions: list[str] = field(default_factory=list)
    routes: list[Route] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    async def run(self, number: int, first: int = 0) -> None:
        """Send cases `first` to `first + number`, eight at once; what is found is in `findings`."""
        waiting = iter(range(first, first + number))

        async def work() -> None:
            for case in waiting:
                try:
                    async with asyncio.timeout(rest_client.ANSWER_TIMEOUT_S if self.routes else ANSWER_TIMEOUT_S):
                        await self.case(case)
                except (FindingError, ValueError, TimeoutError) as e:
                    self.findings.append(f"case {case} of seed {self.seed}: {type(e).__name__} {e}"[:600])

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))

    async def case(self, number: int) -> None:
        """Send one case.

        Raises:
            FindingError: see above.
        """
        grammar = Grammar(random.Random(f"{self.seed}-{number}"), self.sessions)
        message = grammar.message()
        token = grammar.chance.choice(self.tokens[1:])
        if self.routes:
            await self.over_rest(grammar, token)
            return
        way = grammar.chance.choices((self.over_http, self.over_websocket, self.over_sse), (14, 3, 1))[0]
        self.counts[way.__name__] += 1
        await way(grammar, message, token)

    # --- HTTP

    async def over_http(self, grammar: Grammar, message: Message, token: str) -> None:
        data, proper = http_request(grammar, message, token)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 24)
        leaves = grammar.chance.random() < 0.05
        try:
            await self._write(grammar, writer, data)
            if leaves:  # in the middle of it all
                return
            if not proper and writer.can_write_eof():
                with contextlib.suppress(OSError):  # it has ended already
                    writer.write_eof()  # so that nobody waits for the rest of what was promised
            stream = isinstance(message.value, dict) and message.value.get("method") in _STREAMS
            answer = await self._read(reader, head_only=data.startswith(b"HEAD"), first_event=stream)
            if answer is None:
                if proper:
                    raise FindingError(f"no answer to {data[:300]!r}")
                return
            self.counts[str(answer.status)] += 1
            self._judge_http(answer, message if proper and not stream else None)
        except ConnectionError:
            if proper:
                raise FindingError(f"the connection ended before an answer to {data[:300]!r}") from None
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _write(self, grammar: Grammar, writer: asyncio.StreamWriter, data: bytes) -> None:
        """All at once, or in pieces with turns of the event loop between them."""
        size = len(data) if grammar.chance.random() < 0.8 else max(1, len(data) // 9)
        for at in range(0, len(data), size):
            writer.write(data[at : at + size])
            await writer.drain()
            await asyncio.sleep(0)

    async def _read(
        self, reader: asyncio.StreamReader, *, head_only: bool = False, first_event: bool = False
    ) -> HttpAnswer | None:
        """One answer; None where the connection ended without any."""
        head = await _until(reader, b"\r\n\r\n")
        if not head:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines) if name}
        status = int(first.split(" ")[1])
        body = b""
        if head_only or status in (204, 304):
            pass
        elif headers.get("transfer-encoding") == "chunked":
            while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
                body += (await reader.readexactly(size + 2))[:-2]
                if first_event:
                    break
        elif "content-length" in headers:
            body = await reader.readexactly(int(headers["content-length"]))
        elif not first_event:
            body = await reader.read()
        self._no_secret(head + body)
        return HttpAnswer(status, headers, body)

    def _judge_http(self, answer: HttpAnswer, message: Message | None) -> None:
        if answer.status >= 500 and answer.status != 503:
            raise FindingError(f"status {answer.status}: {answer.body[:200]!r}")
        answers = [each for each in answer.messages() if not (isinstance(each, dict) and "method" in each)]
        for each in answers:
            _well_formed(each)
        if message is None or message.id is None or answer.status in (401, 403, 404, 405, 413, 421, 429, 503):
            return
        mine = [each for each in answers if each.get("id") in (message.id, None)]
        if len(mine) != 1 or len(answers) != 1:
            raise FindingError(f"{len(answers)} answers to {message.body[:200]!r}: {answer.body[:200]!r}")

    # --- the management API

    async def over_rest(self, grammar: Grammar, token: str) -> None:
        data, proper = rest_request(grammar, self.routes, token)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 24)
        try:
            await self._write(grammar, writer, data)
            if not proper and writer.can_write_eof():
                with contextlib.suppress(OSError):
                    writer.write_eof()
            answer = await self._read(reader, head_only=data.startswith(b"HEAD"))
            if answer is None:
                if proper:
                    raise FindingError(f"no answer to {data[:300]!r}")
                return
            self.counts[f"rest {answer.status}"] += 1
            if wrong := objection(answer.status, answer.headers, answer.body):
                raise FindingError(f"{wrong} to {data[:300]!r}")
        except ConnectionError:
            if proper:
                raise FindingError(f"the connection ended before an answer to {data[:300]!r}") from None
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    # --- WebSocket

    async def over_websocket(self, grammar: Grammar, message: Message, token: str) -> None:
        headers = {"authorization": f"Bearer {token}"}
        url = f"ws://127.0.0.1:{self.port}/ws"
        frames = [message, *(grammar.message() for _ in range(grammar.chance.randrange(4)))]
        try:
            async with connect(
                url,
                subprotocols=["mcp"],
                additional_headers=headers,
                proxy=None,
                open_timeout=None,  # type: ignore[list-item]
            ) as socket:
                for frame in frames:
                    text = grammar.chance.random() < 0.9
                    await socket.send(frame.body.decode("utf-8", "replace") if text else frame.body)
                meta = {
                    "io.modelcontextprotocol/protocolVersion": MODERN,
                    "io.modelcontextprotocol/clientCapabilities": {},
                }
                end = {"jsonrpc": "2.0", "id": "the end", "method": "tools/list", "params": {"_meta": meta}}
                await socket.send(json.dumps(end))
                answered: Counter[str] = Counter()
                while "the end" not in answered:
                    said = await socket.recv(decode=False)
                    self._no_secret(said)
                    each = json.loads(said)
                    if isinstance(each, dict) and "method" not in each:
                        _well_formed(each)
                        answered[str(each.get("id"))] += 1
                asked = Counter(str(frame.id) for frame in frames)
                if any(
                    count > asked[id] + asked["None"] for id, count in answered.items() if id not in ("the end", "None")
                ):
                    raise FindingError(f"more answers than requests: {answered}")
        except ConnectionClosed as e:
            if e.rcvd is not None and e.rcvd.code == _INTERNAL_ERROR:
                raise FindingError(f"closed with {e.rcvd.code} {e.rcvd.reason} after {message.body[:300]!r}") from e
            self.counts["closed"] += 1
        except (InvalidHandshake, InvalidMessage, ConnectionError, EOFError) as e:
            raise FindingError(f"no socket: {e}") from e

    # --- HTTP+SSE

    async def over_sse(self, grammar: Grammar, message: Message, token: str) -> None:
        head = f"Host: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 24)
        try:
            writer.write(f"GET /sse HTTP/1.1\r\n{head}Accept: text/event-stream\r\n\r\n".encode())
            opened = await _until(reader, b"data: ")
            self._no_secret(opened)
            endpoint = re.sub(rb"^https?://[^/]+", b"", (await reader.readuntil(b"\n")).strip()).decode()
            if b" 200 " not in opened[:20]:
                raise FindingError(f"no event stream: {opened[:200]!r}")
            other, sender = await asyncio.open_connection("127.0.0.1", self.port)
            length = len(message.body)
            about = (
                f"POST {endpoint} HTTP/1.1\r\n{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
            )
            sender.write(about.encode() + message.body)
            answer = await self._read(other)
            sender.close()
            if answer is None:
                raise FindingError(f"no answer to a message of an event stream: {message.body[:200]!r}")
            self.counts[f"sse {answer.status}"] += 1
            self._judge_http(answer, None)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    # --- beside it

    async def behave(self, stop: asyncio.Event) -> int:
        """Call a tool again and again until `stop` is set; how often it was answered rightly."""
        number = 0
        while not stop.is_set():
            number += 1
            meta = {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}}
            params = {"name": "calc.add", "arguments": {"a": number, "b": 1}, "_meta": meta}
            body = json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}).encode()
            head = (
                f"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {self.tokens[0]}\r\n"
                "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"
                "Connection: close\r\n"
                f"MCP-Protocol-Version: {MODERN}\r\nMcp-Method: tools/call\r\nMcp-Name: calc.add\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                writer.write(head.encode() + body)
                answer = await self._read(reader)
                said = answer.messages() if answer is not None else []
                if len(said) != 1 or said[0].get("result", {}).get("structuredContent") != {"total": number + 1}:
                    self.findings.append(f"the well-behaved client got {answer}"[:600])
            finally:
                writer.close()
            await asyncio.sleep(0.01)
        return number

    def _no_secret(self, data: bytes) -> None:
        for secret in self.secrets:
            if secret in data:
                raise FindingError(f"a secret in an answer: {data[:400]!r}")


async def _until(reader: asyncio.StreamReader, end: bytes) -> bytes:
    """What comes up to `end`; empty where nothing does, or where the connection ends before."""
    try:
        return await reader.readuntil(end)
    except asyncio.IncompleteReadError:
        return b""


def _well_formed(message: Any) -> None:
    """Raises FindingError where `message` is no response of JSON-RPC 2.0."""
    if (
        not isinstance(message, dict)
        or message.get("jsonrpc") != "2.0"
        or ("result" in message) == ("error" in message)
    ):
        raise FindingError(f"no response of JSON-RPC: {str(message)[:300]}")
    error = message.get("error")
    if "error" in message and not (
        isinstance(error, dict) and type(error.get("code")) is int and isinstance(error.get("message"), str)
    ):
        raise FindingError(f"no error of JSON-RPC: {str(message)[:300]}")
