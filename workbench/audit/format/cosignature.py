"""Signatures of witnesses under our checkpoints: C2SP *cosignature/v1*, Ed25519 over the time and the checkpoint.

Who holds the key of the record can write its past anew, but not the witness's signature under it. So whoever knows the
witness's public key needs neither the witness nor trust in the platform to see how far the past is fixed, and when.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import time
from typing import TYPE_CHECKING

from workbench.events import MisuseError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_ALGORITHM = b"\x04"
"""Of timestamped Ed25519 cosignatures (C2SP signed-note)."""

_SIGNATURE = 64
_TIME = 8


def _key_id(name: str, key: Ed25519PublicKey) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + _ALGORITHM + key.public_bytes_raw()).digest()[:4]


def _signed(note: str, at: int) -> bytes:
    """The bytes that are signed: what the checkpoint says, without anybody's signatures, and when it was seen."""
    body = note.partition("\n\n")[0]
    return f"cosignature/v1\ntime {at}\n{body}\n".encode()


def cosigner_key(name: str, key: Ed25519PublicKey) -> str:
    """The public key of a witness as C2SP signed-note text."""
    return f"{name}+{_key_id(name, key).hex()}+{base64.b64encode(_ALGORITHM + key.public_bytes_raw()).decode()}"


def cosign(note: str, name: str, key: Ed25519PrivateKey) -> str:
    """The line that a witness adds to a checkpoint it took in."""
    at = int(time.time())
    signature = _key_id(name, key.public_key()) + at.to_bytes(_TIME, "big") + key.sign(_signed(note, at))
    return f"— {name} {base64.b64encode(signature).decode()}\n"


def read_cosigner_key(text: str) -> tuple[str, Ed25519PublicKey]:
    """Name and key from the content of `witness.pub`.

    Raises:
        MisuseError: this is no key of a witness.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    hint = "Expected name+keyid+base64, as in witness.pub in the folder of the witness."
    try:
        name, named, encoded = text.strip().split("+", 2)
        raw = base64.b64decode(encoded, validate=True)
        key = Ed25519PublicKey.from_public_bytes(raw[1:])
    except (ValueError, binascii.Error) as e:
        raise MisuseError("This is no key of a witness.", hint=hint) from e
    if raw[:1] != _ALGORITHM or _key_id(name, key).hex() != named:
        raise MisuseError(f"The key id {named!r} does not belong to a key of a witness.", hint=hint)
    return name, key


def cosigned_at(note: str, name: str, key: Ed25519PublicKey) -> int:
    """When the witness signed this checkpoint: seconds since the epoch, by its clock.

    Raises:
        ValueError: it did not.
    """
    from cryptography.exceptions import InvalidSignature

    for line in note.partition("\n\n")[2].splitlines():
        dash, _, rest = line.partition(" ")
        signer, _, encoded = rest.partition(" ")
        try:
            raw = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            continue
        if dash != "—" or signer != name or raw[:4] != _key_id(name, key) or len(raw) != 4 + _TIME + _SIGNATURE:
            continue
        at = int.from_bytes(raw[4 : 4 + _TIME], "big")
        try:
            key.verify(raw[4 + _TIME :], _signed(note, at))
        except InvalidSignature:
            raise ValueError("the witness's signature does not fit its text") from None
        return at
    raise ValueError("it is not signed by the key of the witness")
