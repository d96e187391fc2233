"""The calls on record: filters, figures, a table, and one call in detail. All of it is in the address of the page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

import pandas as pd
import streamlit as st

from parts import notice, record
from parts.connection import bench, platform_url
from parts.formatting import code, count, duration, local, plain, utc, zone
from parts.result import draw_data, draw_elsewhere, draw_headline, draw_json

SHOWN = 500
"""Rows in the table; the download and the SQL box have more."""
DOWNLOADED = 100_000


def draw_explorer(until: datetime) -> None:
    """Everything, from the filters down to the chosen call."""
    with notice.shown():
        filters = draw_filters(until)
        draw_figures(filters)
        draw_table(filters, until)
    chosen = st.query_params.get("call")
    if chosen:
        with notice.shown():
            draw_call(chosen)


def draw_filters(until: datetime) -> record.Filters:
    """The filters, kept in the address of the page."""
    known = record.names(bench())
    window = st.segmented_control(
        "Time range", list(record.WINDOWS), key="window", bind="query-params", default="24h", required=True,
        label_visibility="collapsed", on_change=_refresh,
    )  # fmt: skip
    with st.grid(4, min_column_width=160, gap="small"):
        chosen = {
            facet: st.multiselect(
                label, _with_linked(facet, known[facet]), key=facet, bind="query-params", placeholder="any"
            )
            for label, facet in (("Server", "server"), ("Outcome", "outcome"), ("User", "user"))
        }  # fmt: skip
        tool = st.text_input(
            "Tool", type="search", key="named", bind="query-params", placeholder="part of its name", live=True
        )
    run = st.query_params.get("run", "")
    if run:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.badge(f"run {plain(run)}", icon=":material/forum:", color="gray")
            st.button("All runs", type="tertiary", icon=":material/close:", on_click=_forget, args=("run",))
            st.page_link("screens/ask.py", label="Open the run", query_params={"run": run})
    return record.Filters(
        window or "24h", tuple(chosen["server"]), tuple(chosen["outcome"]), tuple(chosen["user"]), tool or "", run,
        until.astimezone(UTC).replace(tzinfo=None),
    )  # fmt: skip


def draw_figures(filters: record.Filters) -> None:
    """Figures over what the filters let through; each says of which time."""
    totals = record.totals(bench(), filters)
    when = "ever" if filters.window == "all" else f"last {record.WINDOWS[filters.window]}"
    share = f"{totals['errors'] / totals['calls']:.1%} of calls" if totals["calls"] else None
    with st.grid(5, min_column_width=150, gap="small"):
        st.metric(f"Calls, {when}", f"{totals['calls']:,.0f}", border=True)
        st.metric("Errors", f"{totals['errors']:,.0f}", border=True, help=f"{share or 'No calls'}, {when}.")
        st.metric("Denied", f"{totals['denied']:,.0f}", border=True, help=f"By scopes or policy, {when}.")
        st.metric("p50", duration(totals["p50"]), border=True, help=f"Half of the calls were faster, {when}.")
        st.metric("p95", duration(totals["p95"]), border=True, help=f"95 of 100 calls were faster, {when}.")


def draw_table(filters: record.Filters, until: datetime) -> None:
    """The newest calls; a click on a row opens it below."""
    query = filters.sql(SHOWN)
    found = bench().sql(query)
    with st.container(horizontal=True, vertical_alignment="center"):
        more = f"the newest {SHOWN} " if len(found) == SHOWN else ""
        assert filters.until is not None
        st.caption(
            f"{more}{count(len(found), 'call')} up to {local(filters.until.replace(tzinfo=UTC))}", width="stretch"
        )
        st.button("Refresh", icon=":material/refresh:", type="tertiary", on_click=_refresh)
        st.button("View as SQL", icon=":material/database:", type="tertiary", on_click=_view_as_sql, args=(query,))
        st.download_button(
            "CSV", lambda: bench().sql(filters.sql(DOWNLOADED)).to_csv(index=False), "calls.csv", "text/csv",
            icon=":material/download:", type="tertiary", on_click="ignore", key="calls.csv",
            help=f"At most {DOWNLOADED:,} rows.",
        )  # fmt: skip
    if found.empty:
        notice.nothing(
            "No calls here", "Widen the time range or clear a filter. Calls of every client and every run appear here."
        )
        return
    st.session_state["call_ids"] = found["request_id"].tolist()
    st.dataframe(
        _shown(found), key="calls", on_select=_choose, selection_mode="single-row", hide_index=True,
        height=_height(len(found)), alt="Calls, newest first",
        column_config={
            "time": st.column_config.DatetimeColumn("time", format="D MMM HH:mm:ss", help=f"Your time ({zone()})."),
            "ms": st.column_config.NumberColumn("ms", format="%.1f", help="From receipt to answer."),
            "arguments": st.column_config.TextColumn("arguments", width="large"),
        },
    )  # fmt: skip
    if not st.query_params.get("call"):
        st.caption("Choose a row to see arguments, result, decision and trace.")


def draw_call(request: str) -> None:
    """One call with all that was recorded of it."""
    row, result = record.call(bench(), request), bench().recorded_call(request)
    with st.container(border=True, key="call-detail"):
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            st.subheader(plain(row["qualified"] or "unknown tool") if row else "No such call", width="content")
            st.button("Close", icon=":material/close:", type="tertiary", on_click=_forget, args=("call",))
        if row is None or result is None:
            st.caption(f"The record has no call {plain(request)}.")
            return
        time = row["ts"].tz_localize("UTC").to_pydatetime()
        st.caption(
            f"{local(time)} local · {utc(time)} · {plain(row['user_id'])} through {plain(row['source'])}"
            + (f" · MCP {plain(row['protocol'])}" if row["protocol"] else "")
        )
        draw_headline(result.outcome)
        names = ["Result", "Arguments", "Decision", "Trace", "Raw", "Python", "CLI", "curl"]
        answer, arguments, decision, trace, raw, *elsewhere = st.tabs(names)
        with answer:
            draw_data(result.data, result.outcome, key="call")
        with raw:
            draw_json(result.outcome.to_dict(), key="call.raw")
        draw_elsewhere(result, platform_url(), *elsewhere)
        with arguments:
            st.json(result.arguments, expanded=True)
            if record.whole(row):
                st.caption("As they were sent.")
            else:
                st.caption("Personal data and secrets were replaced before this was recorded.")
            st.page_link(
                "screens/tools.py", label="Open in the tool", icon=":material/build:",
                query_params={"tool": result.tool, "args": row["args"] or "{}"},
            )  # fmt: skip
        with decision:
            draw_decision(row)
        with trace:
            draw_trace(row)


def draw_decision(row: record.JSON) -> None:
    """What policy said, and why."""
    if not row["policy_decision"]:
        st.caption("Policy was not asked: the call ended before it came to that.")
        return
    colour = {"allow": "green", "deny": "red"}.get(row["policy_decision"], "orange")
    st.markdown(f":{colour}[**{plain(row['policy_decision'])}**] by rule {code(row['policy_rule'])}")
    if row["policy_reason"]:
        st.markdown(plain(row["policy_reason"]))
    missing = row["missing_scopes"]
    if missing is not None and len(missing):
        st.markdown("Missing scopes: " + ", ".join(code(scope) for scope in missing))
    st.caption(
        f"{plain(row['policy_engine'] or 'engine')} · revision {plain(str(row['policy_revision'] or '')[:12])} · "
        f"decided in {duration(row['policy_us'])}"
    )


def draw_trace(row: record.JSON) -> None:
    """Ids to follow the call elsewhere, and the other calls of its run."""
    names = ("trace_id", "span_id", "parent_span_id", "request_id", "run_id", "session_id", "event_id")
    st.code("\n".join(f"{name:<15} {row[name]}" for name in names if row[name]), language=None)
    if not row["run_id"]:
        st.caption("This call belongs to no run: somebody made it directly.")
        return
    others = record.calls_of_run(bench(), row["run_id"])
    st.markdown(f"**{count(len(others), 'call')} of this run**")
    st.dataframe(_shown(others), hide_index=True, key="run.calls", alt="Calls of the same run, in order")
    st.page_link("screens/ask.py", label="Open the run", icon=":material/forum:", query_params={"run": row["run_id"]})


def _shown(found: pd.DataFrame) -> pd.DataFrame:
    """The columns that a person reads, in the browser's time."""
    table = found.drop(columns=[c for c in ("run_id", "request_id", "error_message") if c in found])
    table.insert(0, "time", table.pop("ts").dt.tz_localize("UTC").dt.tz_convert(str(zone())))
    return table.rename(columns={"user_id": "user", "args": "arguments", "source": "through"})


def _with_linked(facet: str, known: list[str]) -> list[str]:
    """The options of a filter, and what a link asked for although the record does not know it yet."""
    return known + [v for v in st.query_params.get_all(facet) if v not in known]


def _height(rows: int) -> int | Literal["content"]:
    """High enough for every row, up to a limit that leaves room for the chosen call below."""
    most = 7 if st.query_params.get("call") else 12
    return "content" if rows <= most else 34 * (most + 1)


def _choose() -> None:
    rows = st.session_state["calls"]["selection"]["rows"]
    ids: list[str] = st.session_state.get("call_ids", [])
    if rows and rows[0] < len(ids):
        st.query_params["call"] = ids[rows[0]]
    else:
        _forget("call")


def _forget(name: str) -> None:
    st.query_params.pop(name, None)


def _refresh() -> None:
    st.session_state["audit_until"] = datetime.now(UTC)


def _view_as_sql(query: str) -> None:
    st.session_state["view"] = "SQL"
    st.session_state["sql_text"] = query
