"""tables: any folder of CSV, TSV, Parquet and JSON files, to be described, counted, filtered, summed up and queried."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel, Field

# `servers` is a package beside `data`, in a clone and inside the wheel alike
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from servers.labels import READ, labels
from servers.serving import arguments, serve
from servers.tables.answers import QueryFailed, decimal, names_of, run
from servers.tables.conventions import NULL_VALUES, quoted
from servers.tables.folder import Folder, Snapshot, Table
from servers.tables.statements import (
    Filters,
    Metric,
    Scalar,
    TimeUnit,
    checked,
    conditions,
    figure,
    known_column,
    time_group,
)
from servers.tables.worker import Worker
from servers.tool_server import ToolServer

FOLDER_VARIABLE = "WORKBENCH_TABLES_FOLDER"
TIMEOUT_S = 10.0

TableName = Annotated[str, Field(description="Name of a table, as list_tables gives it.", examples=["flights"])]
COUNT = [Metric(function="count", column=None)]
RowLimit = Annotated[int, Field(description="Most rows to return.", ge=1, le=1000)]


class TableSummary(BaseModel):
    table: str = Field(description="Name to use in every other tool.")
    file: str
    rows: int
    columns: list[str]
    bytes: int
    note: str = Field("", description="What to know about how it was read, e.g. that it is not UTF-8.")


class BrokenFile(BaseModel):
    file: str
    error: str


class TableList(BaseModel):
    """The tables, the files that could not be read with the reason, and what else is in the folder."""

    tables: list[TableSummary]
    broken: list[BrokenFile]
    left_out: list[BrokenFile] = Field(default_factory=list, description="Files that are no tables, and why.")


class ColumnFacts(BaseModel):
    name: str
    type: str
    nulls: int = Field(description="Rows without a value.")
    distinct: int = Field(description="Different values; an estimate within a few percent.")
    min: Any = None
    max: Any = None
    examples: list[Any] = Field(description="A few different values that occur.")


class TableDescription(BaseModel):
    table: str
    file: str
    rows: int
    note: str = Field("", description="What to know about how it was read, e.g. that it is not UTF-8.")
    columns: list[ColumnFacts]


class Rows(BaseModel):
    """Rows of a table or of a query.

    Decimals are numbers where a float64 holds all their digits, else text; integers beyond 64 bits are text too. Times
    and dates are ISO text in UTC, bytes hexadecimal text, lists and structures are JSON.
    """

    columns: list[str]
    rows: list[dict[str, Any]] = Field(description="One object for each row, keyed by column.")
    row_count: int = Field(description="How many rows are here.")
    truncated: bool = Field(False, description="Whether there were more, or values were cut.")


class Count(BaseModel):
    table: str
    count: int


class Workers:
    """The process for free-form SQL that belongs to the tables as they are now."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._worker: Worker | None = None
        self._of: Snapshot | None = None

    def at(self, snapshot: Snapshot) -> Worker:
        """The worker of a snapshot; that of an older one ends."""
        with self._lock:
            if self._worker is None or self._of is not snapshot:
                if self._worker:
                    self._worker.retire()
                views, memory_mb = list(snapshot.views), self._folder.memory_mb
                self._worker = Worker(views, memory_mb=memory_mb, threads=self._folder.threads)
                self._of = snapshot
            return self._worker


@dataclass(frozen=True)
class ServedFolder:
    """What the tools work on.

    Args:
        folder: the folder, scanned at every call.
        workers: the processes for free-form SQL over it.
        timeout_s: seconds after which a query is interrupted.
    """

    folder: Folder
    workers: Workers
    timeout_s: float


TablesContext = Context[ServedFolder, Any]

server: ToolServer[ServedFolder] = ToolServer(
    "tables",
    title="Tables",
    description="Describe, count, filter, sum up and query a folder of data files.",
    instructions="list_tables first, then describe_table. count_rows, find_rows and aggregate take structured "
    "arguments; query takes one SELECT of DuckDB.",
    version="0.1.0",
    log_level="WARNING",
)


