"""`verify`: proves that what was sealed is what is there, or names the first line that is not.

Quick: the checkpoint's signature, the tree over the seals, and the digests that the seals state of every file. Deep:
the chain of every line as well. A copy of a checkpoint that the platform could not rewrite (a witness) also shows that
nothing was cut off the end and that the key is still the same; without one, the holder of the key can rewrite the past.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

from workbench.audit.format.cosignature import cosigned_at, read_cosigner_key
from workbench.audit.format.existence_witness import RecordExistence, remembered
from workbench.audit.format.folder import AuditFolder
from workbench.audit.format.merkle_tree import Frontier
from workbench.audit.format.record_keys import InvalidRotationsError, RecordKeys, rotations_text
from workbench.audit.verification.findings import Finding, Progress, Verification
from workbench.audit.write.seals import each_seal
from workbench.audit.write.witness import CheckpointStatement, HttpWitness, is_url
from workbench.events import MisuseError, UnreachableError

_QUICK_WITNESSES = 1000
"""Copies of checkpoints that a quick check of a witness folder reads: the newest ones."""


def verify(
    home: Path,
    *,
    deep: bool = False,
    progress: Progress | None = None,
    witness: Path | str | Iterable[str] | None = None,
    witness_key: str | None = None,
    since_us: int = 0,
    cancel: Callable[[], bool] | None = None,
) -> Verification:
    """Check the record under a state folder. It is only read; a platform may be writing to it.

    Args:
        home: the state folder.
        deep: also check the chain of every line.
        progress: called now and then with bytes done and bytes in all.
        witness: copies of checkpoints kept elsewhere: a folder of `*.checkpoint` files (unless deep, the newest
            thousand are read), the URL of a witness, or texts.
        witness_key: text of the public key of a witness (`witness.pub`); its signature is then demanded under the
            checkpoint that is kept in `cosigned`.
        since_us: check only what was sealed at or after this time (µs since the epoch); the signature covers all.
        cancel: asked now and then; True stops.

    Raises:
        MisuseError: the witness is no folder, or its key is none.
    """
    from workbench.audit.verification.file_check import ContentsCheck

    folder = AuditFolder(home)
    started = time.monotonic()
    found = Verification(deep=deep)
    # before the seals are read: they only grow
    known, cosigned = remembered(folder.home), _check_cosigned(found, folder, witness_key)
    check = ContentsCheck(folder, found, progress, cancel, since_us)
    with _seals_at_rest(folder) as end:
        note, keys = _text(folder.checkpoint), _keys(folder)
    asked = isinstance(witness, str) and is_url(witness)
    copies = [*cosigned, *([] if asked else _witness_notes(witness, deep))]
    stated = [rotation.checkpoint for rotation in keys.rotations] if isinstance(keys, RecordKeys) else []
    sizes = {_size_of(text) for text in (note or "", *(text for _, text in copies), *(c.note for c in stated))}
    seals = _SealsRead.of(folder, end, {*sizes, known.seals if known else 0}, check.take)
    _check_signatures(found, keys, seals, note, copies)
    if asked:
        _ask_witness(found, HttpWitness(folder, str(witness)), note, seals.size)
    if known is not None and not found.findings:
        _check_existence(found, folder, known, seals)
    check.run()
    _check_views(found, folder)
    found.ok = not found.findings and not found.cancelled
    found.elapsed_s = time.monotonic() - started
    return found


@contextmanager
def _seals_at_rest(folder: AuditFolder) -> Iterator[int]:
    """Keeps writers from sealing while the checkpoint over the seals is read; gives the size of their file."""
    try:
        file = folder.seals.open("rb")
    except FileNotFoundError:
        yield 0
        return
    with file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield os.fstat(file.fileno()).st_size


class _SealsRead(NamedTuple):
    """What one reading of the seals gave."""

    size: int
    roots: dict[int, bytes]
    """Of the trees of some sizes, as far as there are so many."""

    @classmethod
    def of(cls, folder: AuditFolder, end: int, sizes: set[int], take: Callable[[int, dict[str, Any]], None]) -> Self:
        """Read the seals once, one at a time, and hand each with its number to `take`."""
        frontier = Frontier()
        roots = {0: frontier.root()}
        for entry, seal in each_seal(folder, end):
            frontier.append(entry)
            if frontier.size in sizes:
                roots[frontier.size] = frontier.root()
            take(frontier.size, seal)
        return cls(frontier.size, roots)


def _check_views(found: Verification, folder: AuditFolder) -> None:
    """The file of views that people open: one that hides rows is as bad as a record that lacks them."""
    from workbench.audit.query.views_file import views_difference

    difference = None if found.cancelled else views_difference(folder)
    if difference is None:
        return
    hint = "it is written anew when the platform starts, or by `python -m workbench.audit.compact`"
    if difference.moved:
        found.notes.append(f"audit.duckdb: {difference.message}; {hint}.")
    else:
        found.findings.append(Finding("audit.duckdb", f"{difference.message}; {hint}"))


def _size_of(note: str) -> int:
    """How many seals a checkpoint says that it signs; 0 when it does not read, which is found out elsewhere."""
    try:
        return CheckpointStatement.of(note).size
    except ValueError:
        return 0


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _keys(folder: AuditFolder) -> RecordKeys | Finding:
    """The keys that may have signed checkpoints of this record, or why nobody can tell."""
    public = _text(folder.public_key)
    if public is None:
        return Finding("checkpoint.pub", "the public key is missing, no signature can be checked")
    try:
        return RecordKeys.of(public, rotations_text(folder))
    except MisuseError as e:
        return Finding("checkpoint.pub", str(e))
    except (InvalidRotationsError, UnicodeDecodeError) as e:
        return Finding("checkpoint.rotations", str(e))


def _check_cosigned(found: Verification, folder: AuditFolder, witness_key: str | None) -> list[tuple[str, str]]:
    """Whether the witness signed the checkpoint that is kept with its signature; it is then checked as any other."""
    if witness_key is None:
        return []
    name, key = read_cosigner_key(witness_key)
    note = _text(folder.cosigned)
    if note is None:
        found.findings.append(Finding("cosigned", "there is no checkpoint with the signature of the witness"))
        return []
    try:
        found.cosigned_s = cosigned_at(note, name, key)
        found.cosigned = CheckpointStatement.of(note).size
    except ValueError as e:
        found.findings.append(Finding("cosigned", f"not what the witness signed: {e}"))
        return []
    return [("cosigned", note)]


def _ask_witness(found: Verification, witness: HttpWitness, note: str | None, seals: int) -> None:
    """Whether the witness's server saw the same history; one that cannot be asked vouches for nothing."""
    if note is None or found.findings:
        return  # the checkpoint is not ours to send
    try:
        said = witness.confirm(note, seals)
    except UnreachableError as e:
        said = str(e.args[0])
    if said:
        found.findings.append(Finding("seals.jsonl", said))
    else:
        found.witnessed = found.signed


