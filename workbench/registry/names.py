"""Names and texts that people and models read: which are accepted, and which look like another.

Look-alikes are found by a skeleton in the manner of Unicode TS #39 §4, which for the ASCII names that we accept needs
only a few of its mappings.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable

from workbench.events import Misuse

TOOL_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
"""What the specification recommends (2026-07-28, server/tools, "Tool Names"); here it is a rule."""

SERVER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,47}")
"""No dots: the first one separates the server from the tool."""

RESERVED = ("tables", "workbench", "gateway", "registry")

_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OURS = (
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "transfer-encoding",
    "connection",
    "accept",
    "te",
)

# Format characters, tags, bidirectional controls, blanks that print nothing, and supplementary variation selectors.
# Zero-width joiners (U+200C, U+200D) and the emoji selector (U+FE0F) stay allowed: living languages need them.
_HIDDEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0e"
    "\ufeff\uffa0\ufff0-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"
)


def hidden_character(text: str) -> str:
    """The first character of `text` that a reader cannot see or that reorders what is read, named; empty if none."""
    found = _HIDDEN.search(text)
    if found is None:
        return ""
    char = found.group()
    return f"U+{ord(char):04X} {unicodedata.name(char, 'control character')}"


def shown(text: object, limit: int) -> str:
    """`text` of a stranger as it may be shown: nothing when it hides something, and not too long."""
    return "" if not isinstance(text, str) or hidden_character(text) else text[:limit]


def header_objection(name: str, value: str) -> str:
    """Why a header must not be sent as configured; empty if it may (RFC 9110 §5.5, §5.6.2)."""
    if not _HEADER.fullmatch(name):
        return f"{name!r} is no name of a header"
    if name.lower() in _OURS or name.lower().startswith("mcp-"):
        return f"the header {name!r} is set by the gateway itself"
    if re.search(r"[^\t\x20-\x7e\x80-\xff]", value):
        return f"header {name!r} has line breaks or characters beyond Latin-1"
    return ""


def skeleton(name: str) -> str:
    """A form that two names share when one can be taken for the other, e.g. `fi1es` and `files`."""
    text = unicodedata.normalize("NFKC", name).replace("_", "-")
    for seen, meant in (("I", "l"), ("1", "l"), ("|", "l"), ("0", "O"), ("rn", "m"), ("vv", "w")):
        text = text.replace(seen, meant)
    return text.casefold()


def confusable(name: str, others: Iterable[str]) -> str:
    """The first of `others` that `name` equals or can be taken for; empty if none."""
    mine = {skeleton(name), name.casefold()}
    return next((o for o in others if mine & {skeleton(o), o.casefold()}), "")


def server_id(name: str, taken: Iterable[str] = ()) -> str:
    """The id of a server that its configuration calls `name`: the same every time, or refused.

    Spaces, dots and other ASCII punctuation become hyphens. Letters outside ASCII are refused rather than replaced,
    since many of them look like ASCII ones.

    Raises:
        Misuse: nothing usable is left, or it is or looks like one that is `taken` or reserved.
    """
    normal = unicodedata.normalize("NFKC", name)
    if not normal.isascii() or hidden_character(normal):
        strange = next(c for c in normal if not c.isascii() or hidden_character(c))
        raise Misuse(
            f"Server name {name!r} has the character U+{ord(strange):04X}.",
            hint="Use letters of a to z, digits, hyphen and underscore.",
        )
    id = re.sub(r"[^A-Za-z0-9_]+", "-", normal).strip("-_")
    if not SERVER_ID.fullmatch(id):
        raise Misuse(f"Server name {name!r} cannot be used.", hint="Use 1 to 48 letters, digits, hyphens, underscores.")
    if like := confusable(id, (*taken, *RESERVED)):
        same = "is already taken" if like == id else f"can be taken for {like!r}"
        raise Misuse(f"Server name {name!r} {same}.", hint="Give the server another name.")
    return id


def close_names(name: str, known: Iterable[str], limit: int = 3) -> tuple[str, ...]:
    """Those of `known` that `name` was probably meant to be, best first."""
    by_folded = {k.casefold(): k for k in known}
    folded = name.casefold()
    # A bare tool name needs no guessing; neither does one behind the wrong server.
    exact = [k for f, k in by_folded.items() if "." in f and f.split(".", 1)[1] == folded.rsplit(".", 1)[-1]]
    close = exact or [by_folded[f] for f in difflib.get_close_matches(folded, by_folded, limit, 0.6)]
    return tuple(close[:limit])
