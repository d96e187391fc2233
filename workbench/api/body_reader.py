"""Reading the bodies of requests: bounded before they are parsed, and parsed as strictly as at `/mcp`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from typing import Any, Final

from fastapi import Request
from fastapi.responses import Response

from workbench.api.error_responses import ASGI, CALLER, FAULT, error, known
from workbench.endpoint.elicitation import PAGE
from workbench.endpoint.http import jsonrpc
from workbench.events import Call, Caller, WorkbenchError
from workbench.gateway.results.portability import plain_arguments
from workbench.platform.platform import Platform

CALL: Final = "/api/platform/call"
SLACK: Final = "/slack/interactivity"
"""Reads its body itself: it is a form, and its signature is over the bytes."""

OPEN: Final = re.compile(rf"/health|/docs|/openapi\.json|/swagger/.*|{re.escape(PAGE)}[^/]*|{re.escape(SLACK)}")
"""Paths that ask for no credential in the headers. For all others it is looked at before the body is."""

MAX_OPEN_BODY: Final = 64 << 10
"""Bytes of a body that somebody unknown may send: a form with a key, or a click in Slack."""

BODY_TIMEOUT_S: Final = 30.0
"""Seconds in which a body has to arrive."""


DISCARD_TIMEOUT_S: Final = 2.0
"""Seconds in which the rest of a body that is too large is read and thrown away."""


class BodyReader:
    """An ASGI application before the management API, which gets only requests whose body can be meant.

    Args:
        platform: has the setting `max_request_bytes`, and keeps the record.
        api: the application.
    """

    def __init__(self, platform: Platform, api: ASGI) -> None:
        self._platform = platform
        self._api = api

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] == SLACK:
            await self._go_on(scope, receive, send)
            return
        request = Request(scope, receive)
        is_open = OPEN.fullmatch(scope["path"]) is not None
        if not is_open and _has_body(request):
            try:
                presented = request.headers.getlist("authorization")
                scope[CALLER] = await self._platform.authenticate(presented, scope)
            except WorkbenchError as e:
                await known(self._platform, request, e)(scope, receive, send)
                return
        most = self._platform.settings.max_request_bytes
        if is_open or CALLER not in scope:
            most = min(most, MAX_OPEN_BODY)
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                body = await self._body(request, most, discards=not is_open)
        except TimeoutError:
            await error("Misuse", "The body did not arrive in time.", "", 408, _CLOSE)(scope, receive, send)
            return
        if body is None:
            return
        if isinstance(body, bytes):
            form = scope["path"].startswith(PAGE)  # what a browser sends there is no JSON
            refused = await self._refusal(request, body) if body and not form else None
        else:
            refused = body
        if refused is not None:
            await refused(scope, receive, send)
            return
        unread = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Any:
            return unread.pop() if unread else await receive()

        await self._go_on(scope, replay, send)

    async def _go_on(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self._api(scope, receive, send)
        except Exception:
            if FAULT not in scope:  # what was logged and answered is done with
                raise

    async def _body(self, request: Request, most: int, *, discards: bool) -> bytes | Response | None:
        """The whole body, or the refusal of one that is too large; None when the client has left.

        Args:
            most: bytes.
            discards: whether the sender of a larger one is known, and may finish.
        """
        declared = request.headers.get("content-length", "0")
        parts: list[bytes] = []
        size = int(declared) if declared.isdecimal() else 0
        too_large = error(
            "Misuse", f"The body has more than {most:,} bytes.", "See the setting max_request_bytes.", 413, _CLOSE
        )
        if size > most:
            if discards:
                await self._discard(request, most)
            return too_large
        size = 0
        while True:
            message = await request.receive()
            if message["type"] != "http.request":
                return None
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > most:
                if discards:
                    await self._discard(request, most)
                return too_large
            if not message.get("more_body"):
                return b"".join(parts)

    async def _discard(self, request: Request, most: int) -> None:
        """Let the sender finish, within bounds: one that is cut off while it writes does not read the answer."""
        left = 4 * most
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DISCARD_TIMEOUT_S):
                while left > 0:
                    message = await request.receive()
                    left -= len(message.get("body", b""))
                    if not message.get("more_body"):
                        return

    async def _refusal(self, request: Request, body: bytes) -> Response | None:
        """What is wrong with the JSON of a body; a call in it that names its tool is recorded as refused."""
        try:
            jsonrpc.parse(body)
        except jsonrpc.BadMessageError as e:
            message = str(e)
        else:
            return None
        try:
            if CALLER in request.scope and request.url.path == CALL:
                await record_refused(self._platform, request, _leniently(body), request.scope[CALLER], message)
        except WorkbenchError as e:
            return known(self._platform, request, e)
        return error("Misuse", message, "Send one JSON document (RFC 8259), each key once. See /docs.", 422)


async def record_refused(platform: Platform, request: Request, body: Any, caller: Caller, message: str) -> None:
    """Put a call on the record that was turned down because its body cannot be meant, if it names a tool.

    Raises:
        NotRecordedError: the record cannot be written.
    """
    if request.url.path != CALL or not isinstance(body, dict) or not isinstance(tool := body.get("tool"), str):
        return
    arguments = body.get("arguments")
    kept = plain_arguments(arguments) if isinstance(arguments, dict) else {}
    await platform.gateway.refuse(Call(caller=caller, tool=tool, arguments=kept, source="rest"), "invalid", message)


def _has_body(request: Request) -> bool:
    """Whether the head of a request announces a body (RFC 9112 §6.3)."""
    return "transfer-encoding" in request.headers or request.headers.get("content-length", "0").strip("0") != ""


def _leniently(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


_CLOSE: Final = {"Connection": "close"}
"""The connection is not used again, for its rest is unread."""