@server.tool(title="List tables", annotations=READ, meta=labels("tables:read"))
def list_tables(context: TablesContext) -> TableList:
    """All tables of the folder with their columns and numbers of rows, and files that could not be read."""
    snapshot = context.request_context.lifespan_context.folder.snapshot()
    tables = snapshot.tables.values()
    return TableList(
        tables=[
            TableSummary(
                table=t.name,
                file=t.file,
                rows=t.rows,
                columns=[c.name for c in t.columns],
                bytes=t.bytes,
                note=t.note,
            )
            for t in tables
            if not t.error
        ],
        broken=[BrokenFile(file=t.file, error=t.error) for t in tables if t.error],
        left_out=[BrokenFile(file=each.file, error=each.reason) for each in snapshot.left_out],
    )


@server.tool(title="Describe a table", annotations=READ, meta=labels("tables:read"))
def describe_table(context: TablesContext, table: TableName) -> TableDescription:
    """A table's columns: type, missing values, least and greatest value, different values, examples."""
    served = context.request_context.lifespan_context
    snapshot, found = _find(served.folder, table)
    if found.name not in snapshot.facts:
        snapshot.facts[found.name] = _facts(snapshot, found, served.timeout_s)
    columns = snapshot.facts[found.name]
    return TableDescription(table=found.name, file=found.file, rows=found.rows, note=found.note, columns=columns)


@server.tool(title="Sample rows", annotations=READ, meta=labels("tables:read"))
def sample_rows(
    context: TablesContext,
    table: TableName,
    limit: Annotated[int, Field(description="How many rows.", ge=1, le=100)] = 10,
    random: Annotated[bool, Field(description="Rows from all over the table, the same at every call.")] = False,
) -> Rows:
    """Some rows of a table: the first ones, or a random sample."""
    served = context.request_context.lifespan_context
    snapshot, found = _find(served.folder, table)
    sample = f" using sample reservoir({int(limit)} rows) repeatable (42)" if random else f" limit {int(limit)}"
    sql = f"select * from {quoted(found.name)}{sample}"
    return _rows(snapshot, sql, most_rows=limit, timeout_s=served.timeout_s)


@server.tool(title="Count rows", annotations=READ, meta=labels("tables:read"))
def count_rows(context: TablesContext, table: TableName, filters: Filters = None) -> Count:
    """How many rows a table has, or how many of them fit the filters."""
    served = context.request_context.lifespan_context
    snapshot, found = _find(served.folder, table)
    clause, parameters = conditions(found, filters)
    sql = f"select count(*) as n from {quoted(found.name)}{clause}"
    rows = _rows(snapshot, sql, parameters, most_rows=1, timeout_s=served.timeout_s)
    return Count(table=found.name, count=rows.rows[0]["n"])


@server.tool(title="Find rows", annotations=READ, meta=labels("tables:read"))
def find_rows(
    context: TablesContext,
    table: TableName,
    filters: Filters = None,
    columns: Annotated[list[str] | None, Field(description="Only these columns; default all.")] = None,
    order_by: Annotated[str | None, Field(description="Column to sort by.")] = None,
    descending: Annotated[bool, Field(description="Greatest first; rows without a value come last.")] = False,
    limit: RowLimit = 20,
    offset: Annotated[int, Field(description="Rows to skip.", ge=0)] = 0,
) -> Rows:
    """Rows that fit the filters, sorted by a column: for instance the longest, the latest, the cheapest."""
    served = context.request_context.lifespan_context
    snapshot, found = _find(served.folder, table)
    clause, parameters = conditions(found, filters)
    chosen = names_of([known_column(found, c).name for c in columns]) if columns else "*"
    order = ""
    if order_by:
        way = "desc" if descending else "asc"
        order = f" order by {quoted(known_column(found, order_by).name)} {way} nulls last"
    sql = f"select {chosen} from {quoted(found.name)}{clause}{order} limit {int(limit) + 1} offset {int(offset)}"
    return _rows(snapshot, sql, parameters, most_rows=limit, timeout_s=served.timeout_s)


