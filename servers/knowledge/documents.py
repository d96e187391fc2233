"""What a document is made of: title, sections of text, read from Markdown, plain text, reStructuredText and HTML."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from html.parser import HTMLParser

KINDS = {".md": "markdown", ".markdown": "markdown", ".txt": "text", ".rst": "rst", ".html": "html", ".htm": "html"}
MAX_SECTION_LENGTH = 1800
"""Characters; a longer section is cut at a paragraph, so that a hit leads near to what was asked."""


@dataclass(frozen=True)
class Section:
    """A passage under one heading."""

    heading: str
    body: str
    offset: int
    """Character of the document's text where it begins."""


@dataclass(frozen=True)
class Document:
    """A document as plain text."""

    title: str
    text: str
    sections: tuple[Section, ...]


def kind_of(name: str) -> str:
    """`markdown`, `text`, `rst` or `html` by the file's name; empty for everything else."""
    dot = name.rfind(".")
    return KINDS.get(name[dot:].lower(), "") if dot > 0 else ""


def parse(raw: bytes, kind: str, name: str) -> Document:
    """A document from the bytes of a file.

    Args:
        raw: the file; what is not UTF-8 is replaced.
        kind: as `kind_of` says.
        name: the title where the document has none.
    """
    text = raw.decode("utf-8-sig", errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    title = ""
    if kind == "html":
        title, text = _from_html(text)
    headings = _headings(text, kind)
    if not title:
        title = next((heading for _, _, heading in headings), "") or name
    return Document(title, text, tuple(_sections(text, headings, title)))


def _headings(text: str, kind: str) -> list[tuple[int, int, str]]:
    """Start and end of each heading, and its words."""
    if kind in ("markdown", "html"):
        fenced = [m.span() for m in re.finditer(r"^(```|~~~).*?^\1", text, re.M | re.S)]
        lines = re.finditer(r"^#{1,6} +(.+)$", text, re.M)
        outside = [m for m in lines if not any(a <= m.start() < b for a, b in fenced)]
        return [(m.start(), m.end(), m.group(1).rstrip("# ")) for m in outside]
    if kind == "rst":
        lines = re.finditer(r"^(?P<words>\S.*)\n(?P<rule>([=\-~^\"'`#*+.:_])\3{2,})\s*$", text, re.M)
        return [(m.start(), m.end(), m["words"].strip()) for m in lines if len(m["rule"]) >= len(m["words"].strip())]
    return []


def _sections(text: str, headings: list[tuple[int, int, str]], title: str) -> list[Section]:
    bounds = [(0, 0, title), *headings]
    ends = [start for start, _, _ in headings] + [len(text)]
    sections: list[Section] = []
    for (_, begin, heading), end in zip(bounds, ends, strict=True):
        sections += [Section(heading, body, offset) for offset, body in _pieces(text, begin, end)]
    return sections or [Section(title, "", 0)]


def _pieces(text: str, begin: int, end: int) -> list[tuple[int, str]]:
    pieces = []
    while begin < end:
        cut = end
        if end - begin > MAX_SECTION_LENGTH:
            cut = text.rfind("\n\n", begin, begin + MAX_SECTION_LENGTH)
            cut = cut if cut > begin else text.rfind(" ", begin, begin + MAX_SECTION_LENGTH)
            cut = cut if cut > begin else begin + MAX_SECTION_LENGTH
        body = text[begin:cut].strip()
        if body:
            pieces.append((begin, body))
        begin = cut
    return pieces


def _from_html(text: str) -> tuple[str, str]:
    reader = _Reader()
    reader.feed(text)
    reader.close()
    lines = (" ".join(line.split()) for line in "".join(reader.parts).split("\n"))
    plain = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
    return " ".join("".join(reader.title).split()), plain


class _Reader(HTMLParser):
    """Collects what a reader sees, headings marked as in Markdown."""

    SKIPPED = frozenset({"script", "style", "template", "noscript", "svg"})
    BLOCKS = frozenset({"p", "div", "section", "article", "li", "tr", "br", "table", "ul", "ol", "pre", "blockquote"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.title: list[str] = []
        self._skipping = 0
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self.SKIPPED:
            self._skipping += 1
        elif tag == "title":
            self._in_title = True
        elif re.fullmatch(r"h[1-6]", tag):
            self.parts.append("\n\n" + "#" * int(tag[1]) + " ")
        elif tag in self.BLOCKS:
            self.parts.append("\n\n" if tag in ("p", "section", "article") else "\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in self.SKIPPED:
            self._skipping = max(0, self._skipping - 1)
        elif tag == "title":
            self._in_title = False
        elif re.fullmatch(r"h[1-6]", tag):
            self.parts.append("\n\n")
        elif tag in ("td", "th"):
            self.parts.append(" ")

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title.append(data)
        elif not self._skipping:
            self.parts.append(html.unescape(data))
