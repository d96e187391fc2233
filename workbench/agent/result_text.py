"""What a language model reads of an outcome: the answer in words or JSON, cut to size, errors with what to do."""

from __future__ import annotations

from typing import Any

import orjson

from workbench.events import Outcome

MAX_CHARACTERS = 16_000
"""Of one result, in the conversation. About four thousand tokens: twelve such turns still fit the smallest context."""


def text_for_model(outcome: Outcome, *, limit: int = MAX_CHARACTERS) -> str:
    """The outcome as text of about `limit` characters at most; what is cut is said, with what to do about it."""
    if outcome.ok or outcome.kind == "tool_error":
        text = _content(outcome) or outcome.message or "The call completed and returned no content."
        if outcome.kind == "tool_error":
            text = f"The tool reported an error: {text}"
        if edited := outcome.details.get("edited"):
            ran = orjson.dumps(edited.get("arguments"), default=str).decode()
            text = f"[{edited.get('edited_by')} approved the call with other arguments: {ran}]\n{text}"
    else:
        details = f"\n{orjson.dumps(outcome.details, default=str).decode()}" if outcome.details else ""
        text = f"{outcome.kind}: {outcome.message or 'The call did not complete.'}{details}"
    if len(text) <= limit:
        return text
    return (
        f"{text[:limit]}\n[Cut: the first {limit} of {len(text)} characters are shown; the whole result is kept in the "
        "record of this run. Ask for less: a filter, fewer columns, a smaller limit, or the next page.]"
    )


def _content(outcome: Outcome) -> str:
    result = outcome.result or {}
    blocks = result.get("content")
    texts = [_block(block) for block in blocks if isinstance(block, dict)] if isinstance(blocks, list) else []
    text = "\n".join(part for part in texts if part)
    structured = result.get("structuredContent")
    if structured is None:
        return text
    # By the specification (2025-11-25, §Tools, Structured Content) text should repeat the structure; where a server
    # only summarises there, the structure is what answers.
    if texts and all(_parsed(part) is not None for part in texts):
        return text
    as_json = orjson.dumps(structured, default=str).decode()
    return as_json if not text or text in as_json else f"{text}\n{as_json}"


def _parsed(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _block(block: dict[str, Any]) -> str:
    kind = block.get("type")
    if kind == "text":
        return str(block.get("text", ""))
    if kind == "resource" and isinstance(resource := block.get("resource"), dict):
        return str(resource.get("text") or f"[resource {resource.get('uri', '')} {resource.get('mimeType', '')}]")
    if kind == "resource_link":
        return f"[link to {block.get('uri', '')}: {block.get('name', '')}]"
    return f"[{kind} {block.get('mimeType', '')}, {len(str(block.get('data', '')))} characters of base64]"
