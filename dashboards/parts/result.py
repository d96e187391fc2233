"""How a call ended: the answer, the raw document, and the same call elsewhere."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

import workbench
from parts import snippets
from parts.formatting import duration, plain, prose, size
from parts.outcome_colors import outcome

MAX_SHOWN_LENGTH = 200_000
"""Characters of one answer that are drawn; the rest can be downloaded."""


def draw_result(result: workbench.Result, url: str, *, key: str) -> None:
    """The tabs of a `Result`; `draw_headline` comes before them.

    Args:
        result: as `Workbench.call` and `Workbench.recorded_call` give it.
        url: origin of the management API, for the curl line.
        key: prefix of the widget keys.
    """
    answer, raw, *elsewhere = st.tabs(["Result", "Raw", "Python", "CLI", "curl"])
    with answer:
        draw_data(result.data, result.outcome, key=key)
    with raw:
        draw_json(result.outcome.to_dict(), key=f"{key}.raw")
    draw_elsewhere(result, url, *elsewhere)


def draw_headline(ended: workbench.Outcome) -> None:
    """How it ended, and what to do when it did not end well."""
    st.markdown(headline(ended))
    if ended.message:
        _draw_message(ended)


def draw_elsewhere(
    result: workbench.Result, url: str, python: DeltaGenerator, terminal: DeltaGenerator, curl: DeltaGenerator
) -> None:
    """The same call in three other places, each into its container."""
    python.code(snippets.python_call(result.tool, result.arguments), language="python", wrap_lines=True)
    terminal.code(snippets.terminal_call(result.tool, result.arguments), language="bash", wrap_lines=True)
    curl.code(snippets.curl_call(url, result.tool, result.arguments), language="bash", wrap_lines=True)


def headline(ended: workbench.Outcome) -> str:
    """Outcome, time and size on one line, as Markdown."""
    parts = [f"**{outcome(ended.kind)}**", duration(ended.latency_us)]
    if ended.upstream_us:
        parts.append(f"{duration(ended.upstream_us)} of it in the server")
    if ended.result is not None:
        parts.append(size(ended.result_bytes or len(json.dumps(ended.result, ensure_ascii=False).encode())))
    if ended.redactions:
        parts.append(f"{ended.redactions} values redacted")
    return " · ".join(parts)


def draw_data(data: Any, ended: workbench.Outcome, *, key: str) -> None:
    """The answer itself: a table where it is one, else the document or the text."""
    if data is None or data in ({}, []):
        st.caption("The tool ran and returned nothing." if ended.ok else "There is no result.")
    elif isinstance(data, str):
        st.code(data[:MAX_SHOWN_LENGTH], language=None, wrap_lines=True)
    elif (found := _table(data)) is not None:
        name, rows, rest = found
        if rest:
            st.caption(" · ".join(f"{plain(k)}: {plain(str(v))}" for k, v in rest.items()))
        st.dataframe(pd.DataFrame(rows), hide_index=True, key=f"{key}.table", alt=f"{len(rows)} rows of {name}")
    else:
        draw_json(data, key=f"{key}.json")


def draw_json(data: Any, *, key: str) -> None:
    """A document to unfold; as a download when it is too long to draw."""
    text = json.dumps(data, indent=2, ensure_ascii=False, default=str)
    if len(text) <= MAX_SHOWN_LENGTH:
        st.json(data, expanded=2)
        return
    st.caption(f"The document has {len(text):,} characters; the first {MAX_SHOWN_LENGTH:,} are shown.")
    st.code(text[:MAX_SHOWN_LENGTH], language=None)
    st.download_button("Download all of it", text, "result.json", "application/json", key=key, on_click="ignore")


def _draw_message(ended: workbench.Outcome) -> None:
    path = ended.details.get("path")
    title = {
        "invalid": f"The arguments do not fit: {path or 'see below'}",
        "tool_error": "The tool says that it failed",
        "approval_required": "A person has to approve this call first",
        "denied": "Not allowed",
    }.get(ended.kind, "There is no answer")
    draw = st.warning if ended.kind in ("approval_required", "throttled", "invalid", "not_found") else st.error
    draw(prose(ended.message), title=plain(title))


def _table(data: Any) -> tuple[str, list[dict[str, Any]], dict[str, Any]] | None:
    """A list of flat rows inside an answer: its name, the rows, and the scalars beside it."""
    if isinstance(data, list):
        return ("result", data, {}) if _are_rows(data) else None
    if not isinstance(data, dict):
        return None
    lists = [k for k, v in data.items() if isinstance(v, list) and v]
    rest = {k: v for k, v in data.items() if not isinstance(v, list)}
    if len(lists) != 1 or not _are_rows(data[lists[0]]) or any(isinstance(v, dict) for v in rest.values()):
        return None
    return lists[0], data[lists[0]], {k: v for k, v in rest.items() if v is not None}


def _are_rows(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(r, dict) and not any(isinstance(v, dict | list) for v in r.values()) for r in value)
        and len({tuple(r) for r in value}) <= 3
    )
