"""What the compactor derives from the events: hourly summaries of tool calls."""

from __future__ import annotations

from workbench.audit.format.columns import RecordColumn, quoted

BUCKET = 1.1
"""Latencies are counted in buckets whose borders grow by this factor, so that percentiles are exact to about 5 %."""

ROLLUP_COLUMNS = (
    RecordColumn("hour", "TIMESTAMP", "date_trunc('hour', ts)", "Start of the hour, UTC."),
    RecordColumn("tenant", "VARCHAR", "tenant", "Whose calls."),
    RecordColumn("server", "VARCHAR", "server", "Id of the server."),
    RecordColumn("tool", "VARCHAR", "tool", "Name of the tool as its server calls it."),
    RecordColumn("qualified", "VARCHAR", "qualified", "Name of the tool as callers see it."),
    RecordColumn("outcome", "VARCHAR", "outcome", "How the calls ended."),
    RecordColumn(
        "bucket",
        "INTEGER",
        f"CAST(ceil(ln(greatest(latency_us, 1)) / ln({BUCKET})) AS INTEGER)",
        "Number of the latency bucket.",
    ),
)
"""What one line of the hourly summary is grouped by; counts and sums follow."""

MEASURES = (
    RecordColumn("calls", "BIGINT", "CAST(sum(calls) AS BIGINT)", "How many calls."),
    RecordColumn("latency_us_sum", "BIGINT", "CAST(sum(latency_us_sum) AS BIGINT)", "Sum of their latencies, µs."),
    RecordColumn("redactions", "BIGINT", "CAST(sum(redactions) AS BIGINT)", "Sum of their redactions."),
)


_CALLS = "CAST(coalesce(sum(coalesce(TRY_CAST(data ->> '$.repeated.count' AS BIGINT), 1)), 0) AS BIGINT)"
"""One record may stand for many refusals that are alike."""

UPPER = RecordColumn(
    "latency_us", "BIGINT", f"CAST(round(pow({BUCKET}, bucket)) AS BIGINT)", "Upper border of the bucket, µs."
)


def hourly_columns() -> tuple[RecordColumn, ...]:
    """Columns of the table `tool_calls_hourly`, in order."""
    return (*ROLLUP_COLUMNS, UPPER, *MEASURES)


def select_hourly(rollups: list[str], events: str | None) -> str:
    """SQL for `tool_calls_hourly`: published summaries and the calls that are not in them yet.

    Args:
        rollups: files of the lake.
        events: SQL of the events that are not in the lake; None when there are none.
    """
    selects = []
    if rollups:
        selects.append(f"SELECT * FROM read_parquet([{', '.join(map(quoted, rollups))}], hive_partitioning=false)")
    if events is not None:
        selects.append(select_rollup(f"({events})"))
    if not selects:
        columns = (*ROLLUP_COLUMNS, *MEASURES)
        selects.append("SELECT " + ", ".join(f"CAST(NULL AS {c.type}) AS {c.name}" for c in columns) + " WHERE false")
    return show_hourly(" UNION ALL ".join(selects))


def show_hourly(rollups: str) -> str:
    """SQL that gives summaries the columns of `tool_calls_hourly`."""
    columns = ", ".join(f"{UPPER.source} AS latency_us" if c is UPPER else c.name for c in hourly_columns())
    return f"SELECT {columns} FROM ({rollups})"


def select_rollup(events: str) -> str:
    """SQL that sums up the tool calls among `events` (a table or a select in parentheses)."""
    keys = ", ".join(f'{c.source} AS "{c.name}"' for c in ROLLUP_COLUMNS)
    return (
        f"SELECT {keys}, {_CALLS} AS calls, CAST(coalesce(sum(latency_us), 0) AS BIGINT) AS latency_us_sum, "
        f"CAST(coalesce(sum(redactions), 0) AS BIGINT) AS redactions FROM {events} WHERE kind = 'call' GROUP BY ALL"
    )


def merge_rollups(rollups: str) -> str:
    """SQL that adds up summaries."""
    keys = ", ".join(f'"{c.name}"' for c in ROLLUP_COLUMNS)
    sums = ", ".join(f'{c.source} AS "{c.name}"' for c in MEASURES)
    return f"SELECT {keys}, {sums} FROM {rollups} GROUP BY ALL"
