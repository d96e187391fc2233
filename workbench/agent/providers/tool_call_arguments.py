"""What comes over the wire, made ours: text, counts, and requests for tools, whose arguments may be any text.

What is of the wrong kind raises `TypeError`; inside a `ProviderErrorTranslator` block that is a turn that broke off.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import Any

import orjson

from workbench.agent.provider import TextPart, ToolRequest

MADE = "made-"
"""Prefix of ids that we made because the provider gave none; they never go back over the wire."""


def piece(text: Any) -> TextPart:
    """A piece of the answer."""
    return TextPart(text=_text(text))


def count(tokens: Any) -> int:
    """A number of tokens; 0 where there is none."""
    if tokens is None:
        return 0
    if not isinstance(tokens, int) or tokens < 0:
        raise TypeError(f"a number of tokens is {tokens!r}")
    return int(tokens)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"text is {value!r}")
    return value


def requested(id: Any, name: Any, arguments: Any) -> ToolRequest:
    """The request that a provider wrote. Arguments that are no JSON object are kept as `malformed`."""
    name, id = _text(name), _text(id or "")
    id = id or f"{MADE}{uuid.uuid4().hex[:12]}"
    if isinstance(arguments, Mapping):
        return ToolRequest(id=id, name=name, arguments=dict(arguments))
    text = _text(arguments or "").strip()
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
