"""The writing side of the log: segment, chains, group commit, seals. Used by the writer thread alone."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.audit.format.folder import AuditFolder, sync_folder, write_all
from workbench.audit.format.hash_chain import genesis
from workbench.audit.write.seals import SealLog
from workbench.bounded_dict import BoundedDict
from workbench.events import JSON, now_us

if TYPE_CHECKING:
    from hashlib import _Hash

_MAX_OPEN = 256
"""Lineage files held open at once."""

_LINEAGE_DELAY_S = 0.02
_LINEAGE_BYTES = 1 << 20
"""Lines wait so long, or until they are so many bytes, before they go to the lineage: one write for many batches."""

_ROUTINE_FACTOR = 90
"""Records of routine (health checks, samples of metrics), when they are alone, wait so many times longer for a seal."""


class TenantChain:
    """One tenant's lines of one writer: the next sequence number, the last hash, and the lineage file."""

    __slots__ = ("digest", "head", "path", "rows", "seq", "size", "start", "tenant")

    def __init__(self, tenant: str, path: Path, head: str) -> None:
        self.tenant = tenant
        self.path = path
        self.seq = 0
        self.head = head
        self.size = 0
        self.begin_segment()

    def begin_segment(self) -> None:
        """Count and digest from here; both are stated in the next seal."""
        self.rows = 0
        self.start = self.size
        self.digest: _Hash = hashlib.sha256()

    def state(self, folder: AuditFolder) -> JSON:
        """What the seal says about this chain."""
        return {
            "tenant": self.tenant,
            "file": str(self.path.relative_to(folder.lineage)),
            "rows": self.rows,
            "seq": self.seq,
            "head": self.head,
            "start": self.start,
            "bytes": self.size,
            "sha256": self.digest.hexdigest(),
        }


