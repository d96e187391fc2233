"""Text that models, tools and callers wrote, drawn so that a browser loads nothing because of it.

`draw` is for answers: the shapes of Markdown, and none of what reaches out of the page. What stands inside a sentence
of ours goes through `plain`, `prose` or `code` of `formatting` instead. A test fails on text that goes through none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, MutableMapping, Sequence
from html import escape
from typing import Any
from urllib.parse import urlsplit

import streamlit as st
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict
from streamlit.delta_generator import DeltaGenerator

from parts.formatting import visible

MAX_FORMATTED = 20_000
"""Characters that are read as Markdown; a longer text is shown as it was written."""
MAX_SHOWN = 200_000
"""Characters that are shown at all."""
MAX_TARGET = 300
"""Characters of a link's address that are written beside it; its host stands first."""

_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+")
"""A name as it is dialled, with `xn--` for other scripts, or an address."""


def draw(text: str, place: DeltaGenerator | None = None) -> None:
    """Draw an answer.

    Args:
        text: Markdown, as somebody else wrote it.
        place: where; a Streamlit container, None for the current one.
    """
    (st if place is None else place).html(as_html(text))


def as_html(text: str) -> str:
    """`text` as HTML without images, foreign HTML, scripts, or anything that a browser loads by itself.

    A picture becomes its description and its address, and a link says where it leads. Only absolute addresses of `http`
    and `https` without a user name are links; one within this app could fill in a form.
    """
    text = visible(text[:MAX_SHOWN])
    if len(text) > MAX_FORMATTED:
        return f'<pre style="white-space:pre-wrap">{escape(text)}</pre>'
    return f'<div class="foreign">{_reader.render(text)}</div>'


def is_link(url: str) -> bool:
    """Whether an address in foreign text may be followed."""
    try:
        found = urlsplit(url.strip())
        named = _HOST.fullmatch(found.hostname or "") is not None
        return named and found.scheme in ("http", "https") and "@" not in found.netloc
    except ValueError:
        return False


class _Renderer(RendererHTML):
    """CommonMark with tables as HTML; pictures as words, links with their address."""

    def renderInline(self, tokens: Sequence[Token], options: OptionsDict, env: MutableMapping[str, Any]) -> str:
        return super().renderInline(list(_with_targets(tokens)), options, env)

    def text(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: MutableMapping[str, Any]) -> str:
        return escape(visible(tokens[idx].content), quote=False)  # an entity may have named a hidden character

    def image(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: MutableMapping[str, Any]) -> str:
        token = tokens[idx]
        described = self.renderInlineAsText(token.children or [], options, env)
        return escape(f"[picture, not loaded: {described or 'without a description'} ({_short(token.attrGet('src'))})]")

    def link_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: MutableMapping[str, Any]) -> str:
        address = escape(str(tokens[idx].attrGet("href")))
        return f'<a href="{address}" target="_blank" rel="noopener noreferrer nofollow" referrerpolicy="no-referrer">'


def _with_targets(tokens: Sequence[Token]) -> Iterator[Token]:
    """`tokens` with the address of each link after it, unless the link is that address."""
    address, words = "", ""
    for token in tokens:
        yield token
        if token.type == "link_open":
            address, words = str(token.attrGet("href")), ""
        elif token.type == "link_close":
            if words.strip() != address:
                yield Token("text", "", 0, content=f" ({_short(address)})")
        else:
            words += token.content


def _short(address: str | float | None) -> str:
    text = str(address or "")
    return text if len(text) <= MAX_TARGET else f"{text[:MAX_TARGET]}…"


def _reading() -> MarkdownIt:
    reader = MarkdownIt("commonmark", {"html": False, "maxNesting": 20}, renderer_cls=_Renderer)
    reader.enable(["table", "strikethrough"]).disable(["html_block", "html_inline"])
    reader.validateLink = is_link  # type: ignore[method-assign]
    return reader


_reader = _reading()
