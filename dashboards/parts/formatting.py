"""Numbers, sizes, times and names, written for a person."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-!~$:|&=^])")
_LIST = re.compile(r"^(\s*\d{1,9})([.])", re.MULTILINE)
_INDENT = re.compile(r"\n[ \t]+")
_DIRECTIVE = re.compile(r"\\:(?=[\w+]*[A-Za-z][\w+\\-]*(?:/\w+)?\\:)")
"""A colon, escaped, that begins a word between colons: Streamlit draws icons and emoji for those, escaped or not."""
_CODE = re.compile(r"(`[^`\n]+`)")
_JOINER = "\N{WORD JOINER}"
_KEPT = frozenset("\n\t\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}\N{WORD JOINER}\N{SOFT HYPHEN}")
"""Characters without a shape that ordinary text holds."""


def plain(text: str) -> str:
    """`text` for a place that reads Markdown, so that it shows as it is: no picture, link, icon, colour or formula."""
    text = _INDENT.sub("\n", visible(str(text)))
    escaped = _LIST.sub(r"\1\\\2", _MARKDOWN.sub(r"\\\1", text))
    return _DIRECTIVE.sub(rf"\:{_JOINER}", escaped)


def prose(text: str) -> str:
    """Like `plain`, but what stands between backticks is shown as code: for messages, which name commands so."""
    parts = _CODE.split(visible(str(text)))
    return "".join(part if number % 2 else plain(part) for number, part in enumerate(parts))


def code(text: object) -> str:
    """`text` as code in a sentence that is read as Markdown."""
    inner = " ".join(visible(str(text)).replace("`", "'").split())
    return f"`{inner or ' '}`"


def visible(text: str) -> str:
    """`text` with characters that hide or turn others (Unicode TR36 §2.1, TR39) written out, e.g. `⟨U+202E⟩`.

    The package has a form of its own for terminals and clients. Screens use its public names alone, and a form without
    backslashes, which Markdown would read.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        f"⟨U+{ord(c):04X}⟩" if c not in _KEPT and unicodedata.category(c) in ("Cc", "Cf", "Co", "Cs") else c
        for c in text.replace("\r\n", "\n")
    )


def duration(us: float | None) -> str:
    """Microseconds as `0.04 ms`, `0.4 ms`, `18 ms`, `2.1 s`."""
    if us is None or us != us:  # NaN
        return "–"
    if us >= 1_000_000:
        return f"{us / 1e6:.1f} s"
    digits = 0 if us >= 9_950 else 1 if us >= 95 else 2
    return f"{us / 1e3:.{digits}f} ms"


def size(count: int) -> str:
    """Bytes as `512 B`, `3.4 kB`, `1.2 MB` (1 kB is 1,000 bytes)."""
    if count < 1_000:
        return f"{count} B"
    return f"{count / 1e3:.1f} kB" if count < 1_000_000 else f"{count / 1e6:.1f} MB"


def count(number: int, one: str, many: str = "") -> str:
    """`1 call`, `2 calls`, `1,204 calls`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def age(seconds: float) -> str:
    """`12 s`, `4 min`, `3 h`, `2 days`."""
    seconds = max(0, seconds)
    for limit, unit, word in ((90, 1, "s"), (5_400, 60, "min"), (129_600, 3_600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {word}"
    return f"{seconds / 86_400:.0f} days"


def zone() -> tzinfo:
    """The time zone of the browser."""
    try:
        return ZoneInfo(st.context.timezone or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        return UTC


def moment(us: int) -> datetime:
    """Microseconds since the epoch as a time in UTC."""
    return datetime.fromtimestamp(us / 1e6, UTC)


def local(time: datetime) -> str:
    """A time as the person's clock shows it; without the date when it is today."""
    here = time.astimezone(zone())
    today = datetime.now(zone()).date()
    return f"{here:%H:%M:%S}" if here.date() == today else f"{here:%d %b %H:%M:%S}"


def utc(time: datetime) -> str:
    """A time in UTC to the millisecond: what stands in the record."""
    there = time.astimezone(UTC)
    return f"{there:%Y-%m-%d %H:%M:%S}.{there.microsecond // 1000:03} UTC"


def hover(shown: str, full: str) -> str:
    """HTML for a short text that shows a longer one when the pointer rests on it."""
    from html import escape

    return f'<span title="{escape(full)}">{escape(shown)}</span>'


def since(time: datetime, shown: str = "{} ago") -> str:
    """HTML for how long ago `time` was; local and UTC time on hover.

    Args:
        shown: what is read; `{}` becomes the length of time.
    """
    seconds = (datetime.now(UTC) - time).total_seconds()
    return hover(shown.format(age(seconds)), f"{local(time)} local, {utc(time)}")
