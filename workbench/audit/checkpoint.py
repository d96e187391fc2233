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
import os
from typing import TYPE_CHECKING, NamedTuple

from workbench.audit.folder import AuditFolder, replace_durably, sync_folder, write_all
from workbench.events import Misuse

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


class Checkpoint(NamedTuple):
    """What a signed note states: the first `size` seals have this `root`."""

    origin: str
    size: int
    root: bytes
    note: str


class Signer:
    """The key that signs checkpoints, kept in the state folder and readable by its owner alone (0600)."""

    def __init__(self, origin: str, key: Ed25519PrivateKey) -> None:
        self.origin = origin
        self._key = key
        self._id = key_id(origin, key.public_key())

    def sign(self, size: int, root: bytes) -> Checkpoint:
        """A signed statement about a tree."""
        body = f"{self.origin}\n{size}\n{base64.b64encode(root).decode()}\n"
        signature = base64.b64encode(self._id + self._key.sign(body.encode())).decode()
        return Checkpoint(self.origin, size, root, f"{body}\n— {self.origin} {signature}\n")


def key_id(origin: str, key: Ed25519PublicKey) -> bytes:
    """The first four bytes of SHA-256 over name, newline, algorithm (1 = Ed25519) and key (C2SP signed-note)."""
    return hashlib.sha256(origin.encode() + b"\n\x01" + key.public_bytes_raw()).digest()[:4]


def open_signer(folder: AuditFolder) -> Signer | None:
    """The signer of this state folder, made on first use.

    None when the folder already has a checkpoint but not its key: then nothing more may be signed, because a new key
    could vouch for a past that it never saw.

    Raises:
        OSError: the disk says no.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        raw = folder.key.read_bytes()
    except FileNotFoundError:
        if folder.checkpoint.exists():
            return None
        raw = _create_key(folder)
    key = Ed25519PrivateKey.from_private_bytes(raw)
    public = key.public_key().public_bytes_raw()
    origin = f"mcp-workbench/audit/{hashlib.sha256(public).hexdigest()[:16]}"
    if not folder.public_key.exists():
        replace_durably(folder.public_key, verifier_key(origin, key.public_key()).encode() + b"\n", 0o644)
    return Signer(origin, key)


def _create_key(folder: AuditFolder) -> bytes:
    """A new private key, or the one that another process made in the same moment."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    raw = Ed25519PrivateKey.generate().private_bytes_raw()
    temporary = folder.key.with_name(f"checkpoint.key.{os.getpid()}.tmp")
    fd = os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    try:
        write_all(fd, raw)
        os.fsync(fd)
    finally:
        os.close(fd)
    try:
        os.link(temporary, folder.key)  # fails when the key exists, unlike a rename
    except FileExistsError:
        raw = folder.key.read_bytes()
    finally:
        temporary.unlink()
    sync_folder(folder.root)
    return raw


def verifier_key(origin: str, key: Ed25519PublicKey) -> str:
    """The public key as C2SP signed-note text: `name+keyid+base64(algorithm, key)`."""
    encoded = base64.b64encode(b"\x01" + key.public_bytes_raw()).decode()
    return f"{origin}+{key_id(origin, key).hex()}+{encoded}"


def read_verifier_key(text: str) -> tuple[str, Ed25519PublicKey]:
    """Origin and key from the content of `checkpoint.pub`.

    Raises:
        Misuse: this is no such key.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        origin, named, encoded = text.strip().split("+", 2)
        raw = base64.b64decode(encoded, validate=True)
        key = Ed25519PublicKey.from_public_bytes(raw[1:])
    except (ValueError, binascii.Error) as e:
        raise Misuse("This is no checkpoint key.", hint="Expected origin+keyid+base64, as in checkpoint.pub.") from e
    if raw[:1] != b"\x01" or key_id(origin, key).hex() != named:
        raise Misuse(f"The key id {named!r} does not belong to this key.", hint="Fetch checkpoint.pub again.")
    return origin, key


def read_checkpoint(note: str, origin: str, key: Ed25519PublicKey) -> Checkpoint:
    """The statement in `note`, if `key` signed it.

    Raises:
        ValueError: it is malformed, of another origin, or not signed by this key.
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
    raise ValueError("it is not signed by the key of this record")
