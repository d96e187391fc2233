"""A secret key of the state folder with the keys around it: the next one, and those that it replaced.

The key that is used stays in its own file, as ever. Beside it, once it was rotated, lies a file of the same name with
the ending `.ring`: JSON with the next key, which is accepted before it is used, and the previous ones, which are
accepted as long as something made with them may be about.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from pathlib import Path
from typing import NamedTuple, Self

import msgspec

from workbench.events import MisuseError, now_us


class PreviousKey(NamedTuple):
    """A key that was replaced."""

    key: bytes
    until_us: int | None
    """Until when it is accepted, in microseconds since the epoch; None: as long as it is kept."""


class KeyRing(NamedTuple):
    """The keys that are accepted besides the one in use."""

    next: bytes | None = None
    previous: tuple[PreviousKey, ...] = ()

    @classmethod
    def beside(cls, path: Path) -> Self:
        """The ring of the key in the file `path`; empty when the key was never rotated.

        Raises:
            MisuseError: the file is there and holds something else.
        """
        ring = ring_path(path)
        try:
            return cls.decoded(ring.read_bytes())
        except FileNotFoundError:
            return cls()
        except ValueError as e:
            raise MisuseError(
                f"{ring} does not hold keys: {e}.", hint="Restore it from a copy, or move it away: old keys end then."
            ) from e

    @classmethod
    def decoded(cls, content: bytes) -> Self:
        """The ring in the content of a file.

        Raises:
            ValueError: it holds something else.
        """
        if not content:
            return cls()
        try:
            found = msgspec.json.decode(content, type=_Stored)
            after = None if found.next is None else b64decode(found.next, validate=True)
            return cls(after, tuple(PreviousKey(b64decode(key, validate=True), until) for key, until in found.previous))
        except (msgspec.DecodeError, binascii.Error) as e:
            raise ValueError(str(e)) from e

    def encoded(self) -> bytes:
        """The content of the file."""
        stored = _Stored(
            next=None if self.next is None else b64encode(self.next).decode(),
            previous=[(b64encode(old.key).decode(), old.until_us) for old in self.previous],
        )
        return msgspec.json.encode(stored)

    def accepted(self) -> list[PreviousKey]:
        """The next key and those of the previous that are accepted now."""
        now = now_us()
        after = [] if self.next is None else [PreviousKey(self.next, None)]
        return after + [old for old in self.previous if old.until_us is None or now < old.until_us]

    def prepared(self, key: bytes) -> Self:
        """With a next key."""
        return self._replace(next=key)

    def rotated(self, old: bytes, until_us: int | None) -> Self:
        """Without the next key, which is in use now, and with the one that it replaced; what ended is left out."""
        now = now_us()
        kept = tuple(each for each in self.previous if each.key != old and (each.until_us or now + 1) > now)
        return self._replace(next=None, previous=(PreviousKey(old, until_us), *kept))


class _Stored(msgspec.Struct, forbid_unknown_fields=True):
    next: str | None = None
    previous: list[tuple[str, int | None]] = msgspec.field(default_factory=list)


def ring_path(path: Path) -> Path:
    """The file of the ring of the key in the file `path`."""
    return path.with_suffix(".ring")
