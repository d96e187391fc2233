"""Which files make up the record at this moment: published Parquet, and the write-ahead log that is not in it yet."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from typing import Any

import orjson

from workbench.audit.format.columns import select_lines, select_nothing, select_parquet
from workbench.audit.format.folder import AuditFolder, replace_durably
from workbench.audit.lake.rollups import select_hourly
from workbench.events import MisuseError


@dataclass
class Manifest:
    """What of the lake counts. Replaced by rename, so that a reader sees one state or the next."""

    generation: int = 0
    parts: list[dict[str, Any]] = field(default_factory=list)
    """Files of events: path (relative to the audit folder), date, rows, bytes, sha256."""
    rollups: list[dict[str, Any]] = field(default_factory=list)
    """Hourly summaries of tool calls, in the same form."""
    indexes: list[dict[str, Any]] = field(default_factory=list)
    """Where each trace, call and run is, in the same form; `ids` when it is an index of all three."""
    marks: dict[str, int] = field(default_factory=dict)
    """For each writer, the number of its first segment that is not in the lake."""
    seals: int = 0
    """How many lines of `seals.jsonl` were considered."""
    seals_bytes: int = 0
    """How many bytes they are; 0 when an earlier version did not count them."""
    published_us: int = 0
    retired: list[dict[str, Any]] = field(default_factory=list)
    """Files that count no more and may be removed after a grace time: path, since_us."""

    @classmethod
    def read(cls, folder: AuditFolder) -> Manifest:
        """The current manifest; an empty one when nothing was published yet.

        Raises:
            MisuseError: the file is damaged, or of another version.
        """
        try:
            return cls(**orjson.loads(folder.manifest.read_bytes()))
        except FileNotFoundError:
            return cls()
        except (TypeError, orjson.JSONDecodeError) as e:
            raise MisuseError(
                f"{folder.manifest} is damaged ({e}).", hint="Run `workbench audit verify`; restore it from a copy."
            ) from e

    def encoded(self) -> bytes:
        """The bytes of `MANIFEST.json`."""
        return orjson.dumps(self.__dict__, option=orjson.OPT_INDENT_2)

    def digest(self) -> str:
        """SHA-256 of those bytes; the seals state it."""
        return hashlib.sha256(self.encoded()).hexdigest()

    def publish(self, folder: AuditFolder) -> None:
        """Make this the current manifest.

        Raises:
            OSError: the disk says no.
        """
        replace_durably(folder.manifest, self.encoded(), 0o600)


class CurrentFiles:
    """The files of the record now, as SQL.

    The manifest is read first and the directory second: a segment that moves into the lake in between is then still
    taken from the log, and never from both.
    """

    def __init__(self, folder: AuditFolder) -> None:
        manifest = Manifest.read(folder)
        self.manifest = manifest
        root = str(folder.root)
        self.parts = [os.path.join(root, part["path"]) for part in manifest.parts]
        self.segments = [
            str(path) for writer, number, path in folder.segments() if number >= manifest.marks.get(writer, 0)
        ]

        pairs = list(zip(manifest.indexes, manifest.parts, strict=True))  # they are written and merged in pairs
        self.indexes = {
            os.path.join(root, index["path"]): os.path.join(root, part["path"])
            for index, part in pairs
            if index.get("ids")
        }
        """Each index of ids and the part that it is about."""
        self.unindexed = [os.path.join(root, part["path"]) for index, part in pairs if not index.get("ids")]
        """Parts of an earlier version, which knew only where traces were."""
        self.rollups = [os.path.join(root, item["path"]) for item in manifest.rollups]

    @property
    def key(self) -> tuple[int, tuple[str, ...]]:
        """Equal as long as the same files make up the record (their content may grow)."""
        return self.manifest.generation, tuple(self.segments)

    def select_hourly(self) -> str:
        """SQL for `tool_calls_hourly` over all of them."""
        return select_hourly(self.rollups, select_lines(self.segments) if self.segments else None)

    def select(self) -> str:
        """SQL for `events` over all of them."""
        # The newest come first: a query for the latest rows then skips older files by their statistics.
        selects = []
        if self.segments:
            selects.append(select_lines(self.segments))
        if self.parts:
            selects.append(select_parquet(self.parts[::-1]))
        return " UNION ALL ".join(selects) or select_nothing()
