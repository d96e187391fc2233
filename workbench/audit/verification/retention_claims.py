"""What `verify` accepts as removed by retention: exactly what a signed statement names, as far as its rule reaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from workbench.events import now_us

if TYPE_CHECKING:
    from workbench.audit.verification.sealed_claims import SealedRange

_DAY_US = 86_400_000_000


class RemovalRules:
    """The retention statements of one record, each checked against the rule it names."""

    def __init__(self) -> None:
        self.ranges: set[tuple[str, int]] = set()
        """File and start of every range of lineage that may be gone."""
        self.lake_rows = 0
        """Rows that were left out of the lake."""

    def take(self, seal: dict[str, Any], known: Mapping[str, Sequence[SealedRange]]) -> str:
        """Take in a `retention` line; returns what is wrong with it, or nothing.

        Args:
            known: every sealed range so far, by file.
        """
        if seal["sealed_us"] > now_us():
            return "says that it was made in the future"
        if seal["days"] < 1 or seal["before_us"] > seal["sealed_us"] - seal["days"] * _DAY_US:
            return f"removes records of {seal['tenant']} that are younger than its rule of {seal['days']} days"
        by_place = {
            (entry.file, entry.start): entry for part in seal["lineage"] for entry in known.get(part["file"], [])
        }
        for part in seal["lineage"]:
            entry = by_place.get((part["file"], part["start"]))
            if entry is None or entry.bytes != part["bytes"] or entry.tenant != seal["tenant"]:
                return f"removes {part['file']} at {part['start']}, which is not a sealed range of {seal['tenant']}"
            if entry.newest_us >= seal["before_us"]:
                return f"removes {part['file']} at {part['start']}, which is younger than its rule allows"
        self.ranges.update((part["file"], part["start"]) for part in seal["lineage"])
        return ""

    def take_lake(self, seal: dict[str, Any]) -> str:
        """Take in what a `lake` line leaves out; returns what is wrong with it, or nothing."""
        for item in seal.get("dropped", []):
            ended = int(datetime.fromisoformat(item["date"]).replace(tzinfo=UTC).timestamp()) * 1_000_000 + _DAY_US
            if seal["sealed_us"] > now_us() or item["days"] < 1 or ended > seal["sealed_us"] - item["days"] * _DAY_US:
                return f"leaves out {item['date']} of {item['tenant']}, younger than its rule of {item['days']} days"
            self.lake_rows += item["rows"]
        return ""
