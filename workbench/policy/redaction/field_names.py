"""Which keys name personal data or secrets: `customerEmail`, `E-Mail`, `email_address` are all the column `email`."""

from __future__ import annotations

import functools
import re
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from workbench.policy.redaction import secret_patterns
from workbench.policy.redaction.recognizers import suspicious

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

_ADDRESSES = frozenset({"uri", "uriTemplate", "resourceUri", "ui/resourceUri"})
"""Keys under which MCP has addresses of resources."""

_FILLERS = frozenset(
    ("address", "addr", "number", "no", "nr", "num", "primary", "secondary", "work", "home", "private")
)
_MAX_LENGTH = 200
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

_SECRET_WORDS = frozenset(
    (
        "password",
        "passwd",
        "pwd",
        "passphrase",
        "secret",
        "authorization",
        "credential",
        "apikey",
        "cookie",
        "otp",
        "jwt",
    )
)
_SECRET_PAIRS = frozenset(
    {(which, "key") for which in ("api", "private", "access", "secret", "signing", "encryption")}
    | {("session", "id"), ("auth", "header"), ("connection", "string"), ("pass", "word")}
)


class FieldName(NamedTuple):
    """What the name of a key says about its value."""

    kind: str = ""
    """Type of the token that replaces the value; empty when the name is none of the columns."""
    secret: Literal["", "text", "all"] = ""
    """Whether the value is a credential: no, if it is text, in any case."""
    address: bool = False
    """Whether the value is the address of a resource, which has to be of use still."""
    suspicious: bool = False
    """The name itself may hold personal data."""


class WithheldColumns:
    """A set of column names to withhold, matched against keys however they are spelt.

    Args:
        names: columns, as policy or a server names them.
        lenient: for the record: a key that merely contains the name counts too (`email_status`), and credentials count.
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
        self.known: dict[Any, FieldName | None] = {}
        """What was found out about keys so far; None when the name says nothing, which is the common case."""

    def key(self, name: Any) -> FieldName | None:
        """What `name` says about its value; None when nothing."""
        if not isinstance(name, str):
            return None
        words = _words(name[:_MAX_LENGTH])
        key = FieldName(
            kind=self._match(words),
            secret=_secrecy(words) if self._lenient else "",
            address=not self._lenient and name in _ADDRESSES,
            suspicious=len(name) > 5 and (suspicious(name) or secret_patterns.present(name)),
        )
        found = key if any(key) else None
        # names that hold data of somebody are as many as there are people, and none of them is kept
        if len(self.known) < 4096 and len(name) <= _MAX_LENGTH and not key.suspicious:
            self.known[name] = found
        return found

    def _match(self, words: tuple[str, ...]) -> str:
        if self._lenient:
            ends = range(len(words), 0, -1)
        else:
            end = len(words)
            while end > 1 and (words[end - 1] in _FILLERS or words[end - 1].isdigit()):
                end -= 1
            ends = range(len(words), end - 1, -1)
        for end in ends:
            for start in range(end):
                kind = self._wanted.get(words[start:end])
                if kind is not None:
                    return kind
        return ""


@functools.lru_cache(256)
def columns(names: tuple[str, ...], lenient: bool) -> WithheldColumns:
    """The matcher for these names, built once."""
    return WithheldColumns(names, lenient=lenient)


def _secrecy(words: tuple[str, ...]) -> Literal["", "text", "all"]:
    """Whether a key of these words holds a credential: no, if it is text (`tokens` also counts), or in any case."""
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