def _witness_notes(witness: Path | str | Iterable[str] | None, deep: bool) -> list[tuple[str, str]]:
    if witness is None:
        return []
    if isinstance(witness, (Path, str)):
        witness = Path(witness).expanduser()
        if not witness.is_dir():
            raise MisuseError(
                f"{witness} is no folder.", hint="Name the folder that holds the copies of the checkpoints."
            )
        copies = sorted(witness.glob("*.checkpoint"))[0 if deep else -_QUICK_WITNESSES :]
        return [(path.name, path.read_text(encoding="utf-8")) for path in copies]
    return [(f"witness {number}", note) for number, note in enumerate(witness)]


def _check_signatures(
    found: Verification,
    keys: RecordKeys | Finding,
    seals: _SealsRead,
    note: str | None,
    witnessed: list[tuple[str, str]],
) -> None:
    """The checkpoint, the statements of rotation and every witnessed copy: signed by a key of this record, and true of
    the seals that are there."""
    found.seals = seals.size
    if note is None and not seals.size and not witnessed:
        return
    if isinstance(keys, Finding):
        found.findings.append(keys)
        return
    if keys.unfinished:
        found.notes.append("checkpoint.pub: a rotation of the key was interrupted; the next start finishes it.")
    if note is None:
        found.findings.append(Finding("checkpoint", "the signed checkpoint is missing"))
    statements = []
    for where, text in [*([("checkpoint", note)] if note is not None else []), *witnessed]:
        try:
            statements.append((where, keys.read(text)))
        except ValueError as e:
            found.findings.append(Finding(where, f"not a checkpoint of this record: {e}"))
    statements += [("checkpoint.rotations", rotation.checkpoint) for rotation in keys.rotations]
    for where, checkpoint in statements:
        if where == "checkpoint":
            found.signed, found.checkpoint = checkpoint.size, checkpoint.note
            if checkpoint.size < seals.size:
                missing = seals.size - checkpoint.size
                found.findings.append(Finding("seals.jsonl", f"the last {missing} seals are not signed"))
        if checkpoint.size > seals.size:
            lost = checkpoint.size - seals.size
            found.findings.append(
                Finding("seals.jsonl", f"{where} signs {checkpoint.size} seals; {lost} of them were removed")
            )
        elif seals.roots[checkpoint.size] != checkpoint.root:
            found.findings.append(
                Finding("seals.jsonl", f"the first {checkpoint.size} seals are not those that {where} signs")
            )
        elif where not in ("checkpoint", "checkpoint.rotations"):
            found.witnessed = max(found.witnessed, checkpoint.size)


def _check_existence(found: Verification, folder: AuditFolder, known: RecordExistence, seals: _SealsRead) -> None:
    """Whether what the control database remembers is still there: the folder may be gone whole, its key as well."""
    if known.seals > seals.size:
        what = "the record is missing" if not seals.size else "a part of the record is missing"
        message = f"{what}: {known.records} records in {known.seals} seals were there at {known.at}"
        found.findings.append(Finding("seals.jsonl", f"{message}; now there are {seals.size} seals"))
    elif known.seals and seals.roots[known.seals] != known.root:
        message = f"this is another record than the one of {known.records} records that was there at {known.at}"
        found.findings.append(Finding("seals.jsonl", message))
    elif known.writers and not folder.wal.is_dir():
        message = f"the record is missing: {known.writers} writers were opened, the first at {known.at}"
        found.findings.append(Finding("wal", message))