@server.tool(title="Aggregate", annotations=READ, meta=labels("tables:read"))
def aggregate(
    context: TablesContext,
    table: TableName,
    metrics: Annotated[
        list[Metric],
        Field(description="Figures to work out, e.g. avg of a column.", min_length=1, max_length=20),
    ] = COUNT,
    group_by: Annotated[list[str] | None, Field(description="A row for each value of these columns.")] = None,
    time_column: Annotated[str | None, Field(description="Column of dates or times to group by as well.")] = None,
    time_unit: Annotated[TimeUnit, Field(description="Unit that time_column is cut to.")] = "month",
    filters: Filters = None,
    order_by: Annotated[
        str | None,
        Field(description="A column of the answer, e.g. count or avg_delay; default the first figure."),
    ] = None,
    descending: Annotated[bool | None, Field(description="Greatest first; default yes, for figures.")] = None,
    limit: RowLimit = 50,
) -> Rows:
    """Counts, sums, averages, least, greatest or median by group: for instance the mean delay of each carrier."""
    served = context.request_context.lifespan_context
    snapshot, found = _find(served.folder, table)
    clause, parameters = conditions(found, filters)
    groups = [(quoted(known_column(found, g).name), known_column(found, g).name) for g in group_by or []]
    if time_column:
        groups.insert(0, (time_group(found, time_column, time_unit), time_unit.replace(" ", "_")))
    figures = [figure(found, m) for m in metrics]
    labels_ = [label for _, label in groups + figures]
    sql = f"select {', '.join(f'{e} as {quoted(n)}' for e, n in groups + figures)} from {quoted(found.name)}{clause}"
    if groups:
        sql += f" group by {', '.join(str(n + 1) for n in range(len(groups)))}"
        sql += _order(labels_, len(groups), order_by, descending, by_time=time_column is not None)
    sql += f" limit {int(limit) + 1}"
    return _rows(snapshot, sql, parameters, most_rows=limit, timeout_s=served.timeout_s)


@server.tool(title="Query with SQL", annotations=READ, meta=labels("tables:read"))
def query(
    context: TablesContext,
    sql: Annotated[str, Field(description="One SELECT in DuckDB's SQL over the tables.", max_length=20_000)],
    parameters: Annotated[
        list[Scalar | None] | dict[str, Scalar | None] | None,
        Field(description="Values for `?` as a list, or for `$name` as an object."),
    ] = None,
    limit: RowLimit = 100,
) -> Rows:
    """Run one read-only SELECT. Names with spaces go into double quotes."""
    served = context.request_context.lifespan_context
    snapshot = served.folder.snapshot()
    there = {t.name for t in snapshot.tables.values() if not t.error}
    statement = checked(snapshot.connection, sql, there)
    with _asked():
        worker = served.workers.at(snapshot)
        return Rows(**worker.run(statement, parameters or [], most_rows=limit, timeout_s=served.timeout_s))


@server.resource("tables://{table}", title="A table's description", mime_type="application/json")
def table_resource(context: TablesContext, table: str) -> str:
    """The same as describe_table, as a resource."""
    return describe_table(context, table).model_dump_json(indent=2)


def build(folder: Folder, *, timeout_s: float = TIMEOUT_S) -> ToolServer[ServedFolder]:
    """The server over one folder.

    Args:
        folder: the folder, scanned at every call.
        timeout_s: seconds after which a query is interrupted.
    """
    served = ServedFolder(folder, Workers(folder), timeout_s)
    return server.with_context(served, title=f"Tables in {folder.root.name}")


@contextmanager
def _asked() -> Iterator[None]:
    try:
        yield
    except QueryFailed as e:
        raise ToolError(str(e)) from e


def _rows(
    snapshot: Snapshot, sql: str, parameters: list[Any] | None = None, *, most_rows: int, timeout_s: float
) -> Rows:
    with _asked():
        return Rows(**run(snapshot.connection, sql, parameters or [], most_rows=most_rows, timeout_s=timeout_s))


def _find(folder: Folder, name: str) -> tuple[Snapshot, Table]:
    snapshot = folder.snapshot()
    wanted = name.strip().strip('"').casefold()
    for table in snapshot.tables.values():
        if wanted in (table.name.casefold(), table.file.casefold()):
            if table.error:
                raise ToolError(f"{table.file} could not be read. {table.error}")
            return snapshot, table
    there = ", ".join(t.name for t in snapshot.tables.values() if not t.error) or "none"
    raise ToolError(f"There is no table {name!r}. Tables: {there}.")


