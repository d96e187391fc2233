"""The SQL box: one read-only statement over everything that was recorded."""

from __future__ import annotations

import io
import time
from typing import Any

import streamlit as st

import workbench
from parts.connection import bench
from parts.formatting import count, duration, plain

MAX_ROWS = 10_000
SECONDS = 30.0
FIRST = "select server, tool, outcome, latency_us\nfrom tool_calls\norder by ts desc\nlimit 10"


def draw_box() -> None:
    """Saved questions, the statement, its result and its download."""
    saved = {q.name: q for q in bench().questions()}
    st.session_state.setdefault("sql_text", FIRST)
    name = st.selectbox(
        "Saved questions", list(saved), None, key="question_name", placeholder="Start from a saved question",
        label_visibility="collapsed", on_change=_take, args=(saved,),
        format_func=lambda n: f"{n.replace('_', ' ')}: {saved[n].description}",
    )  # fmt: skip
    with st.form("sql", enter_to_submit=False):
        text = st.text_area("SQL", key="sql_text", height=190, label_visibility="collapsed")
        parameters = _draw_parameters(saved[name].parameters) if name else {}
        with st.container(horizontal=True, vertical_alignment="center"):
            go = st.form_submit_button("Run", type="primary", icon=":material/play_arrow:", shortcut="Ctrl+Enter")
            st.caption(f"One statement, read-only, at most {MAX_ROWS:,} rows and {SECONDS:g} s. Ctrl+Enter runs it.")
    if go:
        used = {k: v for k, v in parameters.items() if f"${k}" in (text or "")}
        _run(text or "", used)
    _draw_answer()
    _draw_tables()


def _run(text: str, parameters: dict[str, Any]) -> None:
    began = time.perf_counter()
    try:
        with st.spinner("The query runs …", show_time=True):
            found = bench().sql(text, parameters or None, max_rows=MAX_ROWS, timeout=SECONDS)
    except workbench.WorkbenchError as e:
        st.session_state["sql_answer"] = e
        return
    st.session_state["sql_answer"] = (found, round((time.perf_counter() - began) * 1e6))


def _draw_answer() -> None:
    answer = st.session_state.get("sql_answer")
    if answer is None:
        st.caption("The rows appear here.")
    elif isinstance(answer, workbench.WorkbenchError):
        st.error("Nothing was changed: the box only reads.", title="The statement was not run to its end")
        st.code(str(answer), language=None, wrap_lines=True)
    else:
        _draw_rows(*answer)


def _draw_rows(found: workbench.Frame, took_us: int) -> None:
    cut = len(found) >= MAX_ROWS
    with st.container(horizontal=True, vertical_alignment="center"):
        rows = count(len(found), "row")
        st.caption(f"{'the first ' if cut else ''}{rows} · {duration(took_us)}", width="stretch")
        st.download_button(
            "CSV", lambda: found.to_csv(index=False), "query.csv", "text/csv", key="sql.csv", on_click="ignore",
            icon=":material/download:", type="tertiary",
        )  # fmt: skip
        st.download_button(
            "Parquet", lambda: _parquet(found), "query.parquet", "application/vnd.apache.parquet", key="sql.parquet",
            on_click="ignore", icon=":material/download:", type="tertiary",
        )  # fmt: skip
    if found.empty:
        st.caption("The statement is right; no row fits it.")
    else:
        st.dataframe(found, hide_index=True, key="sql.rows", alt=f"{len(found)} rows")


def _parquet(found: workbench.Frame) -> bytes:
    import pyarrow.parquet

    buffer = io.BytesIO()
    pyarrow.parquet.write_table(found.arrow(), buffer, compression="zstd")
    return buffer.getvalue()


def _draw_parameters(parameters: dict[str, Any]) -> dict[str, Any]:
    """An input for each parameter of a saved question, of the type of its default."""
    given: dict[str, Any] = {}
    with st.grid("auto", min_column_width=160, gap="small"):
        for key, value in parameters.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                given[key] = st.number_input(plain(f"${key}"), value=value, key=f"parameter.{key}")
            else:
                given[key] = st.text_input(plain(f"${key}"), str(value), key=f"parameter.{key}")
    return given


def _draw_tables() -> None:
    with st.expander("Tables and columns", type="compact", on_change="rerun", key="tables") as tables:
        if tables.open:
            found = bench().sql("select * from table_columns")
            st.dataframe(found, hide_index=True, key="sql.columns", alt="Tables of the record and their columns")


def _take(saved: dict[str, workbench.Question]) -> None:
    chosen = st.session_state.get("question_name")
    if chosen in saved:
        st.session_state["sql_text"] = saved[chosen].sql.strip()
        st.session_state.pop("sql_answer", None)
