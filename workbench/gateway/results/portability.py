"""What a call may hold so that every program on its way, and the record, can hold it too."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from workbench import json_values
from workbench.events import JSON, Call
from workbench.json_values import portability


def readable(call: Call) -> tuple[Call, str, int]:
    """`call` as it can be judged and recorded, what is wrong with what it held, if anything, and how many bytes its
    arguments have as JSON."""
    problem, size = portability(call.arguments)
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
