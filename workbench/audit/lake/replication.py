"""The record in a store: everything that is sealed is copied there, and can be fetched back to another machine.

Objects: `lineage/<file>/<start>-<end>` for each sealed range of lines, `lake/…`, `rollup/…`, `index/…` as in the state
folder, `wal/…` for what is sealed but not compacted yet, `seals/<first>-<last>.jsonl`, and for every copy that is
complete a `heads/<seals>.json` with a signed checkpoint over exactly those seals and the manifest that goes with them.
`checkpoint.pub` is the first key of the record; `rotations/<n>` are the statements by which others followed it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from workbench.audit.format.folder import AuditFolder, replace_durably
from workbench.audit.format.merkle_tree import Frontier
from workbench.audit.format.record_keys import RecordKeys, Rotation, join_rotations, read_rotations, rotations_text
from workbench.audit.lake.compactor import Compactor
from workbench.audit.lake.manifest import Manifest
from workbench.audit.lake.segment_checks import LakeRefusedError, read_range
from workbench.audit.lake.segment_store import SegmentStore, digest
from workbench.audit.write.checkpoint_signing import open_signer
from workbench.audit.write.seals import read_seals
from workbench.config import prepare_home
from workbench.events import JSON, MisuseError

_KINDS = ("parts", "rollups", "indexes")


class ReplicationResult(NamedTuple):
    """What one run copied."""

    seals: int
    objects: int


def ship(
    folder: AuditFolder, store: SegmentStore, announce: Callable[[Manifest], object] = lambda manifest: None
) -> ReplicationResult | None:
    """Copy what was sealed since the last time. None when the compactor is at work.

    May be killed at any point: a copy counts from the moment its head is there.

    Args:
        announce: called with the manifest when all of its files are there and none that it replaces is gone.

    Raises:
        StoreConflictError: the store belongs to another record.
        UnreachableError: the store does not answer.
        LakeRefusedError: a file is not what its seal says; nothing is copied over it.
    """
    with Compactor(folder).alone() as (alone, _):
        return _Shipment(folder, store, announce).run() if alone else None


class _Shipment:
    def __init__(self, folder: AuditFolder, store: SegmentStore, announce: Callable[[Manifest], object]) -> None:
        self._folder = folder
        self._announce = announce
        self._store = store
        self._objects = 0

    def run(self) -> ReplicationResult:
        entries = read_seals(self._folder)
        manifest = Manifest.read(self._folder)
        last = max((n for n, (_, seal) in enumerate(entries) if seal.get("type") == "lake"), default=-1) + 1
        entries = entries[:last]
        done = self._shipped()
        if last <= done:
            return ReplicationResult(0, 0)
        signer = open_signer(self._folder)
        if signer is None:
            raise LakeRefusedError("The record has no signing key any more.", hint="Run `workbench audit verify`.")
        rotations = read_rotations(rotations_text(self._folder))
        if rotations and rotations[-1].checkpoint.size > last:
            return ReplicationResult(
                0, 0
            )  # a copy must have all that the old key signed; the next compaction reaches that far
        self._ship_keys(rotations)
        removed = {(p["file"], p["start"]) for _, s in entries if s.get("type") == "retention" for p in s["lineage"]}
        current = {item["path"]: item for kind in _KINDS for item in getattr(manifest, kind)}
        gone: list[str] = []
        for _, seal in entries[done:]:
            gone += self._ship_seal(seal, manifest, current, removed)
        content = b"".join(entry + b"\n" for entry, _ in entries[done:])
        self._put(f"seals/{done:012d}-{last:012d}.jsonl", content)
        frontier = Frontier()
        for entry, _ in entries:
            frontier.append(entry)
        note = signer.sign(frontier.size, frontier.root()).note
        head = {"checkpoint": note, "manifest": manifest.encoded().decode(), "seals": last}
        self._put(f"heads/{last:012d}.json", orjson.dumps(head))
        try:
            self._announce(manifest)
        finally:
            for name in gone:
                self._store.delete(name)
        return ReplicationResult(last - done, self._objects)

    def _ship_keys(self, rotations: list[Rotation]) -> None:
        """Objects are written once, so the first key stays and the statements stand beside it."""
        first = f"{rotations[0].previous}\n".encode() if rotations else self._folder.public_key.read_bytes()
        self._put("checkpoint.pub", first)
        for number, rotation in enumerate(rotations):
            self._put(f"rotations/{number:06d}", rotation.checkpoint.note.encode())

    def _shipped(self) -> int:
        heads = self._store.names("heads/")
        return int(heads[-1].removeprefix("heads/").removesuffix(".json")) if heads else 0

    def _put(self, name: str, content: bytes | Path) -> None:
        self._store.put(name, content)
        self._objects += 1

    def _ship_seal(
        self, seal: JSON, manifest: Manifest, current: dict[str, Any], removed: set[tuple[str, int]]
    ) -> list[str]:
        """Copy what one seal states; returns the names of objects that it makes superfluous."""
        if seal["type"] == "segment":
            for part in seal["lineage"]:
                self._ship_range(part, removed)
            if seal["number"] >= manifest.marks.get(seal["writer"], 0):
                self._ship_file(f"wal/{seal['segment']}", seal["sha256"])
        elif seal["type"] == "lake":
            for item in seal["added"]:
                if item["path"] in current:
                    self._ship_file(item["path"], item["sha256"])
            return list(seal["removed"])
        elif seal["type"] == "retention":
            return [range_name(part) for part in seal["lineage"]]
        return []

    def _ship_range(self, part: JSON, removed: set[tuple[str, int]]) -> None:
        content = read_range(self._folder, part)
        if digest(content) == part["sha256"]:
            self._put(range_name(part), content)
        elif (part["file"], part["start"]) not in removed:
            raise _not_as_sealed(part["file"])

    def _ship_file(self, name: str, sha256: str) -> None:
        path = self._folder.root / name
        if digest(path.read_bytes()) != sha256:
            raise _not_as_sealed(name)
        self._put(name, path)


def range_name(part: JSON) -> str:
    """Name of the object that holds a sealed range of lines."""
    return f"lineage/{part['file']}/{part['start']:012d}-{part['bytes']:012d}"


def _not_as_sealed(name: str) -> LakeRefusedError:
    return LakeRefusedError(f"{name} is not what its seal says.", hint="Run `workbench audit verify --deep`.")


def fetch(store: SegmentStore, home: Path, key: str | None = None) -> int:
    """Rebuild a record from a store in an empty state folder; returns how many seals it has. Verify it afterwards.

    Args:
        home: a folder that does not exist or is empty.
        key: the public key as you know it: the newest, or an earlier one that it replaced; None trusts those in the
            store.

    Raises:
        MisuseError: the folder holds a record, the store holds none, or it is signed by another key.
        UnreachableError: the store does not answer.
    """
    folder = AuditFolder(prepare_home(home))
    if folder.seals.exists():
        raise MisuseError(f"{home} holds a record.", hint="Name a new folder.")
    heads = store.names("heads/")
    public = store.get("checkpoint.pub")
    if not heads or public is None:
        raise MisuseError("There is no record in this store.", hint="Is it the place that audit_store names?")
    rotations = join_rotations(_object(store, name).decode() for name in store.names("rotations/"))
    head = orjson.loads(_object(store, heads[-1]))
    try:
        keys = _keys(public.decode(), rotations)
        if key is not None and key.strip() not in keys.chain.keys:
            raise MisuseError("The record in this store is signed by another key.", hint="Do not use it.")
        keys.read(head["checkpoint"])
    except ValueError as e:
        raise MisuseError(f"The checkpoint in this store is not valid: {e}.", hint="Do not use it.") from e
    folder.prepare()
    seals = _fetch_seals(store, head["seals"])
    removed = {(p["file"], p["start"]) for s in seals if s["type"] == "retention" for p in s["lineage"]}
    manifest = Manifest(**orjson.loads(head["manifest"]))
    for seal in (seal for seal in seals if seal["type"] == "segment"):
        for part in seal["lineage"]:
            _fetch_range(store, folder, part, (part["file"], part["start"]) in removed)
        if seal["number"] >= manifest.marks.get(seal["writer"], 0):
            _write(folder.wal / seal["segment"], _object(store, f"wal/{seal['segment']}"))
    for item in (item for kind in _KINDS for item in getattr(manifest, kind)):
        _write(folder.root / item["path"], _object(store, item["path"]))
    replace_durably(folder.manifest, head["manifest"].encode())
    replace_durably(folder.public_key, f"{keys.public}\n".encode(), 0o644)
    if rotations:
        replace_durably(folder.rotations, rotations.encode(), 0o644)
    replace_durably(folder.checkpoint, head["checkpoint"].encode(), 0o644)
    replace_durably(folder.seals, b"".join(_seal_chunks(store, head["seals"])))
    return len(seals)


def _keys(first: str, rotations: str) -> RecordKeys:
    """The keys of a record whose first one and statements of rotation are known."""
    statements = read_rotations(rotations)
    if statements and statements[0].previous != first.strip():
        raise ValueError("its statements of rotation do not begin with its first key")
    return RecordKeys.of(statements[-1].next if statements else first, rotations)


def _object(store: SegmentStore, name: str) -> bytes:
    content = store.get(name)
    if content is None:
        raise MisuseError(f"{name} is missing in the store.", hint="Objects were removed from it; fetch another copy.")
    return content


def _seal_chunks(store: SegmentStore, until: int) -> list[bytes]:
    chunks, reached = [], 0
    for name in store.names("seals/"):
        first, last = map(int, name.removeprefix("seals/").removesuffix(".jsonl").split("-"))
        if first == reached and last <= until:
            chunks.append(_object(store, name))
            reached = last
    if reached != until:
        raise MisuseError(f"Only {reached} of {until} seals are in the store.", hint="Objects were removed from it.")
    return chunks


def _fetch_seals(store: SegmentStore, until: int) -> list[JSON]:
    return [orjson.loads(line) for chunk in _seal_chunks(store, until) for line in chunk.splitlines()]


def _fetch_range(store: SegmentStore, folder: AuditFolder, part: JSON, removed: bool) -> None:
    content = store.get(range_name(part)) if removed else _object(store, range_name(part))
    path = folder.lineage / part["file"]
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        if content is None:
            os.ftruncate(fd, max(os.fstat(fd).st_size, part["bytes"]))  # a hole, as where it came from
        else:
            os.pwrite(fd, content, part["start"])
    finally:
        os.close(fd)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_durably(path, content)