class SegmentWriter:
    """Appends batches to `wal/` and, after they are acknowledged, the same bytes to `lineage/`.

    Every method raises OSError when the disk says no. The caller must then stop for good: after a failed sync the
    kernel may have dropped the pages, so that a retry would acknowledge what is not there.

    Args:
        writer: id of this writer; its lock is held by the caller.
        durable: whether `commit` waits for the disk (fdatasync).
        segment_bytes: size at which a segment is due to be sealed.
        segment_seconds: age at which it is due.
    """

    def __init__(
        self,
        folder: AuditFolder,
        writer: str,
        seals: SealLog,
        *,
        durable: bool,
        segment_bytes: int,
        segment_seconds: float,
    ) -> None:
        self._folder = folder
        self._writer = writer
        self._seals = seals
        self._durable = durable
        self._segment_bytes = segment_bytes
        self._segment_seconds = segment_seconds
        self._chains: dict[str, TenantChain] = {}
        self._touched: dict[str, TenantChain] = {}
        self._undigested: list[bytes] = []
        self._pending: dict[str, list[bytes]] = {}
        self._pending_bytes = 0
        self._pending_since = 0.0
        self._open: BoundedDict[str, int] = BoundedDict(_MAX_OPEN, dropped=_close_durably)
        self._new_folders: set[Path] = set()
        self._number = 0
        self._begin_segment()

    def _begin_segment(self) -> None:
        self._path = self._folder.segment(self._writer, self._number)
        self._fd = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_WRONLY, 0o600)
        sync_folder(self._folder.wal)
        self._size = self._rows = self._first_us = self._last_us = 0
        self._digest = hashlib.sha256()
        self._due = math.inf

    # --- a batch --------------------------------------------------------

    def commit(self, batch: Sequence[tuple[str, bytes]]) -> dict[str, list[bytes]]:
        """Write a batch as one piece; when this returns, it may be acknowledged.

        Args:
            batch: tenant and encoded JSON object of each record.

        Returns:
            The lines of each tenant, without their newlines, for `extend_lineage`.
        """
        lines: list[bytes] = []
        by_tenant: dict[str, list[bytes]] = {}
        states: dict[str, tuple[int, str]] = {}
        digest = hashlib.sha256
        for tenant, body in batch:
            state = states.get(tenant)
            if state is None:
                chain = self._chains.get(tenant)
                state = (chain.seq, chain.head) if chain else (0, genesis(tenant, self._writer))
                by_tenant[tenant] = []
            seq, head = state
            # The next hash covers the exact bytes on disk, so no canonical form of JSON has to be agreed on.
            line = b'{"seq":%d,"prev":"%b",%b' % (seq, head.encode(), body[1:])
            states[tenant] = (seq + 1, digest(line).hexdigest())
            lines.append(line)
            by_tenant[tenant].append(line)
        lines.append(b"")
        self._append(b"\n".join(lines), len(batch))
        for tenant, (seq, head) in states.items():
            chain = self._chains.get(tenant)
            if chain is None:
                path = self._folder.lineage_of(tenant, self._writer)
                chain = self._chains[tenant] = TenantChain(tenant, path, head)
            chain.seq, chain.head = seq, head
        return by_tenant

    def _append(self, content: bytes, rows: int) -> None:
        written = 0
        try:
            written = os.write(self._fd, content)
        finally:
            if written != len(content):  # a full disk: back to the last whole line
                os.ftruncate(self._fd, self._size)
        if written != len(content):
            raise OSError(28, f"only {written} of {len(content)} bytes were taken", str(self._path))
        if self._durable:
            os.fdatasync(self._fd)
        self._last_us = now_us()
        if not self._rows:
            self._first_us = self._last_us
        self._undigested.append(content)  # hashed when nobody waits any more
        self._size += len(content)
        self._rows += rows

    def extend_lineage(self, by_tenant: dict[str, list[bytes]], *, now: bool = False) -> None:
        """Append the lines to each tenant's own file, in the page cache; the seal makes them durable.

        They were acknowledged before, and the log has them: should the process die, the lineage is filled up from it.

        Args:
            by_tenant: what `commit` returned; empty to look whether waiting lines are due.
            now: write everything that waits.
        """
        for content in self._undigested:
            self._digest.update(content)
        self._undigested.clear()
        if by_tenant and not self._pending:
            self._pending_since = time.monotonic()
        for tenant, lines in by_tenant.items():
            self._pending.setdefault(tenant, []).extend(lines)
            self._pending_bytes += sum(map(len, lines)) + len(lines)
        if not now and self._pending_bytes < _LINEAGE_BYTES and self._lineage_due() > 0.0:
            return
        for tenant, lines in self._pending.items():
            chain = self._chains[tenant]
            content = b"\n".join((*lines, b""))
            write_all(self._lineage_fd(chain), content)
            chain.digest.update(content)
            chain.size += len(content)
            chain.rows += len(lines)
            self._touched[tenant] = chain
        self._pending.clear()
        self._pending_bytes = 0

    def _lineage_due(self) -> float:
        return max(0.0, self._pending_since + _LINEAGE_DELAY_S - time.monotonic())

    def _lineage_fd(self, chain: TenantChain) -> int:
        fd = self._open.use(chain.tenant)
        if fd is not None:
            return fd
        self._open.make_room()
        if chain.size == 0:
            chain.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._new_folders.update((chain.path.parent, self._folder.lineage))
        fd = os.open(chain.path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        self._open[chain.tenant] = fd
        return fd

    # --- seals --------------------------------------------------------------

    def schedule_seal(self, *, routine: bool) -> None:
        """Something was written; if all of it is routine, its seal may wait long."""
        wait = self._segment_seconds * (_ROUTINE_FACTOR if routine else 1)
        self._due = min(self._due, time.monotonic() + wait)

    def must_seal(self) -> bool:
        """Whether the segment is large or old enough."""
        return self._rows > 0 and (self._size >= self._segment_bytes or time.monotonic() >= self._due)

    def patience(self) -> float:
        """Seconds that may pass until there is something to do even if nothing more is written."""
        if self._pending:
            return self._lineage_due()
        return max(0.0, min(self._due - time.monotonic(), 3600.0))

    def seal(self, *, last: bool = False) -> None:
        """Make the lineage durable, state the segment in `seals.jsonl`, begin the next one unless this is the last."""
        if self._rows:
            self.extend_lineage({}, now=True)
            self._sync()
            self._seals.append(
                {
                    "v": 1,
                    "type": "segment",
                    "segment": self._path.name,
                    "writer": self._writer,
                    "number": self._number,
                    "rows": self._rows,
                    "bytes": self._size,
                    "sha256": self._digest.hexdigest(),
                    "first_us": self._first_us,
                    "last_us": self._last_us,
                    "sealed_us": now_us(),
                    "lineage": [chain.state(self._folder) for chain in self._touched.values()],
                }
            )
            for chain in self._touched.values():
                chain.begin_segment()
            self._touched.clear()
        elif not last:
            return
        os.close(self._fd)
        if last:
            if not self._rows:
                self._path.unlink()
            self.release()
            return
        self._number += 1
        self._begin_segment()

    def _sync(self) -> None:
        touched = [self._open[tenant] for tenant in self._touched if tenant in self._open]
        # In parallel the file system merges the flushes: one disk round trip instead of one for every tenant.
        with ThreadPoolExecutor(max_workers=8, thread_name_prefix="audit-sync") as pool:
            list(pool.map(os.fdatasync, [self._fd, *touched]))
            list(pool.map(sync_folder, self._new_folders))
        self._new_folders.clear()

    def release(self) -> None:
        """Close the lineage files."""
        while self._open:
            os.close(self._open.popitem()[1])


def _close_durably(tenant: str, fd: int) -> None:
    os.fdatasync(fd)
    os.close(fd)
