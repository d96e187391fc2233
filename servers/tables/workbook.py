"""Spreadsheets (.xlsx, .xlsm, .xls, .xlsb, .ods) as tables: one of each sheet, its cells with the types they have."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

MAX_ROWS = 1_048_576
"""Rows that a sheet may have."""


class WorkbookError(Exception):
    """The file is not a workbook that can be read. The message is for the caller."""


def sheet_names(path: Path) -> list[str]:
    """The sheets with cells, in the order of the workbook; charts and macros are none.

    Raises:
        WorkbookError: the file is damaged, protected by a password, or something else.
    """
    return _opened(path).sheet_names  # type: ignore[no-any-return]


def write_sheet(path: Path, sheet: str, target: Path) -> bool:
    """Write the cells of a sheet as CSV in UTF-8, every value in quotes; False when it has none.

    Empty rows above, and empty columns left of the cells, are left out. Times are written in ISO 8601.

    Raises:
        WorkbookError: the sheet cannot be read.
    """
    try:
        rows: Sequence[Sequence[Any]] = _opened(path).get_sheet_by_name(sheet).to_python(nrows=MAX_ROWS)
    except Exception as e:
        raise WorkbookError(f"The sheet {sheet!r} cannot be read: {e}.") from e
    kept = [row for row in rows if any(cell != "" for cell in row)]
    if not kept:
        return False
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerows([_text(cell) for cell in row] for row in kept)
    return True


def _opened(path: Path) -> Any:
    from python_calamine import CalamineWorkbook

    try:
        return CalamineWorkbook.from_path(str(path))
    except Exception as e:
        raise WorkbookError(f"This is not a workbook that can be read: {e}.") from e


def _text(cell: Any) -> str:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1 << 53:
        return str(int(cell))
    if isinstance(cell, datetime):
        return cell.date().isoformat() if cell.time() == time() else cell.isoformat(" ")
    if isinstance(cell, (date, time)):
        return cell.isoformat()
    if isinstance(cell, timedelta):
        return str(cell.total_seconds())
    return str(cell)
