"""What a call may hold so that every program on its way, and the record, can hold it too."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import orjson

from workbench import json_values
from workbench.events import JSON, Call
from workbench.json_values import DEEPEST, deeper_than


def unportable(value: Any) -> str:
    """Why `value` cannot travel as JSON (RFC 8259, I-JSON of RFC 7493), in words; empty when it can.

    The doors on the wire refuse such bodies as they parse them; Python code and models can still bring lone surrogates,
    integers beyond 64 bits, numbers that are none, endless nesting, or objects of their own.
    """
    try:
        encoded = orjson.dumps(value)
    except (TypeError, RecursionError) as e:
        return f"a value is not portable JSON: {e}"
    if encoded.count(b"[") + encoded.count(b"{") > DEEPEST and deeper_than(value, DEEPEST):
        return f"they are nested deeper than {DEEPEST} levels"
    # `find`, because for `in` Python first tries bytes as a number, raises, and clears the error
    if encoded.find(b"null") >= 0 and _not_finite(value):  # that is what became of NaN and the infinities
        return "a number is NaN or infinite"
    return ""


def readable(call: Call) -> tuple[Call, str]:
    """`call` as it can be judged and recorded, and what is wrong with what it held, if anything."""
    problem = unportable(call.arguments)
    if not problem and call.tool.isascii():
        return call, ""
    name = json_values.text(call.tool)
    if not problem and name == call.tool:
        return call, ""
    arguments: JSON = plain_arguments(call.arguments) if problem else call.arguments
    return msgspec.structs.replace(call, tool=name, arguments=arguments), problem or "the name is no Unicode text"


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
