"""`workbench connect`: lets a client that only speaks stdio use the running gateway."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

import click

from workbench.events import JSON, MisuseError, UnauthenticatedError, UnreachableError

if TYPE_CHECKING:
    import aiohttp

    from workbench.platform.run_file import RunningPlatform

MAX_MESSAGE_BYTES: Final = 64 << 20
LAST_ANSWERS_TIMEOUT_S: Final = 10.0
"""Seconds in which answers may still come once the client has closed our input."""

GATEWAY_GONE: Final = -32000


@click.command()
@click.option("--server", help="Offer one server alone, under its own tool names; default are all of them.")
@click.option("--profile", help="Offer one profile alone; see `workbench profiles`.")
def connect(server: str | None, profile: str | None) -> None:
    """Bridge a client that only speaks stdio to the running gateway.

    To be named as the command of an MCP server in the client's configuration. Messages pass through as they are, in
    whichever revision the client speaks.
    """
    from workbench.config import Settings
    from workbench.platform.run_file import at_url, find_running

    if server and profile:
        raise MisuseError("Both --server and --profile are given.", hint="Give one of them.")
    settings = Settings.load(home=click.get_current_context().obj.get("home"))
    elsewhere = at_url(settings.url, os.environ.get("WORKBENCH_TOKEN", "")) if settings.url else None
    running = elsewhere or find_running(settings.home)
    if running is None:
        raise UnreachableError(
            f"No platform runs on {settings.home}.", hint="Start it with `workbench up`, or give --home."
        )
    part = f"/servers/{server}" if server else f"/profiles/{profile}" if profile else ""
    asyncio.run(_bridge(running, f"{part}/ws"))


async def _bridge(running: RunningPlatform, path: str) -> None:
    import aiohttp

    headers = {"Authorization": f"Bearer {running.token}"}
    lines = _lines_of_stdin()
    try:
        async with (
            aiohttp.ClientSession(headers=headers) as http,
            http.ws_connect(
                running.url + path, protocols=("mcp",), max_msg_size=MAX_MESSAGE_BYTES, heartbeat=20
            ) as socket,
        ):
            await StdioBridge(socket).run(lines)
    except aiohttp.WSServerHandshakeError as e:
        if e.status == 401:
            raise UnauthenticatedError("The gateway does not accept the key.") from e
        hint = "See `workbench servers` and `workbench profiles`." if e.status == 404 else ""
        raise UnreachableError(f"The gateway refused {path} (HTTP {e.status}).", hint=hint) from e
    except aiohttp.ClientError as e:
        raise UnreachableError(f"The gateway at {running.url} cannot be reached: {e}.") from e


class StdioBridge:
    """Carries messages between our standard streams and the gateway.

    Args:
        socket: open, to the gateway.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._waiting: set[str] = set()
        self._answered = asyncio.Event()

    async def run(self, lines: asyncio.Queue[bytes | None]) -> None:
        """Until the client has closed our input and has its answers.

        Raises:
            UnreachableError: the gateway went away; requests under way are answered with an error first.
        """
        reading = asyncio.ensure_future(self._from_client(lines))
        writing = asyncio.ensure_future(self._from_gateway())
        try:
            await asyncio.wait({reading, writing}, return_when=asyncio.FIRST_COMPLETED)
            if writing.done():
                writing.result()
                for id in sorted(self._waiting):
                    _write({"jsonrpc": "2.0", "id": json.loads(id), "error": _gone(self._socket)})
                raise UnreachableError(_gone(self._socket)["message"], hint="Is `workbench up` still running?")
            reading.result()
        finally:
            for task in (reading, writing):
                task.cancel()
            await asyncio.gather(reading, writing, return_exceptions=True)

    async def _from_client(self, lines: asyncio.Queue[bytes | None]) -> None:
        while (line := await lines.get()) is not None:
            if line.strip():
                self._note(line, asked=True)
                await self._socket.send_str(line.decode("utf-8", "replace").strip())
        try:
            async with asyncio.timeout(LAST_ANSWERS_TIMEOUT_S):
                while self._waiting:
                    self._answered.clear()
                    await self._answered.wait()
        except TimeoutError:
            return

    async def _from_gateway(self) -> None:
        async for message in self._socket:
            text: Any = message.data
            if not isinstance(text, str):
                continue
            sys.stdout.buffer.write(text.encode() + b"\n")
            sys.stdout.buffer.flush()
            self._note(text.encode(), asked=False)
            self._answered.set()

    def _note(self, data: bytes, *, asked: bool) -> None:
        """Remember which requests of the client wait for an answer."""
        try:
            found = json.loads(data)
        except (ValueError, RecursionError):  # the latter for what is nested too deep
            return  # the gateway says what is wrong with it
        for message in found if isinstance(found, list) else (found,):
            if isinstance(message, dict) and message.get("id") is not None and ("method" in message) is asked:
                id = json.dumps(message["id"])
                (self._waiting.add if asked else self._waiting.discard)(id)


def _gone(socket: aiohttp.ClientWebSocketResponse) -> JSON:
    return {"code": GATEWAY_GONE, "message": f"The gateway closed the connection (code {socket.close_code})."}


def _write(message: JSON) -> None:
    sys.stdout.buffer.write(json.dumps(message).encode() + b"\n")
    sys.stdout.buffer.flush()


def _lines_of_stdin() -> asyncio.Queue[bytes | None]:
    """Lines as they come, then None. A thread reads them: no event loop can wait for an input that is a file."""
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[bytes | None] = asyncio.Queue(16)

    def put(line: bytes | None) -> None:
        asyncio.run_coroutine_threadsafe(lines.put(line), loop).result()

    def read() -> None:
        rest = b""
        try:
            # not sys.stdin: its lock, held by this thread, would abort the interpreter when it ends
            while chunk := os.read(0, 1 << 16):
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    put(line)
            put(rest)
            put(None)
        except (RuntimeError, concurrent.futures.CancelledError):
            return  # the loop has ended, and the process with it

    threading.Thread(target=read, daemon=True, name="standard input").start()
    return lines