def _facts(snapshot: Snapshot, table: Table, timeout_s: float) -> list[ColumnFacts]:
    facts = []
    for start in range(0, len(table.columns), 40):
        part = table.columns[start : start + 40]
        wanted = []
        for column in part:
            c = quoted(column.name)
            # nested values and bytes have no order that means anything
            ordered = not column.type.endswith(("]", ")", "BLOB", "JSON", "VARIANT", "GEOMETRY")) or decimal(
                column.type
            )
            wanted.append(f"count(*) - count({c}), approx_count_distinct({c})")
            wanted.append(f"min({c}), max({c})" if ordered else "null, null")
            shown = "hex(v)" if column.type == "BLOB" else "v"
            wanted.append(
                f"(select list({shown}) from (select {c} as v from head where v is not null "
                "group by 1 order by count(*) desc, 1::varchar limit 3))"
            )
        name = quoted(table.name)
        sql = f"with head as (select * from {name} limit 1000) select {', '.join(wanted)} from {name}"
        row = _rows(snapshot, sql, most_rows=1, timeout_s=timeout_s)
        values = list(row.rows[0].values())
        for n, column in enumerate(part):
            nulls, distinct, least, most, examples = values[5 * n : 5 * n + 5]
            facts.append(
                ColumnFacts(
                    name=column.name,
                    type=column.type,
                    nulls=nulls,
                    distinct=distinct,
                    min=least,
                    max=most,
                    examples=examples if isinstance(examples, list) else [],
                )
            )
    return facts


def _order(columns: list[str], groups: int, order_by: str | None, descending: bool | None, *, by_time: bool) -> str:
    """ORDER BY of an aggregate: what was asked for, else time forwards, else the first figure downwards."""
    position = 1 if by_time else groups + 1
    if order_by:
        fits = [n for n, c in enumerate(columns, 1) if c.casefold() == order_by.casefold()]
        # the name of a column is as good as the name of its figure
        fits = fits or [n for n, c in enumerate(columns, 1) if n > groups and c.endswith(f"_{order_by}")]
        if not fits:
            raise ToolError(f"order_by is {order_by!r}; the answer has {', '.join(columns)}.")
        position = fits[0]
    down = position > groups if descending is None else descending
    rest = "".join(f", {n}" for n in range(1, groups + 1) if n != position)
    return f" order by {position} {'desc' if down else 'asc'} nulls last{rest}"


def _shown_nulls() -> str:
    return ", ".join(value or "nothing at all" for value in NULL_VALUES)


def main() -> None:
    """Serve the folder named by `--folder` or the environment."""
    parser = arguments("Serve a folder of CSV, TSV, Parquet and JSON files.")
    parser.add_argument("--folder", default=os.environ.get(FOLDER_VARIABLE), help="the folder with the files")
    parser.add_argument("--timeout", type=float, default=TIMEOUT_S, help="seconds that a query may take (default 10)")
    parser.add_argument("--memory", type=int, default=512, help="megabytes that a query may take (default 512)")
    parser.add_argument(
        "--null", action="append", help=f"a text that stands for no value; may be repeated (default: {_shown_nulls()})"
    )
    given = parser.parse_args()
    if not given.folder:
        parser.error(f"give --folder DIR, or set {FOLDER_VARIABLE}")
    try:
        folder = Folder(Path(given.folder).expanduser(), memory_mb=given.memory, null_values=given.null or NULL_VALUES)
    except NotADirectoryError as e:
        parser.error(str(e))
    threading.Thread(target=folder.snapshot, name="first load", daemon=True).start()

    def health() -> dict[str, Literal[True] | str]:
        if not folder.root.is_dir():
            raise NotADirectoryError(f"{folder.root} is gone")
        return {"folder": str(folder.root)}

    serve(build(folder, timeout_s=given.timeout), given, health=health)


if __name__ == "__main__":
    main()
