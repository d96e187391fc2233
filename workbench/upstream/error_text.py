"""What a server says outside of MCP: a short, clean text out of the body of an HTTP error."""

from __future__ import annotations

import html
import re
from typing import Any, Final

import msgspec

from workbench.display_text import one_line, shortened
from workbench.events import JSON
from workbench.secrets import hide

MAX_WORDS: Final = 300
"""Characters of a server's own text that are shown."""

MAX_ERROR_BODY: Final = 64 << 10
"""Bytes of an error's body that are read."""

_TEXT_KEYS: Final = (
    "message",
    "Message",
    "errorMessage",
    "error_description",
    "detail",
    "details",
    "description",
    "title",
    "reason",
    "msg",
    "faultstring",
    "error",
    "errors",
    "fault",
    "code",
    "error_code",
)
"""Where programs put the words of an error: JSON-RPC, OAuth, RFC 9457, FastAPI, AWS, Apigee, Cloudflare and others."""

_TITLE: Final = re.compile(r"<title[^>]*>([^<]{1,300})", re.IGNORECASE)
_HEADING: Final = re.compile(r"<h[1-3][^>]*>(.{1,300}?)</h[1-3]>", re.IGNORECASE | re.DOTALL)
_PAGE: Final = re.compile(rb"\s*(?:<!--[^>]{0,500}-->\s*)?<(?:!doctype html|html|head|body)", re.IGNORECASE)
_HIDDEN_PARTS: Final = re.compile(r"<(script|style|head)\b.*?(?:</\1>|$)", re.IGNORECASE | re.DOTALL)
_TAG: Final = re.compile(r"<[^<>]{0,1000}>")

_decode = msgspec.json.Decoder(Any).decode


def clean(text: str) -> str:
    """One line of visible characters, not too long, without the secrets that we know."""
    return shortened(hide(one_line(text[: 20 * MAX_WORDS])), MAX_WORDS)


def excerpt(body: bytes) -> str:
    """The beginning of a body, as text."""
    return clean(body[:MAX_ERROR_BODY].decode("utf-8", "replace"))


def page_title(body: bytes) -> str:
    """The title of a web page, or else its first heading or words; empty when `body` is none."""
    if not _PAGE.match(body[:2000]):
        return ""
    text = body[:MAX_ERROR_BODY].decode("utf-8", "replace")
    for pattern in (_TITLE, _HEADING):
        if (found := pattern.search(text)) and (title := clean(html.unescape(_TAG.sub(" ", found[1])))):
            return title
    return clean(html.unescape(_TAG.sub(" ", _HIDDEN_PARTS.sub(" ", text)))) or "(no title)"


def json_object(body: bytes) -> JSON | None:
    """The object in `body`, or the only one in its array; None when it has none."""
    try:
        found = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    return found if isinstance(found, dict) else None


def words_of(body: bytes) -> str:
    """What a person is to read of an error's body; empty when there is nothing in it."""
    found = json_object(body)
    if found is not None:
        return clean(_said(found, 4)) or clean(body.decode("utf-8", "replace"))
    if title := page_title(body):
        return title
    text = body.decode("utf-8", "replace")
    return clean(html.unescape(_TAG.sub(" ", text)) if text.lstrip().startswith("<") else text)


def _said(value: Any, levels: int) -> str:
    """The texts of an error object, most telling first."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or levels == 0:
        return ""
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return "; ".join(filter(None, (_said(one, levels - 1) for one in value[:5])))
    if not isinstance(value, dict):
        return ""
    # RFC 9457 and OAuth have a short name and a long text; both help
    names = [name for name in _TEXT_KEYS if name in value]
    texts = [text for name in names if (text := _said(value[name], levels - 1).strip())]
    spoken = [text for text in texts if not text.removeprefix("-").isdigit()] or texts
    unique = list(dict.fromkeys(spoken))
    return " – ".join(unique[:2])
