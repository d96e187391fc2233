"""Where the tree over the seals stands, kept beside them, so that a start need not read years of them.

It is a shortcut and proves nothing. It counts only when its root is the one that the newest checkpoint signs and when
the file of the seals is, by inode, size and time of change, the one that was signed; else all seals are read again.
`verify` never looks at it.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import orjson

from workbench.audit.format.checkpoint import Checkpoint
from workbench.audit.format.folder import AuditFolder, write_all
from workbench.audit.format.merkle_tree import Frontier
from workbench.events import JSON


class TreeState(NamedTuple):
    """The tree over the seals after some signature, and the file that they are in."""

    frontier: Frontier
    records: int
    """Lines of the record that the seals state."""
    bytes: int
    """Size of the file."""
    inode: int
    changed_ns: int

    @property
    def size(self) -> int:
        """How many seals there are."""
        return self.frontier.size

    @classmethod
    def of(cls, frontier: Frontier, records: int, fd: int) -> TreeState:
        """The standing of an open file of seals whose lines `frontier` has taken in, all of them."""
        found = os.fstat(fd)
        return cls(frontier, records, found.st_size, found.st_ino, found.st_ctime_ns)

    @classmethod
    def read(cls, folder: AuditFolder) -> TreeState | None:
        """What was kept, if it is about the file that is there."""
        try:
            kept = orjson.loads(folder.frontier.read_bytes())
            frontier = Frontier.of(kept["size"], [bytes.fromhex(peak) for peak in kept["peaks"]])
            found = folder.seals.stat()
            standing = cls(frontier, int(kept["records"]), kept["bytes"], kept["inode"], kept["changed_ns"])
        except (FileNotFoundError, orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            return None
        same = (found.st_size, found.st_ino, found.st_ctime_ns) == standing[2:]
        return standing if same else None

    def is_signed_by(self, checkpoint: Checkpoint) -> bool:
        """Whether exactly this tree was signed."""
        return (self.size, self.frontier.root()) == (checkpoint.size, checkpoint.root)

    def write(self, folder: AuditFolder) -> None:
        """Keep it. Nothing depends on it after a loss of power, so it need not be durable.

        Raises:
            OSError: the disk says no.
        """
        kept: JSON = {
            "size": self.size,
            "peaks": [peak.hex() for peak in self.frontier.peaks],
            "records": self.records,
            "bytes": self.bytes,
            "inode": self.inode,
            "changed_ns": self.changed_ns,
        }
        temporary = folder.frontier.with_name("seals.frontier.tmp")
        fd = os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        try:
            write_all(fd, orjson.dumps(kept))
        finally:
            os.close(fd)
        temporary.replace(folder.frontier)
