"""Names under which tools and prompts are presented: safe, stable, and each for one original alone.

A name within `TOOL_NAME` stays as it is. Any other gets a safe form that ends in a hash of the original, so that it
depends on nothing but the original: it is the same after a restart, in any order, and whatever else the server lists.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

TOOL_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")
"""What the specification recommends for names of tools (2026-07-28, server/tools, "Tool Names")."""

MAX_TOOL_NAME: Final = 128
MAX_WIRE_NAME: Final = 64
"""Longest name of a tool that model APIs accept; its letters are `[a-zA-Z0-9_-]`."""

HASH_DIGITS: Final = 8
LONG_HASH_DIGITS: Final = 16
"""Digits where two names would get the same short hash, which takes somebody who wants it."""

_SEPARATOR: Final = "__"
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")
_NOT_ON_THE_WIRE = re.compile(r"[^A-Za-z0-9_-]")
_REVEALING = re.compile(
    r"[\w.+%-]{1,64}@[\w-]+(?:\.[\w-]+)+"  # an e-mail address
    r"|(?<!\d)\+?(?:\d[ ().+/-]{0,2}){8,24}\d"  # a number of telephone, card or account
    r"|(?<![A-Z0-9])[A-Z]{2}\d\d(?:[ -]?[A-Z0-9]{4}){3,7}"
    r"|(?:sk|pk|rk|mk|gh[pousr]|glpat|npm|hf|whsec|xox[a-z])[-_][A-Za-z0-9]{16,}|github_pat_\w{20,}"
    r"|A[KS]IA[A-Z0-9]{16}|eyJ[\w-]{8,}\.[\w-]{4,}"
)
_HASHED = re.compile(r"__[0-9a-f]{8}(?:[0-9a-f]{8})?$")


def concealed(original: str) -> str:
    """A name without what looks like a person's data or a credential: names stand in rules, lists and the record.

    Names are no sentences, and nothing in them says where a number ends; so this looks for less than redaction does,
    and finds it wherever it stands.
    """
    return _REVEALING.sub("_", original)


def safe_name(original: str, *, digits: int = HASH_DIGITS) -> str:
    """The name within `TOOL_NAME` for a tool or prompt that its server calls `original`."""
    hidden = concealed(original)
    if TOOL_NAME.fullmatch(original) and hidden == original:
        return original
    plain = _latin(hidden)
    words = re.sub(r"_{2,}", "_", _UNSAFE.sub("_", plain)).strip("_.-") or "tool"
    return f"{words[: MAX_TOOL_NAME - digits - 1]}_{_hash(original, digits)}"


def safe_names(originals: Iterable[str]) -> dict[str, str]:
    """Original → safe name, for all that one server lists; different for each.

    Of two originals that get the same name, one that needs no other keeps it, and the rest get a longer hash.
    """
    names = {original: safe_name(original) for original in originals}
    times = Counter(names.values())
    return {
        original: name if times[name] == 1 or name == original else safe_name(original, digits=LONG_HASH_DIGITS)
        for original, name in names.items()
    }


@lru_cache(1 << 16)
def wire_name(server: str, name: str, *, limit: int = MAX_WIRE_NAME, digits: int = HASH_DIGITS) -> str:
    """The name of a tool or prompt of a server within `[a-zA-Z0-9_-]{1,64}`: `server__name`, or with a hash.

    The plain form can be read back: the server ends at the first `__`. Where that would not be so (a server with `__`
    or a `_` at its end, a name that looks hashed, one with other characters or too long), the form ends in `__` and a
    hash of `server.name`. No two tools share a plain form, and no plain form looks hashed.

    Args:
        server: id of the server.
        name: of the tool or prompt.
        limit: most characters.
        digits: of the hash.
    """
    plain = f"{server}{_SEPARATOR}{name}"
    readable = _SEPARATOR not in server and not server.endswith("_")
    if readable and name and len(plain) <= limit and not _NOT_ON_THE_WIRE.search(plain) and not is_hashed(plain):
        return plain
    own = _NOT_ON_THE_WIRE.sub("_", name)
    own = own if own.strip("_") else "tool"
    beginning = f"{_NOT_ON_THE_WIRE.sub('_', server)}{_SEPARATOR}{own}"[: limit - digits - 2].rstrip("_")
    return f"{beginning}{_SEPARATOR}{_hash(f'{server}.{name}', digits)}"


def without_hash(wire: str) -> str:
    """A name on the wire without the hash at its end, if it has one: what models make of it at times."""
    return _HASHED.sub("", wire)


def is_hashed(wire: str) -> bool:
    """Whether a name on the wire has the form that ends in a hash."""
    return _HASHED.search(wire) is not None


def _latin(text: str) -> str:
    """`text` without accents and compatibility forms: what readers of Latin letters make of it."""
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(char for char in decomposed if not unicodedata.combining(char))


def _hash(text: str, digits: int) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:digits]
