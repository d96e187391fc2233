"""JSON-RPC messages as they come from a server: reading, correlating, answering."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from workbench.events import JSON
from workbench.registry.connection import RpcError
from workbench.scanning import in_pieces
from workbench.secrets import hide_bytes, hide_in_pieces
from workbench.upstream.lenient_json import decode_values, note_repairs
from workbench.upstream.negotiation import METHOD_NOT_FOUND, NotMcpError
from workbench.upstream.tool_result import tool_result

Notify = Callable[[JSON], Awaitable[None]]
"""Awaited with each notification that belongs to one request."""

INTERNAL_ERROR: Final = -32603

MAX_MESSAGE: Final = 64 << 20
"""Largest message accepted from a server, in bytes."""

encode = msgspec.json.Encoder().encode
"""JSON bytes; unlike orjson it carries integers of any size, which servers in Python do send."""

_decode = msgspec.json.Decoder(Any).decode


def decode(data: bytes, server: str) -> Any:
    """The message in `data`, in which a server may echo what it was shown: secrets of ours are taken out.

    What is no strict JSON is read as `lenient_json` does.

    Raises:
        ApprovalRefusedError: it is no JSON.
    """
    try:
        return decode_strict(data)
    except ValueError as e:
        try:
            values, rest, repairs = decode_values(data)
        except RecursionError:
            values, rest, repairs = [], "", []
        if len(values) == 1 and not rest:
            return note_repairs(values[0], repairs)
        raise NotMcpError(f"Server {server!r} answered with broken JSON: {e}.", 200) from e


async def decode_large(data: bytes) -> Any:
    """As `decode_strict`, for megabytes: others get their turn while the secrets are taken out, before and after.

    Raises:
        ValueError: it is no JSON.
    """
    data = await without_secrets(data)
    await asyncio.sleep(0)  # decoding takes milliseconds by itself
    return decode_strict(data, hidden=True)


async def without_secrets(data: bytes) -> bytes:
    """`data` without secrets of ours; others get their turn meanwhile."""
    return await in_pieces(hide_in_pieces(data))


def decode_strict(data: bytes, *, hidden: bool = False) -> Any:
    """As `decode`, for JSON in UTF-8 as the standard has it.

    Args:
        data: JSON.
        hidden: whether secrets are taken out of it already.

    Raises:
        ValueError: it is none.
    """
    try:
        return _decode(data if hidden else hide_bytes(data))
    except RecursionError as e:
        raise ValueError(str(e)) from e


def result_of(message: Any, id: int, server: str, method: str = "") -> JSON:
    """The result in `message`, which must be the response to request `id` for `method`, where that is known.

    Raises:
        RpcError: the response is an error.
        ApprovalRefusedError: it is not that response.
    """
    if isinstance(message, dict) and _responds(message, id):
        result, error = message.get("result"), message.get("error")
        if error is not None and not (isinstance(result, dict) and result):
            raise rpc_error(error if isinstance(error, dict) else {"message": error})
        if "result" in message and (method == "tools/call" or not isinstance(result, dict | None)):
            return tool_result(result)
        if "result" in message:
            return result or {}
    raise NotMcpError(f"Server {server!r} answered with a message that is no response to the request.", 200)


def _responds(message: JSON, id: int) -> bool:
    given = message.get("id")
    if type(given) is int:
        return given == id
    return request_id(message) == id or (given is None and "error" in message)


def request_id(message: JSON) -> int | None:
    """The id of our request that `message` responds to. Some servers return it as text, or as a number with a point."""
    id = message.get("id")
    if isinstance(id, str) and id.isascii() and id.isdigit() and len(id) < 16:
        return int(id)
    return int(id) if isinstance(id, (int, float)) and not isinstance(id, bool) and id == id // 1 else None


def of_request(method: Any) -> bool:
    """Whether a notification on the stream of a request is part of its answer: progress, logs, those of extensions."""
    if method in ("notifications/progress", "notifications/message"):
        return True
    return isinstance(method, str) and (not method.startswith("notifications/") or "." in method)


def rpc_error(error: JSON) -> RpcError:
    """A JSON-RPC error object as the exception; odd shapes are tolerated, because servers in the field have them."""
    code, message = error.get("code"), error.get("message")
    if isinstance(code, str) and code.removeprefix("-").isdecimal() and len(code) < 10:
        code = int(code)
    if not isinstance(message, str):
        message = "" if message is None else encode(message).decode()
    return RpcError(
        code if isinstance(code, int) and not isinstance(code, bool) else INTERNAL_ERROR,
        message or "The server gave no reason.",
        error.get("data"),
    )


def answer_to_server(message: JSON) -> JSON:
    """The response to a request that a server sent to us: only `ping` is served, for we declare no capabilities."""
    if message.get("method") == "ping":
        return {"id": message["id"], "result": {}}
    told = f"{message.get('method')} is not available: this client declared no such capability."
    return {"id": message["id"], "error": {"code": METHOD_NOT_FOUND, "message": told}}


def with_own_token(meta: JSON | None, notify: Notify | None, token: int) -> tuple[JSON | None, Notify | None]:
    """`meta` and `notify` with our progress token in place of the caller's.

    Callers choose tokens freely and one upstream serves many of them, so tokens would collide. The caller's own is put
    back into each progress notification; without `notify` no progress is asked for.
    """
    if not meta or (theirs := meta.get("progressToken")) is None:
        return meta, notify
    if notify is None:
        return {key: value for key, value in meta.items() if key != "progressToken"}, None
    tell = notify

    async def restored(message: JSON) -> None:
        params = message.get("params")
        if message.get("method") == "notifications/progress" and isinstance(params, dict):
            message = {**message, "params": {**params, "progressToken": theirs}}
        await tell(message)

    return {**meta, "progressToken": token}, restored
