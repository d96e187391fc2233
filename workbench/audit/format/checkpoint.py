"""Signed statements about the seals: C2SP `tlog-checkpoint` text in a C2SP `signed-note`, Ed25519.

```
<origin>
<number of seals>
<root of their tree, base64>

— <origin> <base64 of key id (4 bytes) and signature (64 bytes)>
```
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, NamedTuple

from workbench.events import MisuseError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


class Checkpoint(NamedTuple):
    """What a signed note states: the first `size` seals have this `root`."""

    origin: str
    size: int
    root: bytes
    note: str


class UnknownKeyError(ValueError):
    """A checkpoint has no signature of the key that was asked for."""


class Signer:
    """The key that signs checkpoints, kept in the state folder and readable by its owner alone (0600)."""

    def __init__(self, origin: str, key: Ed25519PrivateKey) -> None:
        self.origin = origin
        self.public = verifier_key(origin, key.public_key())
        """The public key, as in `checkpoint.pub`."""
        self._key = key
        self._id = key_id(origin, key.public_key())

    def sign(self, size: int, root: bytes) -> Checkpoint:
        """A signed statement about a tree."""
        body = f"{self.origin}\n{size}\n{base64.b64encode(root).decode()}\n"
        return Checkpoint(self.origin, size, root, f"{body}\n{self.signature(body)}")

    def signature(self, body: str) -> str:
        """The line that signs the text of a note."""
        return f"— {self.origin} {base64.b64encode(self._id + self._key.sign(body.encode())).decode()}\n"

    def has_signed(self, note: str) -> bool:
        """Whether a checkpoint is signed by this key."""
        try:
            read_checkpoint(note, self.origin, self._key.public_key())
        except ValueError:
            return False
        return True


def key_id(origin: str, key: Ed25519PublicKey) -> bytes:
    """The first four bytes of SHA-256 over name, newline, algorithm (1 = Ed25519) and key (C2SP signed-note)."""
    return hashlib.sha256(origin.encode() + b"\n\x01" + key.public_bytes_raw()).digest()[:4]


def verifier_key(origin: str, key: Ed25519PublicKey) -> str:
    """The public key as C2SP signed-note text: `name+keyid+base64(algorithm, key)`."""
    encoded = base64.b64encode(b"\x01" + key.public_bytes_raw()).decode()
    return f"{origin}+{key_id(origin, key).hex()}+{encoded}"


def read_verifier_key(text: str) -> tuple[str, Ed25519PublicKey]:
    """Origin and key from the content of `checkpoint.pub`.

    Raises:
        MisuseError: this is no such key.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        origin, named, encoded = text.strip().split("+", 2)
        raw = base64.b64decode(encoded, validate=True)
        key = Ed25519PublicKey.from_public_bytes(raw[1:])
    except (ValueError, binascii.Error) as e:
        raise MisuseError(
            "This is no checkpoint key.", hint="Expected origin+keyid+base64, as in checkpoint.pub."
        ) from e
    if raw[:1] != b"\x01" or key_id(origin, key).hex() != named:
        raise MisuseError(f"The key id {named!r} does not belong to this key.", hint="Fetch checkpoint.pub again.")
    return origin, key


def read_checkpoint(note: str, origin: str, key: Ed25519PublicKey) -> Checkpoint:
    """The statement in `note`, if `key` signed it.

    Raises:
        ValueError: it is malformed, of another origin, or not signed by this key (`UnknownKeyError`).
    """
    from cryptography.exceptions import InvalidSignature

    body, separator, signatures = note.partition("\n\n")
    lines = body.split("\n")
    if not separator or len(lines) < 3 or lines[0] != origin or not lines[1].isdecimal():
        raise ValueError("it is malformed or of another origin")
    signed = (body + "\n").encode()
    for line in signatures.splitlines():
        dash, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        try:
            raw = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            continue
        if dash != "—" or name != origin or raw[:4] != key_id(origin, key):
            continue
        try:
            key.verify(raw[4:], signed)
        except InvalidSignature:
            raise ValueError("its signature does not fit its text") from None
        return Checkpoint(origin, int(lines[1]), base64.b64decode(lines[2], validate=True), note)
    raise UnknownKeyError("it is not signed by the key of this record")
