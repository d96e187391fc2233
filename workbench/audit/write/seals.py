"""Seals: what was finished, in the order it was finished, one JSON line each, and a signature over all of it.

A sealed segment is stated with its size and SHA-256 and, for every tenant in it, where the tenant's lineage then ended.
Every published file of the lake is stated as well. The lines are the leaves of the tree that checkpoints sign.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson

from workbench.audit.format.checkpoint import Checkpoint
from workbench.audit.format.existence_witness import remember_seals, remembered
from workbench.audit.format.folder import AuditFolder, replace_durably, write_all
from workbench.audit.format.merkle_tree import Frontier
from workbench.audit.format.record_keys import RecordKeys
from workbench.audit.write.checkpoint_signing import (
    finish_rotation,
    load_signer,
    open_signer,
    replace_key,
    seals_locked,
)
from workbench.audit.write.tree_checkpoint import TreeState
from workbench.events import JSON, MisuseError

Witness = Path | Callable[[str], object]
"""Where copies of checkpoints go: a folder that the platform cannot rewrite, or a function that sends one away."""

_CHUNK = 1 << 18


class SealLog:
    """`seals.jsonl` and the checkpoint over it; appended to by any number of processes, one at a time (flock)."""

    def __init__(self, folder: AuditFolder, witness: Witness | None = None) -> None:
        self._folder = folder
        self._witness = witness
        self._signer = open_signer(folder)
        self._frontier = Frontier()
        self._offset = 0
        self._trusted = self._signer is not None
        self._signed = self._last_signed()
        self._records = 0
        self._known = remembered(folder.home)
        self._continues = self._known is None or self._known.seals == 0
        """Whether these seals are those that the control database knows, so that it may be told of more."""
        self._resume()

    def _resume(self) -> None:
        """Begin where the last process stopped, if nobody touched the seals since; else they are all read again."""
        standing = TreeState.read(self._folder)
        if standing is None or self._signed is None or not standing.is_signed_by(self._signed):
            return
        known = self._known
        if known is not None and known.seals not in (0, standing.size):
            return
        if known is not None and known.seals:
            self._continues = known.root == self._signed.root
        self._frontier = standing.frontier
        self._offset, self._records = standing.bytes, standing.records

    def _last_signed(self) -> Checkpoint | None:
        """The checkpoint on disk. What it states must hold before anything further is signed."""
        try:
            note = self._folder.checkpoint.read_text(encoding="utf-8")
            return RecordKeys.in_folder(self._folder).read(note)
        except FileNotFoundError:
            return None
        except (ValueError, MisuseError, UnicodeDecodeError):
            self._trusted = False  # altered: it stays as it is, for `verify` to name
            return None

    def append(self, *records: JSON) -> None:
        """Add seals durably and sign the tree. A past that contradicts the last checkpoint is never signed over.

        Raises:
            OSError: the disk says no.
        """
        with seals_locked(self._folder) as fd:
            self._catch_up(fd)
            entries = [orjson.dumps(record) for record in records]
            content = b"".join(entry + b"\n" for entry in entries)
            write_all(fd, content)
            os.fsync(fd)
            self._offset += len(content)
            for entry in entries:
                self._take(entry)
            self._sign(fd)

    def sign(self) -> None:
        """Sign what a killed process appended but did not live to sign.

        Raises:
            OSError: the disk says no.
        """
        with seals_locked(self._folder) as fd:
            self._catch_up(fd)
            if not self._is_signed():
                self._sign(fd)

    def replace_key(self) -> Iterator[str]:
        """Replace the key that signs checkpoints, one step after the other; yields after each what was done.

        Nobody seals meanwhile. Whoever stops half-way leaves a folder that the next one who opens it mends.

        Raises:
            MisuseError: the record contradicts its checkpoint, or its key is missing: nothing may be signed then.
            OSError: the disk says no.
        """
        with seals_locked(self._folder) as fd:
            self._catch_up(fd)
            if not self._is_signed():
                self._sign(fd)
            tree = self._frontier.size, self._frontier.root()
            as_signed = tree == self._signed[1:3] if self._signed is not None else not self._frontier.size
            if not self._trusted or self._signer is None or not as_signed:
                raise MisuseError(
                    "The checkpoint key cannot be replaced: the record is not as it was signed, or its key is missing.",
                    hint="Run `workbench audit verify`; it names what is wrong.",
                )
            yield from replace_key(self._folder, self._signer, *tree)
            self._signer = load_signer(self._folder)
            if self._signed is not None:
                self._sign(fd)
                yield "the new key signed a checkpoint"

    def _is_signed(self) -> bool:
        """Whether all seals are signed, with the key that signs now."""
        if self._signed is None:
            return self._frontier.size == 0
        by_us = self._signer is None or self._signer.has_signed(self._signed.note)
        return self._frontier.size <= self._signed.size and by_us

    def _catch_up(self, fd: int) -> None:
        """Take in what other processes appended; a line that a dying process left torn is cut off (it was unsigned)."""
        size = os.fstat(fd).st_size
        if size < self._offset:
            self._trusted = False
            return
        added = os.pread(fd, size - self._offset, self._offset) if size > self._offset else b""
        whole = added.rfind(b"\n") + 1
        if whole < len(added):
            os.ftruncate(fd, self._offset + whole)
        for entry in added[:whole].split(b"\n")[:-1]:
            self._take(entry)
        self._offset += whole

    def _take(self, entry: bytes) -> None:
        self._frontier.append(entry)
        with contextlib.suppress(orjson.JSONDecodeError, AttributeError, TypeError):
            self._records += orjson.loads(entry).get("rows", 0)
        if self._known is not None and self._frontier.size == self._known.seals:
            self._continues = self._frontier.root() == self._known.root
        signed = self._signed
        if signed is not None and self._frontier.size == signed.size and self._frontier.root() != signed.root:
            self._trusted = False

    def _sign(self, fd: int) -> None:
        finish_rotation(self._folder)
        if self._signer is not None and not self._has_key_of(self._signer.public):
            self._signer = load_signer(self._folder)  # another process has replaced the key
        # Another process may have signed a larger tree since this one looked; its statement is part of the past too.
        self._signed = self._last_signed() or self._signed
        signed = self._signed
        if signed is not None and signed.size > self._frontier.size:
            self._trusted = False
        if not self._trusted or self._signer is None:
            return
        new = self._signer.sign(self._frontier.size, self._frontier.root())
        replace_durably(self._folder.checkpoint, new.note.encode(), 0o644)
        self._signed = new
        if self._continues:
            remember_seals(self._folder.home, new.size, self._records, new.root)
        TreeState.of(self._frontier, self._records, fd).write(self._folder)
        send_to_witness(self._witness, new)

    def _has_key_of(self, public: str) -> bool:
        with contextlib.suppress(FileNotFoundError, UnicodeDecodeError):
            return self._folder.public_key.read_text(encoding="utf-8").strip() == public
        return False


def send_to_witness(witness: Witness | None, checkpoint: Checkpoint) -> None:
    """Give a copy of `checkpoint` to the witness.

    Raises:
        OSError: the witness folder cannot be written.
    """
    if witness is None:
        return
    if callable(witness):
        witness(checkpoint.note)
        return
    witness.mkdir(parents=True, exist_ok=True)
    replace_durably(witness / f"{checkpoint.size:012d}.checkpoint", checkpoint.note.encode(), 0o644)


def newest_seals(folder: AuditFolder) -> Iterator[dict[str, Any]]:
    """What the seals say, the newest first; only as much of the file is read as is asked for."""
    try:
        file = folder.seals.open("rb")
    except FileNotFoundError:
        return
    with file:
        position = file.seek(0, os.SEEK_END)
        rest = b""
        while position > 0:
            begin = max(0, position - _CHUNK)
            file.seek(begin)
            content = file.read(position - begin) + rest
            whole = content.find(b"\n") + 1 if begin else 0  # the first line may begin further up
            rest, position = (content[:whole] if whole or not begin else content), begin
            if begin and not whole:
                continue
            for entry in reversed(content[whole:].split(b"\n")[:-1]):
                yield _said(entry)


def _said(entry: bytes) -> dict[str, Any]:
    """A line that is no JSON object says nothing."""
    try:
        record = orjson.loads(entry)
    except orjson.JSONDecodeError:
        return {}
    return record if isinstance(record, dict) else {}


def each_seal(folder: AuditFolder, end: int) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """The complete lines among the first `end` bytes of the seals and what they say, one at a time."""
    if not end:
        return
    with folder.seals.open("rb") as file:
        for line in file:
            end -= len(line)
            if end < 0 or not line.endswith(b"\n"):
                return
            yield line[:-1], _said(line[:-1])


def read_seals(folder: AuditFolder, start: int = 0) -> list[tuple[bytes, dict[str, Any]]]:
    """Every complete line of `seals.jsonl` and what it says; a line that is no JSON object says nothing.

    Args:
        start: byte to begin at: the beginning of a line.
    """
    try:
        with folder.seals.open("rb") as file:
            file.seek(start)
            content = file.read()
    except FileNotFoundError:
        return []
    return [(entry, _said(entry)) for entry in content.split(b"\n")[:-1]]
