"""Results of `tools/call` as servers in the field write them, in the form that clients of every revision can read."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from workbench.events import JSON

BLOCKS: Final = frozenset({"text", "image", "audio", "resource", "resource_link", "tool_use", "tool_result"})
"""Kinds of content that some revision knows; a client refuses a whole result for one that it does not know."""

UNNAMED: Final = "resource://unnamed"
"""Address of an embedded resource that has none."""


def tool_result(value: Any) -> JSON:
    """The result of a tool in the form of the specification (server/tools, "Tool Result").

    Texts and lists that stand in its place become content; what is null counts as absent; content that is missing is
    taken from `structuredContent`, or from `toolResult` of 2024-10-07. A result that is as it should be stays the same
    object.
    """
    if not isinstance(value, dict):
        return {"content": _content(value)}
    if value.get("resultType", "complete") != "complete" or "task" in value:
        return value  # a question or a task, which have forms of their own
    content = value.get("content")
    if (
        isinstance(content, list)
        and ("structuredContent" not in value or value["structuredContent"] is not None)
        and ("isError" not in value or isinstance(value["isError"], bool))
        and ("_meta" not in value or isinstance(value["_meta"], dict))
        and all(map(_complete, content))
    ):
        return value
    result = {key: item for key, item in value.items() if item is not None and key != "toolResult"}
    if content is None:
        content = next((value[key] for key in ("structuredContent", "toolResult") if value.get(key) is not None), None)
        rest = {k: v for k, v in result.items() if k not in ("content", "structuredContent", "isError", "_meta")}
        if content is None and rest:
            content = rest
        result["content"] = [] if content is None else [_text(content)]
    else:
        result["content"] = _content(content)
    if "isError" in result and not isinstance(result["isError"], bool):
        result["isError"] = _truth(result["isError"])
    if "_meta" in result and not isinstance(result["_meta"], dict):
        del result["_meta"]
    return result


def _content(value: Any) -> list[JSON]:
    if value is None:
        return []
    if isinstance(value, list) and all(one is None or isinstance(one, str) or _typed(one) for one in value):
        return [_block(one) for one in value if one is not None]
    return [_block(value)]


def _complete(block: Any) -> bool:
    if not isinstance(block, dict):
        return False
    kind = block.get("type")
    if kind == "text" and len(block) == 2:
        return isinstance(block.get("text"), str)
    if not isinstance(kind, str) or kind not in BLOCKS or None in block.values():
        return False
    if kind == "text":
        return isinstance(block.get("text"), str)
    if kind == "resource":
        resource = block.get("resource")
        return isinstance(resource, dict) and isinstance(resource.get("uri"), str) and None not in resource.values()
    return True


def _block(value: Any) -> JSON:
    if not _typed(value) or value["type"] not in BLOCKS:
        return _text(value)
    block = {key: item for key, item in value.items() if item is not None}
    if block["type"] == "text":
        block["text"] = _text(block.get("text", ""))["text"]
    elif block["type"] == "resource":
        resource = block.get("resource")
        if not isinstance(resource, dict):
            return _text(value)
        resource = {key: item for key, item in resource.items() if item is not None}
        if not isinstance(resource.get("uri"), str):
            resource["uri"] = UNNAMED
        block["resource"] = resource
    return block


def _typed(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("type"), str)


def _text(value: Any) -> JSON:
    return {"type": "text", "text": value if isinstance(value, str) else msgspec.json.encode(value).decode()}


def _truth(value: Any) -> bool:
    return value.strip().lower() not in ("", "false", "no", "0", "null") if isinstance(value, str) else bool(value)
