"""JSON-RPC messages in the body of an HTTP answer, however the server labels and encodes it."""

from __future__ import annotations

import asyncio
import codecs
import re
from typing import Any, Final

from workbench.upstream.error_text import excerpt, page_title, words_of
from workbench.upstream.http.content_coding import ByteSource, decoded
from workbench.upstream.http.response import HttpResponse
from workbench.upstream.http.sse_parser import LARGE, SseEvent, events
from workbench.upstream.jsonrpc_messages import decode, decode_large, decode_strict, encode, request_id
from workbench.upstream.negotiation import NotMcpError

JSON_TYPE: Final = "application/json"
EVENTS_TYPE: Final = "text/event-stream"

_BOMS: Final = (
    (codecs.BOM_UTF8, ""),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
USUAL_TYPES: Final = frozenset({JSON_TYPE, f"{JSON_TYPE}; charset=utf-8", f"{JSON_TYPE};charset=utf-8"})
"""Content types of nearly every answer, as they are written."""

_EVENT_FIELD: Final = re.compile(rb"(?:data|event|id|retry)?:")


def media_type(content_type: str) -> str:
    """The value of a `Content-Type` header in lower case and without parameters; empty when there is none."""
    return content_type.partition(";")[0].strip().lower()


async def _read_rest(response: HttpResponse, content: ByteSource, body: bytes, server: str, max_bytes: int) -> bytes:
    """The whole body, never more than allowed, of which `body` has been read."""
    parts, size = [body], len(body)
    while size <= max_bytes and (chunk := await content.readany()):
        size += len(chunk)
        parts.append(chunk)
    if size > max_bytes:
        raise NotMcpError(f"Server {server!r} answered with more than {max_bytes:,} bytes.", response.status)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def read_start(response: HttpResponse, server: str, max_bytes: int) -> bytes:
    """As much of the body as `max_bytes`, without its codings.

    Raises:
        ApprovalRefusedError: it is in a coding that is not read.
    """
    content = decoded(response, server)
    found = b""
    while len(found) < max_bytes and (chunk := await content.readany()):
        found += chunk[: max_bytes - len(found)]
    return found


def as_utf8(body: bytes, content_type: str) -> bytes:
    """`body` in UTF-8 and without a byte order mark, where its mark or its `charset` says what it is in."""
    for mark, name in _BOMS:
        if body.startswith(mark):
            return _recoded(body, name) if name else body[len(mark) :]
    charset = content_type.lower().partition("charset=")[2].partition(";")[0].strip(" \"'")
    return _recoded(body, charset) if charset and charset not in ("utf-8", "utf8", "us-ascii") else body


def _recoded(body: bytes, charset: str) -> bytes:
    try:
        if codecs.lookup(charset).name not in ("utf-8", "ascii"):
            return body.decode(charset).encode("utf-8", "surrogatepass")
    except (LookupError, UnicodeError):
        pass  # a wrong label: JSON is in UTF-8 unless that fails, too
    return body


async def read_messages(response: HttpResponse, content_type: str, server: str, max_bytes: int) -> list[Any]:
    """The messages in the body of a successful answer. The content type is not believed: many servers have it wrong.

    Args:
        response: with a status of 2xx.
        content_type: its header.
        server: how to call the server in messages.
        max_bytes: largest message accepted.

    Raises:
        ApprovalRefusedError: there is none, with what there is instead; or it is too large, or in a coding that is
            not read.
    """
    status, content = response.status, decoded(response, server)
    body: bytes = await content.readany()
    # content that is unpacked may go on at the end of what was sent
    if len(body) > max_bytes or content is not response.content or not content.at_eof():
        body = await _read_rest(response, content, body, server, max_bytes)
    if len(body) <= LARGE:
        return await _messages(body, content_type, server, status, max_bytes)
    await asyncio.sleep(0)  # decoding one of megabytes takes milliseconds, and so does what comes before and after it
    found = await _messages(body, content_type, server, status, max_bytes)
    await asyncio.sleep(0)
    return found


async def _messages(body: bytes, content_type: str, server: str, status: int, max_bytes: int) -> list[Any]:
    if content_type in USUAL_TYPES and body.startswith(b'{"'):  # nearly every answer is like this
        try:
            return [decode_strict(body) if len(body) <= LARGE else await decode_large(body)]
        except ValueError:
            return await _decoded(body, server)
    kind, body = media_type(content_type), as_utf8(body, content_type).strip()
    if not body:
        raise NotMcpError(f"Server {server!r} answered HTTP {status} and no MCP message.", status)
    if kind == JSON_TYPE or body[:1] in b"{[":
        return await _decoded(body, server)
    if _EVENT_FIELD.match(body):
        return await _of_events(body, server, max_bytes)
    raise _no_message(server, status, kind, body)


async def _decoded(body: bytes, server: str) -> list[Any]:
    """`_each` of a body that is odd; of a large one in a thread, so that nobody waits for that."""
    return _each(body, server) if len(body) <= LARGE else await asyncio.to_thread(_each, body, server)


def _each(body: bytes, server: str) -> list[Any]:
    """The messages in a body of JSON: one, an array of them, or one in each line."""
    try:
        return _listed(decode(body, server))
    except NotMcpError:
        lines = [line for line in body.splitlines() if line.strip()]
        if len(lines) < 2 or not all(line.lstrip().startswith(b"{") for line in lines):
            raise
        return [decode(line, server) for line in lines]


def _listed(message: Any) -> list[Any]:
    return message if isinstance(message, list) else [message]


async def _of_events(body: bytes, server: str, max_bytes: int) -> list[Any]:
    """Events whose content type does not say so."""
    found: list[Any] = []
    async for event in events(_Whole(body), max_bytes=max_bytes):
        found += await messages_of(event, server)
    return found


class _Whole:
    """A body that is there already, as a stream."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def readany(self) -> bytes:
        body, self._body = self._body, b""
        return body


def _no_message(server: str, status: int, kind: str, body: bytes) -> NotMcpError:
    called = kind or "no content type"
    if title := page_title(body):
        words = f"Server {server!r} answered with a web page ({called}) titled {title!r}, not with JSON."
        hint = "That is often a page for signing in, or the address of the site and not of its MCP endpoint."
        return NotMcpError(words, status, hint=hint)
    return NotMcpError(f"Server {server!r} answered with {called}, not with JSON: {excerpt(body)!r}.", status)


async def messages_of(event: SseEvent, server: str) -> list[Any]:
    """The messages in an event. Pings, ends of other protocols and other talk are none. Of a large one others get their
    turn meanwhile.

    Raises:
        ApprovalRefusedError: it is to be a message and is broken.
    """
    if event.data.lstrip()[:1] not in (b"{", b"[") or event.data == b"[DONE]":
        return []
    try:
        if len(event.data) <= LARGE:
            return _listed(decode(event.data, server))
        try:
            return _listed(await decode_large(event.data))
        except ValueError:
            return _listed(await asyncio.to_thread(decode, event.data, server))
    except NotMcpError:
        if event.complete and event.name == "message":
            raise
        return []


def answer_among(messages: list[Any], id: int) -> Any:
    """The response to request `id`; None when there is none.

    One POST has one answer, so an id that came back as text is ours, and so is one that did not come back at all.
    """
    responses = [one for one in messages if isinstance(one, dict) and ("result" in one or "error" in one)]
    for one in responses:
        if request_id(one) == id:
            return one
    if len(responses) == 1:
        given = responses[0].get("id")
        if given is None or ("error" in responses[0] and not isinstance(given, int)):
            return {**responses[0], "id": id}
    return None


def no_answer(messages: list[Any], server: str, status: int) -> NotMcpError:
    """Why messages without a response cannot be used; many of them say it themselves."""
    words = words_of(encode(messages[0] if len(messages) == 1 else messages))
    return NotMcpError(
        f"Server {server!r} answered with a message that is no response to the request: {words.rstrip('.')}.", status
    )
