"""Which keys name personal data or secrets: `customerEmail`, `E-Mail`, `email_address` are all the column `email`."""

from __future__ import annotations

import functools
import re
from itertools import pairwise
from typing import Literal

TYPES = {
    "email": "EMAIL",
    "mail": "EMAIL",
    "phone": "PHONE",
    "telephone": "PHONE",
    "tel": "PHONE",
    "mobile": "PHONE",
    "cell": "PHONE",
    "fax": "PHONE",
    "ssn": "SSN",
    "social_security": "SSN",
}
"""Column → type of its token. Columns that are named here stand for each other when they have the same type."""

PERSONAL = ("email", "phone", "ssn")
"""What the record never holds in clear, whoever asks."""

_FILLERS = frozenset(
    ("address", "addr", "number", "no", "nr", "num", "primary", "secondary", "work", "home", "private")
)
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

_SECRET_WORDS = frozenset(
    "password passwd pwd passphrase secret authorization credential apikey cookie bearer otp jwt".split()
)
_SECRET_PAIRS = frozenset(
    tuple(pair.split())
    for pair in (
        "api key|private key|access key|secret key|signing key|encryption key|session id|auth header|connection string"
        "|pass word"
    ).split("|")
)


class Columns:
    """A set of column names to withhold, matched against keys however they are spelt.

    Args:
        names: columns, as policy or a server names them.
        lenient: a key that merely contains the name counts too (`email_status`).
    """

    def __init__(self, names: tuple[str, ...], *, lenient: bool) -> None:
        self._lenient = lenient
        self._wanted: dict[tuple[str, ...], str] = {}
        for name in names:
            words = _words(name)
            kind = TYPES.get("_".join(words))
            if kind is None:
                self._wanted[words] = re.sub(r"\W+", "_", "_".join(words)).upper()[:24] or "REDACTED"
                continue
            for alias, other in TYPES.items():
                if other == kind:
                    self._wanted[_words(alias)] = kind
        self._seen: dict[str, str] = {}

    def type_of(self, key: str) -> str:
        """The type of the token that replaces the value under `key`; empty when the value may stay."""
        found = self._seen.get(key)
        if found is None:
            found = self._match(_words(key[:200]))
            if len(self._seen) < 4096 and len(key) <= 200:
                self._seen[key] = found
        return found

    def _match(self, words: tuple[str, ...]) -> str:
        if self._lenient:
            ends = range(len(words), 0, -1)
        else:
            end = len(words)
            while end > 1 and (words[end - 1] in _FILLERS or words[end - 1].isdigit()):
                end -= 1
            ends = range(end, end - 1, -1)
        for end in ends:
            for start in range(end):
                kind = self._wanted.get(words[start:end])
                if kind is not None:
                    return kind
        return ""


@functools.lru_cache(256)
def columns(names: tuple[str, ...], lenient: bool) -> Columns:
    """The matcher for these names, built once."""
    return Columns(names, lenient=lenient)


@functools.lru_cache(4096)
def secrecy(key: str) -> Literal["", "text", "all"]:
    """Whether the value under `key` is a credential: no, if it is text (`tokens` also counts), or in any case."""
    words = _words(key)
    if not words or words[-1] in ("count", "budget", "limit", "used", "type", "url", "expire"):
        return ""
    if not _SECRET_WORDS.isdisjoint(words) or any(p in _SECRET_PAIRS for p in pairwise(words)):
        return "all"
    return "text" if "token" in words else ""


def _words(key: str) -> tuple[str, ...]:
    """`customerE-Mails` → ("customer", "email"): words in lower case, plural taken off."""
    words = [w.lower() for w in _WORDS.findall(key)]
    joined: list[str] = []
    for word in words:
        if word == "mail" and joined and joined[-1] == "e":
            joined[-1] = "email"
        else:
            joined.append(word)
    return tuple(w[:-1] if len(w) > 3 and w.endswith("s") and not w.endswith("ss") else w for w in joined)
