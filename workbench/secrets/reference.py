"""How a secret is named where its value would stand: `secret:NAME`, or `${secret:NAME}` within a longer text."""

from __future__ import annotations

import re
from typing import Literal, get_args

from workbench.events import MisuseError, Record

SourceName = Literal["env", "file", "aws"]
SOURCES: tuple[SourceName, ...] = get_args(SourceName)

PREFIX = "secret:"
_WITHIN = re.compile(r"\$\{secret:([^{}]*)\}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+=@:-]{0,511}")
_FIELD = re.compile(r"[A-Za-z0-9_.-]{1,128}")

EXPECTED = "Expected secret:NAME, secret:aws:NAME or secret:aws:NAME#FIELD; sources are env, file and aws."


class SecretReference(Record, frozen=True, kw_only=True):
    """Which secret is meant. Says nothing of its value."""

    name: str
    source: SourceName | None = None
    """None: the sources of the settings, in their order."""
    field: str = ""
    """Which field of the JSON object that the secret holds; empty takes all of it."""

    @classmethod
    def parse(cls, text: str) -> SecretReference:
        """The reference that `text` is, with or without `secret:`.

        Raises:
            MisuseError: it is none. The text is not repeated: somebody may have put the secret itself there.
        """
        named, has_field, field = text.removeprefix(PREFIX).partition("#")
        head, colon, tail = named.partition(":")
        source: SourceName | None = next((known for known in SOURCES if colon and head == known), None)
        name = tail if source is not None else named
        parts = name.split("/")
        odd = not _NAME.fullmatch(name) or ".." in parts or "" in parts or (source is None and ":" in name)
        if odd or (has_field and not _FIELD.fullmatch(field)):
            raise MisuseError("That is no reference to a secret.", hint=EXPECTED)
        return cls(name=name, source=source, field=field)

    def __str__(self) -> str:
        source = f"{self.source}:" if self.source else ""
        return f"{PREFIX}{source}{self.name}" + (f"#{self.field}" if self.field else "")


def is_reference(text: str) -> bool:
    """Whether `text` is, or holds, a reference instead of a value."""
    return text.startswith(PREFIX) or "${secret:" in text


def references(text: str) -> list[SecretReference]:
    """The references in `text`, in their order.

    Raises:
        MisuseError: one of them is malformed.
    """
    if text.startswith(PREFIX):
        return [SecretReference.parse(text)]
    return [SecretReference.parse(match.group(1)) for match in _WITHIN.finditer(text)]


def filled(text: str, values: dict[SecretReference, str]) -> str:
    """`text` with the values in place of its references."""
    if text.startswith(PREFIX):
        return values[SecretReference.parse(text)]
    return _WITHIN.sub(lambda match: values[SecretReference.parse(match.group(1))], text)
