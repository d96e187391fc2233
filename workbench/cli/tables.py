"""How rows of the record are printed: a table where it fits, else record by record; JSON and CSV lose nothing."""

from __future__ import annotations

import csv
import json
import math
import sys
from typing import TYPE_CHECKING, Any

import click

from workbench.cli.context import console, print_json
from workbench.display_text import terminal_text

if TYPE_CHECKING:
    import pyarrow as pa

MIN_COLUMN_WIDTH = 12
"""Characters that a column needs; with less for each, records are printed one under another."""


MAX_CELL_LENGTH = 300
"""Characters that are shown of one value when records are printed one under another."""


def names_of(table: pa.Table) -> list[str]:
    """Column names, each once: a second `a` becomes `a_2`, so that no column hides another."""
    seen: dict[str, int] = {}
    names = []
    for name in table.column_names:
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return names


def rows_of(table: pa.Table) -> list[list[Any]]:
    """The rows, column by position."""
    columns = [column.to_pylist() for column in table.columns]
    return [list(row) for row in zip(*columns, strict=True)] if columns else []


def print_rows(table: pa.Table) -> None:
    """For a person."""
    names, rows = names_of(table), rows_of(table)
    if names and len(names) * MIN_COLUMN_WIDTH > console().width:
        _print_records(names, rows)
    else:
        _print_table(names, rows)
    click.echo(f"{len(rows)} row{'' if len(rows) == 1 else 's'}", err=True)


def print_rows_json(table: pa.Table) -> None:
    """A list of objects; what JSON cannot hold (NaN, infinity) is null."""
    names = names_of(table)
    print_json([dict(zip(names, map(_plain, row), strict=True)) for row in rows_of(table)])


def print_rows_csv(table: pa.Table) -> None:
    """CSV (RFC 4180); lists and structs as JSON."""
    writer = csv.writer(sys.stdout)
    writer.writerow(names_of(table))
    for row in rows_of(table):
        writer.writerow([json.dumps(v, default=str) if isinstance(v, list | dict) else v for v in row])


def _print_table(names: list[str], rows: list[list[Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False)
    for name in names:
        shown.add_column(name, overflow="fold")
    for row in rows:
        shown.add_row(*[Text(_text(value)) for value in row])
    console().print(shown)


def _print_records(names: list[str], rows: list[list[Any]]) -> None:
    width = max(map(len, names))
    for number, row in enumerate(rows, 1):
        click.secho(f"— {number}", dim=True)
        for name, value in zip(names, row, strict=True):
            if value is not None:
                text = _text(value)
                more = (
                    f" … {len(text) - MAX_CELL_LENGTH:,} more characters; --json has all"
                    if len(text) > MAX_CELL_LENGTH
                    else ""
                )
                click.echo(f"{name:<{width}}  {text[:MAX_CELL_LENGTH]}{more}")


def _text(value: Any) -> str:
    return "" if value is None else terminal_text(str(value))


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return value
