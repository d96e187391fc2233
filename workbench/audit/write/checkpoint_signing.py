"""The key that signs checkpoints: made on first use, and replaced by a statement of the old key about the new one.

Replacing takes several steps, each durable before the next. Whoever opens the signer after a crash between two of them
goes on where it stopped:

1. the new key is written to `checkpoint.key.next`;
2. the statement is put at the end of `checkpoint.rotations`: from here on the new key counts;
3. the new key replaces `checkpoint.key`;
4. `checkpoint.pub` follows;
5. the new key signs a checkpoint.

All of it happens while nobody else can seal.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from workbench.audit.format.checkpoint import Signer, verifier_key
from workbench.audit.format.folder import AuditFolder, replace_durably, sync_folder, write_all
from workbench.audit.format.record_keys import (
    NEXT,
    InvalidRotationsError,
    RecordKeys,
    Rotation,
    join_rotations,
    origin_of,
    read_rotations,
    rotations_text,
    statement_body,
)
from workbench.events import MisuseError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def open_signer(folder: AuditFolder) -> Signer | None:
    """The signer of this state folder, made on first use. A rotation that was interrupted is finished.

    None when the folder already has a checkpoint but not the key that may sign the next one: then nothing more may be
    signed, because another key could vouch for a past that it never saw.

    Raises:
        OSError: the disk says no.
    """
    if _interrupted(folder):
        with seals_locked(folder):
            finish_rotation(folder)
    return load_signer(folder)


def load_signer(folder: AuditFolder) -> Signer | None:
    """Like `open_signer`, for whoever holds the lock of the seals: nothing is finished."""
    try:
        raw = folder.key.read_bytes()
    except FileNotFoundError:
        if folder.checkpoint.exists() or folder.rotations.exists():
            return None
        raw = _create_key(folder)
    key = _private_key(raw)
    try:
        statements = read_rotations(rotations_text(folder))
    except (InvalidRotationsError, UnicodeDecodeError):
        return None
    origin = statements[-1].checkpoint.origin if statements else origin_of(key.public_key())
    public = verifier_key(origin, key.public_key())
    if statements and statements[-1].next != public:
        return None
    if not folder.public_key.exists():
        _write_public(folder, public)
    return Signer(origin, key)


@contextmanager
def seals_locked(folder: AuditFolder) -> Iterator[int]:
    """Nobody else can seal or sign until the block ends; gives the descriptor of the file of seals."""
    fd = os.open(folder.seals, os.O_CREAT | os.O_APPEND | os.O_RDWR, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield fd
    finally:
        os.close(fd)


def replace_key(folder: AuditFolder, signer: Signer, size: int, root: bytes) -> Iterator[str]:
    """Replace the key of `signer`, one step after the other; yields after each what was done.

    The caller holds the lock of the seals, has signed what is there, and signs again afterwards.

    Args:
        folder: the record.
        signer: the one that signs now.
        size: how many seals there are.
        root: of their tree.

    Raises:
        OSError: the disk says no.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    public = verifier_key(signer.origin, key.public_key())
    replace_durably(folder.next_key, key.private_bytes_raw())
    yield "the new key is written"
    body = statement_body(signer.origin, size, root, signer.public, public)
    note = f"{body}\n{signer.signature(body)}{Signer(signer.origin, key).signature(body)}"
    notes = [rotation.checkpoint.note for rotation in read_rotations(rotations_text(folder))]
    replace_durably(folder.rotations, join_rotations([*notes, note]).encode(), 0o644)
    yield "the statement is written"
    folder.next_key.replace(folder.key)
    sync_folder(folder.root)
    yield "the key is replaced"
    _write_public(folder, public)
    yield "the public key is replaced"


def _interrupted(folder: AuditFolder) -> bool:
    """Whether a rotation stopped half-way. Asked before every signature, so nothing is verified here."""
    if folder.next_key.exists():
        return True
    with contextlib.suppress(FileNotFoundError, UnicodeDecodeError):
        public = folder.public_key.read_text(encoding="utf-8").strip()
        said = [line for line in rotations_text(folder).splitlines() if line.startswith(NEXT)]
        return bool(said) and said[-1].removeprefix(NEXT) != public
    return False


def finish_rotation(folder: AuditFolder) -> None:
    """Do the steps that an interrupted rotation lacks, up to the public key. The caller holds the lock of the seals.

    What is forged or contradicts itself stays as it is, for `verify` to name.

    Raises:
        OSError: the disk says no.
    """
    if not _interrupted(folder):
        return
    try:
        keys = RecordKeys.in_folder(folder)
    except (FileNotFoundError, MisuseError, InvalidRotationsError, UnicodeDecodeError):
        return
    last: Rotation | None = keys.rotations[-1] if keys.rotations else None
    with contextlib.suppress(FileNotFoundError):
        if last is not None and _public_of(folder.next_key.read_bytes(), last) == last.next:
            folder.next_key.replace(folder.key)
            sync_folder(folder.root)
        else:  # it was never stated, so nothing was ever signed with it
            folder.next_key.unlink()
    with contextlib.suppress(FileNotFoundError):
        if last is not None and keys.unfinished and _public_of(folder.key.read_bytes(), last) == last.next:
            _write_public(folder, last.next)


def _public_of(raw: bytes, rotation: Rotation) -> str:
    """The public key to a private one, as a statement names it; empty when it is torn."""
    if len(raw) != 32:
        return ""
    return verifier_key(rotation.checkpoint.origin, _private_key(raw).public_key())


def _private_key(raw: bytes) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(raw)


def _write_public(folder: AuditFolder, public: str) -> None:
    replace_durably(folder.public_key, public.encode() + b"\n", 0o644)


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
