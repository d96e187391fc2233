"""What the seals state, taken in one after the other: of years of them only what is still to be compared is kept."""

from __future__ import annotations

from collections.abc import Collection
from sys import intern
from typing import Any, NamedTuple

from workbench.audit.lake.manifest import Manifest
from workbench.audit.verification.retention_claims import RemovalRules


class SealedRange(NamedTuple):
    """A part of a lineage file, as its seal states it."""

    file: str
    tenant: str
    writer: str
    start: int
    bytes: int
    """Where it ends."""
    rows: int
    seq: int
    head: str
    sha256: str
    sealed_us: int
    newest_us: int
    """No line of it is younger."""


class SealedClaims:
    """The statements of one record.

    Args:
        manifest: what of the lake counts.
        segments: names of the segments of the log that are there.
    """

    def __init__(self, manifest: Manifest, segments: Collection[str]) -> None:
        self.ranges: dict[str, list[SealedRange]] = {}
        """By file, in order."""
        self.waiting: list[dict[str, Any]] = []
        """Seals of segments that are not in the lake yet."""
        self.sealed: set[str] = set()
        """Names of the segments that are there and sealed."""
        self.segments = 0
        self.rows = 0
        self.published_rows = 0
        """Of those, in segments that are in the lake."""
        self.lake: dict[str, dict[str, Any]] = {}
        """What is stated of the files that count."""
        self.manifests: set[str] = set()
        """Digests of all manifests that were sealed."""
        self.removable = RemovalRules()
        self.problems: list[tuple[int, str]] = []
        """Number of a line, from 1, and what is wrong with it."""
        self._manifest = manifest
        self._there = frozenset(segments)
        self._counted = {item["path"] for item in (*manifest.parts, *manifest.rollups, *manifest.indexes)}

    def take(self, number: int, seal: dict[str, Any]) -> None:
        """Take in one line of the seals; `number` counts from 1."""
        try:
            if seal["type"] == "segment":
                self._take_segment(seal)
                problem = ""
            elif seal["type"] == "lake":
                self.manifests.add(seal["manifest_sha256"])
                self.lake.update((item["path"], item) for item in seal["added"] if item["path"] in self._counted)
                problem = self.removable.take_lake(seal)
            elif seal["type"] == "retention":
                problem = self.removable.take(seal, self.ranges)
            else:
                raise KeyError(seal["type"])
        except (KeyError, TypeError):
            problem = "is no seal"
        if problem:
            self.problems.append((number, problem))

    def _take_segment(self, seal: dict[str, Any]) -> None:
        writer, newest = intern(seal["writer"]), max(seal["first_us"] or 0, seal["last_us"] or 0)
        for state in seal["lineage"]:
            part = SealedRange(
                intern(state["file"]), intern(state["tenant"]), writer, state["start"], state["bytes"], state["rows"],
                state["seq"], state["head"], state["sha256"], seal["sealed_us"], newest,
            )  # fmt: skip
            self.ranges.setdefault(part.file, []).append(part)
        if seal["segment"] in self._there:
            self.sealed.add(seal["segment"])
        if seal["number"] >= self._manifest.marks.get(writer, 0):
            self.waiting.append({key: value for key, value in seal.items() if key != "lineage"})
        else:
            self.published_rows += seal["rows"]
        self.segments += 1
        self.rows += seal["rows"]
