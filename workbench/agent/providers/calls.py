"""Requests for tools as they come over the wire: arguments are text, and the text may be anything."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import Any

import orjson

from workbench.agent.provider import ToolRequest

MADE = "made-"
"""Prefix of ids that we made because the provider gave none; they never go back over the wire."""


def requested(id: str | None, name: str, arguments: str | Mapping[str, Any] | None) -> ToolRequest:
    """The request that a provider wrote. Arguments that are no JSON object are kept as `malformed`."""
    id = id or f"{MADE}{uuid.uuid4().hex[:12]}"
    if isinstance(arguments, Mapping):
        return ToolRequest(id=id, name=name, arguments=dict(arguments))
    text = (arguments or "").strip()
    if not text:
        return ToolRequest(id=id, name=name)
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        return ToolRequest(id=id, name=name, malformed=text)
    return ToolRequest(id=id, name=name, arguments=found)


def safe_id(id: str) -> str:
    """`id` in the letters that every provider takes; ids of another provider need it."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", id)[:64] or "call"


def safe_tool_name(name: str) -> str:
    """A name that a provider made up, in the letters that every provider takes back."""
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64]
    return safe if re.match(r"[A-Za-z_]", safe) else f"_{safe}"[:64]
