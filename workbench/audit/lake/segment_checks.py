"""What the compactor makes sure of before it relies on a file of the log, and before it removes one."""

from __future__ import annotations

import hashlib
from pathlib import Path

from workbench.audit.format.folder import AuditFolder
from workbench.audit.write.recovery import lines_of
from workbench.events import JSON, WorkbenchError


class LakeRefusedError(WorkbenchError):
    """A sealed segment is not what its seal says; it must not be published as if it were."""

    error_kind = "LakeRefused"


def check_segment(path: Path, seal: JSON) -> None:
    """Raise `LakeRefusedError` unless `path` is what `seal` says."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        found = "missing"
    if found != seal["sha256"]:
        raise LakeRefusedError(
            f"The segment {path.name} is not what its seal says.", hint="Run `workbench audit verify --deep`."
        )


def lineage_has(folder: AuditFolder, segment: Path) -> bool:
    """Whether every line of `segment` is in the lineage of its tenant."""
    lines, _ = lines_of(segment.read_bytes(), 0)
    writer = segment.name[:24]
    wanted: dict[str, set[bytes]] = {}
    for line in lines:
        wanted.setdefault(line.tenant, set()).add(line.content)
    for tenant, contents in wanted.items():
        try:
            with folder.lineage_of(tenant, writer).open("rb") as file:
                contents.difference_update(file)
        except FileNotFoundError:
            return False
        if contents:
            return False
    return True


def read_range(folder: AuditFolder, state: JSON) -> bytes:
    """The bytes of lineage that a seal's `file`, `start` and `bytes` name; fewer when the file is shorter."""
    with (folder.lineage / state["file"]).open("rb") as file:
        file.seek(state["start"])
        content: bytes = file.read(state["bytes"] - state["start"])
        return content
