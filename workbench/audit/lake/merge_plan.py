"""Which files of a day are written together anew: many small files make every query slower."""

from __future__ import annotations

import math
from collections.abc import Iterable

from workbench.events import JSON

MAX_ROWS = 1_000_000
"""Rows that are sorted at once when files are merged; a day of more stays several files."""

_STEP = 8
"""In a day that is not over, so many files of about the same size become one of the next size.

A row is so rewritten once for every factor of eight between the first file it is in and the whole day, and the day
never has more than a few dozen files.
"""


def due(parts: Iterable[JSON], *, over: bool) -> list[list[JSON]]:
    """The groups of parts of one day that should each become one file.

    Args:
        over: whether the day is over, so that nothing more is to be expected.
    """
    parts = list(parts)
    if over:
        return [group for group in groups(parts) if len(group) > 1]
    sizes: dict[int, list[JSON]] = {}
    for part in parts:
        sizes.setdefault(int(math.log(max(part["rows"], 1), _STEP)), []).append(part)
    return [group for of_size in sizes.values() if len(of_size) >= _STEP for group in groups(of_size) if len(group) > 1]


def groups(parts: Iterable[JSON]) -> list[list[JSON]]:
    """The parts of a day as they may be merged: the small ones together, none beyond `MAX_ROWS`."""
    found: list[list[JSON]] = []
    rows = 0
    for part in sorted(parts, key=lambda part: (part["rows"], part["path"])):
        if not found or rows + part["rows"] > MAX_ROWS:
            found.append([])
            rows = 0
        found[-1].append(part)
        rows += part["rows"]
    return found


def file_of(item: JSON) -> str:
    """Date and name: the same for a part, its summary and its index."""
    return str(item["path"]).split("/", 1)[1]
