"""Where the record lives inside the state folder, and the names of its files.

```
<home>/audit/wal/<writer>-<n>.jsonl              every tenant's lines, in the order they were acknowledged
<home>/audit/lineage/tenant=<t>/<writer>.jsonl   the same bytes, one chained file per tenant and writer
<home>/audit/writers/<writer>.lock               held (flock) as long as the writer lives
<home>/audit/seals.jsonl                         one line per sealed segment and per published lake file
<home>/audit/seals.frontier                      where the tree over them stands, so that a start need not read them
<home>/audit/checkpoint                          the newest signed statement about seals.jsonl
<home>/audit/checkpoint.rotations                which keys signed before the one in checkpoint.pub
<home>/audit/lake/date=<d>/part-<g>.parquet      what was sealed, compacted by day
<home>/audit/MANIFEST.json                       which files of the lake count, and what they cover
<home>/audit.duckdb                              views only, for any DuckDB client
```
"""

from __future__ import annotations

import hashlib
import os
import re
import urllib.parse
from pathlib import Path

from workbench.events import now_us

_SEGMENT = re.compile(r"^([0-9a-f]{24})-(\d{8})\.jsonl$")
_MAX_NAME_LENGTH = 120


class AuditFolder:
    """Paths of the record under one state folder. Nothing is created before `prepare()`."""

    def __init__(self, home: Path) -> None:
        self.home = Path(home).absolute()
        self.root = self.home / "audit"
        self.wal = self.root / "wal"
        self.lineage = self.root / "lineage"
        self.writers = self.root / "writers"
        self.pending = self.root / "pending"
        self.quarantine = self.root / "quarantine"
        self.lake = self.root / "lake"
        self.rollup = self.root / "rollup"
        self.index = self.root / "index"
        self.seals = self.root / "seals.jsonl"
        self.frontier = self.root / "seals.frontier"
        self.checkpoint = self.root / "checkpoint"
        self.cosigned = self.root / "cosigned"
        self.key = self.root / "checkpoint.key"
        self.next_key = self.root / "checkpoint.key.next"
        self.public_key = self.root / "checkpoint.pub"
        self.rotations = self.root / "checkpoint.rotations"
        self.manifest = self.root / "MANIFEST.json"
        self.no_parts = self.root / "empty.parquet"
        self.no_rollups = self.root / "empty-rollup.parquet"
        self.no_lines = self.root / "empty.jsonl"
        self.views = self.home / "audit.duckdb"

    def prepare(self) -> None:
        """Make the folders, readable by their owner alone.

        Raises:
            OSError: the disk says no.
        """
        for folder in (self.root, self.wal, self.lineage, self.writers, self.lake, self.rollup, self.index):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def segment(self, writer: str, number: int) -> Path:
        """File of one segment of the write-ahead log."""
        return self.wal / f"{writer}-{number:08d}.jsonl"

    def segments(self) -> list[tuple[str, int, Path]]:
        """Every segment there is: writer, number, file; oldest first."""
        try:
            names = os.listdir(self.wal)
        except FileNotFoundError:
            return []
        found = ((_SEGMENT.match(name), name) for name in names)
        return sorted((match[1], int(match[2]), self.wal / name) for match, name in found if match)

    def lineage_of(self, tenant: str, writer: str) -> Path:
        """File with one tenant's lines of one writer."""
        return self.lineage / f"tenant={tenant_name(tenant)}" / f"{writer}.jsonl"

    def lineages(self) -> list[Path]:
        """Every lineage file there is."""
        return sorted(self.lineage.glob("tenant=*/*.jsonl"))

    def lock_of(self, writer: str) -> Path:
        """Lock file that a living writer holds."""
        return self.writers / f"{writer}.lock"


def new_writer_id() -> str:
    """24 hex digits, sortable by the millisecond of the start. Never used twice, so no sequence can fork."""
    return f"{now_us() // 1000:012x}{os.urandom(6).hex()}"


def tenant_name(tenant: str) -> str:
    """`tenant` as a path part: lower-case ASCII letters, digits, `-` and `_` stay; everything else is %-encoded.

    Upper case is encoded too, because some file systems fold case. Very long names end in a hash instead.
    """
    safe = "".join(c if c in "abcdefghijklmnopqrstuvwxyz0123456789-_" else _encode(c) for c in tenant)
    if not safe:
        return "%"
    if len(safe) > _MAX_NAME_LENGTH:
        return safe[:64] + "~" + hashlib.sha256(tenant.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return safe


def _encode(character: str) -> str:
    quoted = urllib.parse.quote(character, safe="", errors="surrogatepass")
    if quoted != character:
        return quoted
    return f"%{ord(character):02X}"


def sync_folder(folder: Path) -> None:
    """Make new names in `folder` durable (fsync of the directory)."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace_durably(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write `content` so that a reader sees the old file or the new one, never a part."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")  # two processes may start at once
    fd = os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, mode)
    try:
        write_all(fd, content)
        os.fsync(fd)
    finally:
        os.close(fd)
    temporary.replace(path)
    sync_folder(path.parent)


def write_all(fd: int, content: bytes) -> None:
    """Write every byte, or raise OSError."""
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
