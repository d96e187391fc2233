"""Names and texts that people and models read: which are accepted, and which look like another."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from workbench.display_text import hidden_character
from workbench.events import MisuseError
from workbench.lookalikes import skeleton
from workbench.server_manifests import bundled_manifests

SERVER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,47}")
"""No dots: the first one separates the server from the tool."""

_OURS = ("workbench", "gateway", "registry")
"""Names of the workbench itself."""

_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
SET_BY_GATEWAY = (
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "transfer-encoding",
    "connection",
    "accept",
    "te",
)
"""Headers that the gateway sets itself."""


def header_objection(name: str, value: str) -> str:
    """Why a header must not be sent as configured; empty if it may (RFC 9110 §5.5, §5.6.2)."""
    if not _HEADER.fullmatch(name):
        return f"{name!r} is no name of a header"
    if name.lower() in SET_BY_GATEWAY or name.lower().startswith("mcp-"):
        return f"the header {name!r} is set by the gateway itself"
    if re.search(r"[^\t\x20-\x7e\x80-\xff]", value):
        return f"header {name!r} has line breaks or characters beyond Latin-1"
    return ""


@lru_cache(1 << 16)
def spelling(name: str) -> str:
    """A form that two names share when they differ in conventions alone: `getItem`, `get_item` and `get-item`."""
    return re.sub(r"[_. -]+", "", name).casefold()


def confusable(name: str, others: Iterable[str]) -> str:
    """The first of `others` that `name` equals or can be taken for; empty if none."""
    mine = {skeleton(name), name.casefold()}
    return next((o for o in others if mine & {skeleton(o), o.casefold()}), "")


def reserved_ids() -> tuple[str, ...]:
    """Ids that no foreign server gets: ours, and those of bundled servers that may start at any time."""
    return (*(manifest.id for manifest in bundled_manifests() if manifest.launch.setting), *_OURS)


def server_id(name: str, taken: Iterable[str] = ()) -> str:
    """The id of a server that its configuration calls `name`: the same every time, or refused.

    Spaces, dots and other ASCII punctuation become hyphens. Letters outside ASCII are refused rather than replaced,
    since many of them look like ASCII ones.

    Raises:
        MisuseError: nothing usable is left, or it is or looks like one that is `taken` or reserved.
    """
    normal = unicodedata.normalize("NFKC", name)
    if not normal.isascii() or hidden_character(normal):
        strange = next(c for c in normal if not c.isascii() or hidden_character(c))
        raise MisuseError(
            f"Server name {name!r} has the character U+{ord(strange):04X}.",
            hint="Use letters of a to z, digits, hyphen and underscore.",
        )
    id = re.sub(r"[^A-Za-z0-9_]+", "-", normal).strip("-_")
    if not SERVER_ID.fullmatch(id):
        raise MisuseError(
            f"Server name {name!r} cannot be used.", hint="Use 1 to 48 letters, digits, hyphens, underscores."
        )
    if like := confusable(id, (*taken, *reserved_ids())):
        same = "is already taken" if like == id else f"can be taken for {like!r}"
        raise MisuseError(f"Server name {name!r} {same}.", hint="Give the server another name.")
    return id
