"""What a check of the record finds: findings one by one, and the result over all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

Progress = Callable[[int, int], object]
"""Called with the bytes checked so far and the bytes to check in all; from several threads, one at a time."""


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it was recorded."""

    where: str
    """The file, relative to the audit folder."""
    message: str
    tenant: str = ""
    writer: str = ""
    seq: int | None = None
    """The first bad sequence number in the chain of `tenant` and `writer`, where one can be named."""

    def __str__(self) -> str:
        place = f"{self.where}, seq {self.seq}" if self.seq is not None else self.where
        return f"{place}: {self.message}"


@dataclass
class Verification:
    """What `verify` found."""

    deep: bool
    ok: bool = False
    """Whether everything was checked and nothing was found."""
    findings: list[Finding] = field(default_factory=list)
    seals: int = 0
    segments: int = 0
    rows: int = 0
    """Lines that the checked seals state."""
    lake_files: int = 0
    bytes: int = 0
    """Bytes that were read and compared."""
    unsealed_rows: int = 0
    """Lines of living (or killed and not yet mended) writers after their last seal; a deep check covers them."""
    signed: int = 0
    """How many seals the checkpoint signs."""
    checkpoint: str = ""
    """The signed checkpoint: keep a copy where the platform cannot rewrite it."""
    witnessed: int = 0
    """Size of the largest tree that a witness confirms; 0 without one."""
    cosigned: int = 0
    """Size of the tree under which the signature of the witness's key is; 0 when no such key is given."""
    cosigned_s: int = 0
    """When the witness signed it, in seconds since the epoch, by its clock."""
    removed_rows: int = 0
    """Lines that a rule of retention removed, as a signed statement says."""
    superseded_files: int = 0
    """Files of the lake and the log that are still there and do not count any more; they are not checked."""
    notes: list[str] = field(default_factory=list)
    """What is worth knowing and is no fault of the record."""
    cancelled: bool = False
    elapsed_s: float = 0.0

    def __str__(self) -> str:
        if not self.findings and not self.seals and not self.unsealed_rows:
            return "Nothing is recorded yet."
        what = f"{self.rows} records in {self.segments} segments, {self.lake_files} lake files, {self.seals} seals"
        if self.cancelled:
            return f"Cancelled after {self.elapsed_s:.1f} s."
        if self.ok:
            gone = f" {self.removed_rows} records were removed by retention." if self.removed_rows else ""
            more = f"{self.unsealed_rows} further records not sealed yet"
            seen = f" The witness signed {self.cosigned} seals at {when(self.cosigned_s)}." if self.cosigned else ""
            remarks = [*self.notes, *([_not_checked(self.superseded_files)] if self.superseded_files else [])]
            notes = "".join(f"\n  {remark}" for remark in remarks)
            return f"Verified in {self.elapsed_s:.1f} s: {what}; {more}.{gone}{seen}{notes}"
        return f"{len(self.findings)} findings over {what}:\n" + "\n".join(f"  {f}" for f in self.findings)


def _not_checked(number: int) -> str:
    files = "1 superseded file was" if number == 1 else f"{number} superseded files were"
    return f"{files} not checked: later ones hold the same records, and no query reads them."


def when(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
