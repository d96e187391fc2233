"""Which keys may have signed a checkpoint of a record: the one in `checkpoint.pub`, and those that it replaced.

A key is replaced by a statement in `checkpoint.rotations`: a checkpoint (C2SP tlog-checkpoint in a signed-note) with
two extension lines, signed by both keys. The old key says with it which key follows; the new key says that it is meant.

```
<origin>
<number of seals>
<root of their tree, base64>
previous-key <the old key, as in checkpoint.pub>
next-key <the new key, as in checkpoint.pub>

— <origin> <signature of the old key>
— <origin> <signature of the new key>
```

The statements are in their order, with an empty line between two. The origin is made of the first key and stays, so
that a witness knows the log by the same name, and so that nobody can remove a statement unseen.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Self

from workbench.audit.format.checkpoint import Checkpoint, UnknownKeyError, read_checkpoint, read_verifier_key
from workbench.audit.format.folder import AuditFolder
from workbench.events import MisuseError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

PREVIOUS = "previous-key "
NEXT = "next-key "


class InvalidRotationsError(ValueError):
    """The statements of rotation do not lead to the key in `checkpoint.pub`."""


class Rotation(NamedTuple):
    """A statement that one key is followed by another."""

    checkpoint: Checkpoint
    """The tree at that moment, and the text of the statement. The old key signs no larger one."""
    previous: str
    next: str

    @classmethod
    def of(cls, note: str) -> Self:
        """The statement in a note, checked with the keys that it names.

        Raises:
            ValueError: it is malformed, or not signed by both keys.
        """
        lines = note.partition("\n\n")[0].split("\n")
        if len(lines) != 5 or not lines[3].startswith(PREVIOUS) or not lines[4].startswith(NEXT):
            raise ValueError("it is no statement of rotation")
        previous, after = lines[3].removeprefix(PREVIOUS), lines[4].removeprefix(NEXT)
        try:
            keys = read_verifier_key(previous), read_verifier_key(after)
        except MisuseError as e:
            raise ValueError(str(e.args[0])) from e
        for _, key in keys:
            checkpoint = read_checkpoint(note, lines[0], key)
        if {origin for origin, _ in keys} != {lines[0]}:
            raise ValueError("its keys are of another origin")
        return cls(checkpoint, previous, after)


class KeyChain:
    """Keys that are trusted, and up to which size of the tree.

    Args:
        trusted: keys as in `checkpoint.pub`, trusted for every size until a statement says otherwise.
    """

    def __init__(self, trusted: Iterable[str]) -> None:
        self._ends: dict[str, int | None] = {text.strip(): None for text in trusted}

    @property
    def keys(self) -> list[str]:
        """Every key, in the order in which they came to be trusted."""
        return list(self._ends)

    def follow(self, rotation: Rotation) -> None:
        """Trust the next key, because one that is trusted says so.

        Raises:
            ValueError: the key that says so is not trusted or was replaced before, or the next one is known already.
        """
        if self._ends.get(rotation.previous, 0) is not None:
            raise ValueError("it is signed by a key that is not the newest")
        if rotation.next in self._ends:
            raise ValueError("a key that was replaced does not come back")
        self._ends[rotation.previous] = rotation.checkpoint.size
        self._ends[rotation.next] = None

    def read(self, note: str) -> Checkpoint:
        """The statement in a note, if a key signed it that may.

        Raises:
            ValueError: it is malformed, of another origin, not signed by one of these keys, or by one whose time was
                over.
        """
        failure = ValueError("no key is known")
        for text, end in reversed(self._ends.items()):
            try:
                checkpoint = read_checkpoint(note, *read_verifier_key(text))
            except UnknownKeyError as e:
                failure = e
                continue
            if end is not None and checkpoint.size > end:
                raise ValueError(f"it is signed by a key that was replaced at {end} seals, and signs {checkpoint.size}")
            return checkpoint
        raise failure


class RecordKeys(NamedTuple):
    """The keys of one record."""

    chain: KeyChain
    public: str
    """What is in `checkpoint.pub`."""
    rotations: Sequence[Rotation]

    @classmethod
    def of(cls, public: str, rotations: str = "") -> Self:
        """Walk from `checkpoint.pub` back to the first key.

        Args:
            public: text of `checkpoint.pub`.
            rotations: text of `checkpoint.rotations`; empty when no key was ever replaced.

        Raises:
            MisuseError: `public` is no key.
            RotationsInvalid: the statements are forged, or one is missing.
        """
        public = public.strip()
        origin, key = read_verifier_key(public)
        statements = read_rotations(rotations)
        if not statements:
            if origin != origin_of(key):
                raise InvalidRotationsError("the statement by which the first key was replaced is missing")
            return cls(KeyChain([public]), public, ())
        first = statements[0].previous
        if statements[0].checkpoint.origin != origin_of(read_verifier_key(first)[1]):
            raise InvalidRotationsError("the statement by which the first key was replaced is missing")
        chain = KeyChain([first])
        for number, statement in enumerate(statements, 1):
            try:
                chain.follow(statement)
            except ValueError as e:
                raise InvalidRotationsError(f"statement {number} does not follow from those before: {e}") from e
        if public not in (statements[-1].next, statements[-1].previous):
            raise InvalidRotationsError("no statement leads to the key in checkpoint.pub")
        return cls(chain, public, statements)

    @classmethod
    def in_folder(cls, folder: AuditFolder) -> Self:
        """The keys of the record in a folder.

        Raises:
            FileNotFoundError: it has no public key.
            Misuse, RotationsInvalid, UnicodeDecodeError: as `of`.
        """
        public = folder.public_key.read_text(encoding="utf-8")
        return cls.of(public, rotations_text(folder))

    @property
    def unfinished(self) -> bool:
        """Whether a rotation was stated and `checkpoint.pub` is still the key before it."""
        return bool(self.rotations) and self.rotations[-1].next != self.public

    @property
    def first(self) -> str:
        """The first key of the record, by which others know it whatever key signs now."""
        return self.chain.keys[0]

    def read(self, note: str) -> Checkpoint:
        """As `KeyChain.read`."""
        return self.chain.read(note)


def origin_of(key: Ed25519PublicKey) -> str:
    """The name of the record whose first key this is."""
    return f"mcp-workbench/audit/{hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]}"


def rotations_text(folder: AuditFolder) -> str:
    """The content of `checkpoint.rotations`; empty when there is none."""
    try:
        return folder.rotations.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def read_rotations(text: str) -> list[Rotation]:
    """Every statement, the oldest first, each checked with the keys that it names.

    Raises:
        RotationsInvalid: one is malformed or not signed by its keys.
    """
    if not text:
        return []
    blocks = text.split("\n\n")
    found = []
    for number, (body, signatures) in enumerate(zip(blocks[::2], [*blocks[1::2], ""], strict=False), 1):
        try:
            found.append(Rotation.of(f"{body}\n\n{signatures.rstrip()}\n"))
        except ValueError as e:
            raise InvalidRotationsError(f"statement {number} does not hold: {e}") from e
    return found


def join_rotations(notes: Iterable[str]) -> str:
    """The content of `checkpoint.rotations` with these statements."""
    return "\n".join(notes)


def first_key(folder: AuditFolder) -> str:
    """The first key of a record, by which stores and databases know it whatever key signs now; nothing is checked.

    Raises:
        FileNotFoundError: there is no record.
    """
    for line in rotations_text(folder).split("\n\n", 1)[0].splitlines():
        if line.startswith(PREVIOUS):
            return line.removeprefix(PREVIOUS).strip()
    return folder.public_key.read_text(encoding="utf-8").strip()


def statement_body(origin: str, size: int, root: bytes, previous: str, after: str) -> str:
    """The text that both keys sign."""
    tree = base64.b64encode(root).decode()
    return f"{origin}\n{size}\n{tree}\n{PREVIOUS}{previous}\n{NEXT}{after}\n"
