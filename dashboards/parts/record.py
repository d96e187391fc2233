"""Short questions to the record, as the screens ask them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import pandas as pd

import workbench

JSON = dict[str, Any]

FAILED = "outcome not in ('ok', 'cancelled', 'approval_required', 'denied')"
"""Calls that should have gone well and did not; a denial is the platform doing its work."""

WINDOWS = {"15m": "15 minutes", "1h": "1 hour", "24h": "24 hours", "7d": "7 days", "30d": "30 days", "all": ""}
"""Time ranges and what they are in SQL; empty is everything."""


@dataclass(frozen=True)
class Filters:
    """Which calls: empty means any."""

    window: str = "24h"
    servers: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    tool: str = ""
    """Part of the qualified name."""
    run: str = ""
    until: datetime | None = None
    """Fixes the end of the window, so that rows do not move under a selection."""

    def where(self) -> str:
        """The condition as SQL, readable, with its values in it."""
        end = f"timestamp '{self.until:%Y-%m-%d %H:%M:%S.%f}'" if self.until else "now()::timestamp"
        parts = [f"ts > {end} - interval '{WINDOWS[self.window]}'"] if WINDOWS[self.window] else []
        if self.until:
            parts.append(f"ts <= {end}")
        for column, chosen in (("server", self.servers), ("outcome", self.outcomes), ("user_id", self.users)):
            if chosen:
                parts.append(f"{column} in ({', '.join(map(literal, chosen))})")
        if self.tool:
            parts.append(f"contains(lower(qualified), {literal(self.tool.lower())})")
        if self.run:
            parts.append(f"run_id = {literal(self.run)}")
        return "\n  and ".join(parts) or "true"

    def sql(self, limit: int) -> str:
        """The calls, newest first."""
        return (
            "select ts, qualified as tool, outcome, latency_us / 1000.0 as ms, user_id, source, args, error_message,\n"
            f"       run_id, request_id\nfrom tool_calls\nwhere {self.where()}\norder by ts desc\nlimit {limit}"
        )


def literal(text: str) -> str:
    """`text` as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def totals(bench: workbench.Workbench, filters: Filters) -> JSON:
    """Calls, errors, denials and latencies (in microseconds) of the calls that `filters` let through."""
    found = bench.sql(
        f"select count(*) as calls, count(*) filter ({FAILED}) as errors, "
        "count(*) filter (outcome = 'denied') as denied, quantile_cont(latency_us, 0.5) as p50, "
        f"quantile_cont(latency_us, 0.95) as p95 from tool_calls where {filters.where()}"
    )
    return {str(name): value for name, value in found.iloc[0].to_dict().items()}


def names(bench: workbench.Workbench) -> dict[str, list[str]]:
    """Every server, outcome and user that occurs in the record, most frequent first."""
    found = bench.sql(
        "select 'server' as facet, server as name, count(*) as n from tool_calls group by all union all "
        "select 'outcome', outcome, count(*) from tool_calls group by all union all "
        "select 'user', user_id, count(*) from tool_calls group by all order by n desc, name"
    )
    known = found[found["name"].notna()]
    return {facet: known.loc[known["facet"] == facet, "name"].tolist() for facet in ("server", "outcome", "user")}


def history(bench: workbench.Workbench, tool: str, limit: int = 10) -> list[JSON]:
    """The latest calls of one tool."""
    found = bench.sql(
        "select ts, outcome, latency_us, user_id, source, args, args_sha256, error_message, request_id "
        f"from tool_calls where qualified = $tool order by ts desc limit {int(limit)}",
        {"tool": tool},
    )
    return rows(found)


def call(bench: workbench.Workbench, request: str) -> JSON | None:
    """One call with everything that was recorded of it."""
    found = rows(bench.sql("select * from tool_calls where request_id = $id order by ts desc limit 1", {"id": request}))
    return found[0] if found else None


def calls_of_run(bench: workbench.Workbench, run: str) -> pd.DataFrame:
    """The calls of one run, in order."""
    return bench.sql(
        "select ts, qualified as tool, outcome, latency_us / 1000.0 as ms, args, request_id "
        "from tool_calls where run_id = $run order by ts",
        {"run": run},
    )


def rows(found: pd.DataFrame) -> list[JSON]:
    """A result as dictionaries; what is NULL in SQL is None."""
    return [
        {str(k): None if pd.api.types.is_scalar(v) and pd.isna(v) else v for k, v in row.items()}
        for row in found.to_dict("records")
    ]


def arguments(row: JSON) -> JSON:
    """The recorded arguments of a call."""
    try:
        found = json.loads(row["args"]) if row.get("args") else {}
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def whole(row: JSON) -> bool:
    """Whether the recorded arguments are those that were sent, with nothing redacted or left out."""
    try:
        canonical = orjson.dumps(arguments(row), option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return False
    return hashlib.sha256(canonical).hexdigest() == row.get("args_sha256")
