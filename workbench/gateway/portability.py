"""What a call may hold so that every program on its way, and the record, can hold it too."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import orjson

from workbench import json_values
from workbench.events import JSON, Call
from workbench.json_values import MAX_DEPTH, deeper_than


def unportable(value: Any) -> str:
    """Why `value` cannot travel as JSON (RFC 8259, I-JSON of RFC 7493), in words; empty when it can."""
    return _judged(value)[0]


def _judged(value: Any) -> tuple[str, int]:
    """Why `value` cannot travel, and how many bytes its JSON has where it can.

    The doors on the wire refuse such bodies as they parse them; Python code and models can still bring lone surrogates,
    integers beyond 64 bits, numbers that are none, endless nesting, or objects of their own.
    """
    try:
        encoded = orjson.dumps(value)
    except (TypeError, RecursionError) as e:
        return f"a value is not portable JSON: {e}", 0
    if encoded.count(b"[") + encoded.count(b"{") > MAX_DEPTH and deeper_than(value, MAX_DEPTH):
        return f"they are nested deeper than {MAX_DEPTH} levels", 0
    # `find`, because for `in` Python first tries bytes as a number, raises, and clears the error
    if encoded.find(b"null") >= 0 and _not_finite(value):  # that is what became of NaN and the infinities
        return "a number is NaN or infinite", 0
    return "", len(encoded)


def readable(call: Call) -> tuple[Call, str, int]:
    """`call` as it can be judged and recorded, what is wrong with what it held, if anything, and how many bytes its
    arguments have as JSON."""
    problem, size = _judged(call.arguments)
    if not problem and call.tool.isascii():
        return call, "", size
    name = json_values.text(call.tool)
    if not problem and name == call.tool:
        return call, "", size
    arguments: JSON = plain_arguments(call.arguments) if problem else call.arguments
    shown = msgspec.structs.replace(call, tool=name, arguments=arguments)
    return shown, problem or "the name is no Unicode text", size or len(orjson.dumps(arguments))


def plain_arguments(arguments: Any) -> JSON:
    """`arguments` in the nearest form that can be recorded."""
    try:
        kept = json_values.plain(arguments)
    except RecursionError:
        kept = None
    return kept if isinstance(kept, dict) else {"omitted": True}


def _not_finite(value: Any) -> bool:
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            left += item.values()
        elif isinstance(item, (list, tuple)):
            left += item
        elif isinstance(item, float) and not math.isfinite(item):
            return True
    return False
