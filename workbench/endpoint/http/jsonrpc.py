"""JSON-RPC as it stands on the wire: reading what clients send, strictly, and building what they get."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec
import orjson

from workbench.error_codes import INVALID_PARAMS, INVALID_REQUEST, PARSE_ERROR
from workbench.events import JSON
from workbench.gateway.results.outbound_redaction import in_error
from workbench.json_values import MAX_DEPTH, deeper_than
from workbench.upstream.jsonrpc_messages import encode

MAX_COMMAS: Final = 100_000
"""Bounds the number of values in a request: a body of many tiny ones stalls the event loop longer than a long text."""

_LARGE: Final = 64 << 10

_decode = msgspec.json.Decoder(Any).decode


class BadMessageError(Exception):
    """What a client sent cannot be understood; becomes a JSON-RPC error."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.data = data


def parse(body: bytes) -> Any:
    """The JSON in `body`, exactly as it was meant.

    Refused are, beside what is no JSON: too deep or too many values, integers beyond 64 bits (programs disagree about
    their value), and objects with a key twice (programs disagree about which one counts).

    Raises:
        BadMessage: with the code to answer.
    """
    commas, openings = body.count(b","), body.count(b"[") + body.count(b"{")
    if commas > MAX_COMMAS or openings > MAX_COMMAS:
        raise BadMessageError(INVALID_REQUEST, f"The body has more than {MAX_COMMAS:,} values.")
    try:
        value = _decode(body)
        if openings > MAX_DEPTH and deeper_than(value, MAX_DEPTH):
            raise BadMessageError(INVALID_REQUEST, f"The body is nested deeper than {MAX_DEPTH} levels.")
        plain = orjson.dumps(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:  # msgspec says bad UTF-8 by the second
        raise BadMessageError(PARSE_ERROR, f"The body is not JSON: {e}.") from e
    except TypeError as e:
        raise BadMessageError(INVALID_REQUEST, f"The body has a value that is not portable: {e}.") from e
    # Every key has a colon, and a key that came twice is gone from `plain`. Colons in texts count on both sides, except
    # where they were written as \u003a. So equal counts prove that no key came twice; only otherwise look closely.
    if body.count(b":") != plain.count(b":") or body.find(b"\\u") >= 0:
        _refuse_duplicates(body)
    return value


def _refuse_duplicates(body: bytes) -> None:
    def unique(pairs: list[tuple[str, Any]]) -> None:
        if len({key for key, _ in pairs}) != len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise BadMessageError(INVALID_REQUEST, f"The key {twice[:100]!r} stands twice in one object.")

    json.loads(body, object_pairs_hook=unique)


def request_id(message: JSON) -> Any:
    """The id of a request.

    Raises:
        BadMessage: it is neither text nor a whole number (basic/index, "Requests": null is not allowed).
    """
    id = message["id"]
    if isinstance(id, str) or (isinstance(id, int) and not isinstance(id, bool)):
        return id
    raise BadMessageError(INVALID_REQUEST, f"The id of a request is {json.dumps(id)[:50]}; expected text or a number.")


def check_envelope(message: Any) -> JSON:
    """`message` if it is one JSON-RPC request, notification or response.

    Raises:
        BadMessage: it is not.
    """
    if not isinstance(message, dict):
        raise BadMessageError(INVALID_REQUEST, "Expected one JSON-RPC object.")
    if message.get("jsonrpc") != "2.0":
        raise BadMessageError(INVALID_REQUEST, 'The message has no "jsonrpc": "2.0".')
    if "method" in message:
        if not isinstance(message["method"], str):
            raise BadMessageError(INVALID_REQUEST, "The method is no text.")
        if message.get("params", {}) in (None, []):  # what some programs write where there are none
            return {key: value for key, value in message.items() if key != "params"}
        if not isinstance(message.get("params", {}), dict):
            raise BadMessageError(INVALID_PARAMS, "The params are no object.")
    elif "result" not in message and "error" not in message:
        raise BadMessageError(INVALID_REQUEST, "The message is neither a request nor a notification nor a response.")
    return message


def result(id: Any, value: JSON) -> bytes:
    """A response with `value`."""
    data = encode({"jsonrpc": "2.0", "id": id, "result": value})
    # The encoder reserves up to half as much again; a client that reads slowly must not make us keep that.
    return data if len(data) < _LARGE else bytes(memoryview(data))


def encoded_result(id: Any, value: bytes) -> bytes:
    """A response with a result that is encoded already."""
    return b'{"jsonrpc":"2.0","id":' + encode(id) + b',"result":' + value + b"}"


def error(id: Any, code: int, message: str, data: Any = None, *, cleared: bool = False) -> bytes:
    """An error response.

    Args:
        id: of the request; None when it could not be read.
        code: of JSON-RPC, or our own.
        message: for people.
        data: for programs.
        cleared: whether both have gone through `Outbound` already, as all of an outcome has.
    """
    if not cleared:
        message, data = in_error([message, data])
    body: JSON = {"code": code, "message": message}
    if data is not None:
        body["data"] = data
    return encode({"jsonrpc": "2.0", "id": id, "error": body})


def event(message: bytes) -> bytes:
    """A message as a server-sent event."""
    return b"".join(event_parts(message))


def event_parts(message: bytes) -> tuple[bytes, bytes, bytes]:
    """The same in parts, so that a large message need not be copied."""
    return b"event: message\ndata: ", message, b"\n\n"
