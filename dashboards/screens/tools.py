"""Tools: find one, fill in its form, run it, and see what it answered, now and before."""

from __future__ import annotations

import json

import streamlit as st
from parts import approval, catalogue, definition, form, notice, record
from parts.connection import bench, platform_url
from parts.fields import JSON
from parts.formatting import count, duration, plain, since
from parts.outcome_colors import outcome
from parts.result import draw_headline, draw_result

import workbench

state = st.session_state
state.setdefault("drafts", {})  # per tool: the arguments that the form was filled with last
state.setdefault("generation", {})  # per tool: grows when the form has to be filled anew
state.setdefault("results", {})  # per tool: how the last call ended; None when it was stopped
state.setdefault("under_way", {})  # per tool: the call that is not over yet

AT_ONCE = 0.4  # seconds in which a call may end before anything is said of waiting


def fill(tool: str, arguments: JSON) -> None:
    """Put `arguments` into the form of `tool`."""
    state["drafts"][tool] = arguments
    state["generation"][tool] = state["generation"].get(tool, 0) + 1


def run(tool: str, arguments: JSON) -> None:
    """Call `tool`, and put the call into the address of the page. A call that takes long can be stopped."""
    state["drafts"][tool] = arguments
    state["linked"] = st.query_params["args"] = json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))
    if (before := state["under_way"].pop(tool, None)) is not None:
        before.cancel()
    call = bench().start_call(tool, arguments)
    if call.wait(AT_ONCE):
        state["results"][tool] = call.result()
    else:
        state["under_way"][tool] = call


def follow(call: workbench.PendingCall) -> None:
    """Say how long a call has been running, with a button that stops it, until it is over."""
    said = st.empty()
    st.button(
        "Stop", icon=":material/stop_circle:", on_click=call.cancel, shortcut="Escape", key=f"stop.{call.tool}",
        help="The tool is told, and the record has the call as cancelled.",
    )  # fmt: skip
    while not call.wait(0.25):
        said.markdown(f":material/progress_activity: {plain(call.tool)} is running, {call.seconds:.0f} s …")
    state["under_way"].pop(call.tool, None)
    state["results"][call.tool] = call.result()
    st.rerun()


def take_link(tool: str) -> None:
    """Fill the form from the address of the page, once for each address."""
    text = st.query_params.get("args")
    if not text or text == state.get("linked"):
        return
    state["linked"] = text
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        found = None
    if isinstance(found, dict):
        fill(tool, found)
    else:
        st.warning("The arguments in the address of this page are no JSON object; the form is empty.")


def draw_form(tool: workbench.Tool) -> None:
    """The form, or the JSON of all arguments; one button runs, one changes between the two."""
    name, arguments = tool.qualified, state["drafts"].get(tool.qualified, {})
    as_json = state.get("as_json", False)
    key = f"{name}#{state['generation'].get(name, 0)}{'j' if as_json else 'f'}"
    with st.form(f"call.{key}"):
        entry = form.draw_json(arguments, key) if as_json else form.draw_fields(tool.input_schema, arguments, key)
        with st.container(horizontal=True):
            go = st.form_submit_button(
                "Run", type="primary", icon=":material/play_arrow:", shortcut="Ctrl+Enter", key=f"run.{key}",
                disabled=bool(tool.quarantined),
            )  # fmt: skip
            switch = st.form_submit_button(
                "Edit as form" if as_json else "Edit as JSON", type="tertiary", icon=":material/data_object:",
                key=f"switch.{key}",
            )  # fmt: skip
    if tool.quarantined:
        st.warning(plain(tool.quarantined), title="This tool may not be called")
    if (go or switch) and entry.problems:
        for path, text in entry.problems:
            st.error(plain(f"{path}: {text}"), title="Nothing was sent")
    elif switch:
        state["as_json"] = not as_json
        fill(name, entry.arguments)
        st.rerun()
    elif go:
        with notice.shown():
            run(name, entry.arguments)


def draw_outcome(tool: workbench.Tool) -> None:
    """How the last call of this tool ended; a call that needs a person's yes can be decided here."""
    name = tool.qualified
    if name in state["under_way"]:
        with notice.shown():
            follow(state["under_way"][name])
    result = state["results"].get(name)
    if result is None:
        stopped = name in state["results"]
        st.caption("Stopped." if stopped else "The result appears here. Ctrl+Enter runs the form.")
        return
    with st.container(border=True):
        draw_headline(result.outcome)
        waiting = result.outcome.details.get("approval")
        if result.kind == "approval_required" and waiting:
            identity = waiting["id"] if isinstance(waiting, dict) else str(waiting)
            if st.button("Decide now", type="primary", icon=":material/front_hand:", key=f"decide.{identity}"):
                approval.ask_in_dialog(
                    identity, result.tool, result.arguments,
                    lambda yes: run(result.tool, result.arguments) if yes else state["results"].pop(result.tool, None),
                )  # fmt: skip
        draw_result(result, platform_url(), key=f"result.{result.tool}")


def draw_history(tool: workbench.Tool) -> None:
    """The latest calls of this tool, whoever made them; each can be put back into the form."""
    st.subheader("History")
    past = record.history(bench(), tool.qualified)
    if not past:
        st.caption("Nobody has called this tool yet.")
    for row in past:
        arguments, whole = record.arguments(row), record.whole(row)
        with st.container(horizontal=True, vertical_alignment="center", key=f"past-{row['request_id']}"):
            st.html(f"<small>{since(row['ts'].tz_localize('UTC'))}</small>", width=90)
            st.markdown(f"{outcome(row['outcome'])} · {duration(row['latency_us'])}", width="content")
            st.markdown(f":gray[{plain(json.dumps(arguments, ensure_ascii=False)[:160])}]", width="stretch")
            st.button(
                "Use", key=f"use.{row['request_id']}", type="tertiary", icon=":material/edit:",
                on_click=fill, args=(tool.qualified, arguments),
                help=None if whole else "Something was redacted before it was recorded: complete it before you run it.",
            )  # fmt: skip
            again = st.button(
                "Run again", key=f"again.{row['request_id']}", type="tertiary", icon=":material/replay:",
                disabled=not whole, help=None if whole else "The record does not hold the arguments as they were sent.",
            )  # fmt: skip
        if again:
            fill(tool.qualified, arguments)
            with notice.shown():
                run(tool.qualified, arguments)
            st.rerun()


def draw_reading(tool: workbench.Tool) -> None:
    """What a person should know of the definition: odd names, what is read otherwise than written, what varies."""
    for note in tool.notes:
        st.caption(f":material/info: {plain(note)}")
    if tool.repairs:
        with st.expander(f"Read otherwise than written: {count(len(tool.repairs), 'part')}", type="compact"):
            st.caption("Clients and models are shown the definition as it is read. Pinned is what the server sent.")
            st.dataframe([dict(repair) for repair in tool.repairs], hide_index=True)
    if tool.varies:
        st.caption(f"Differs from the accepted definition, as was agreed to, at {plain(', '.join(tool.varies))}.")


def draw_tool(tool: workbench.Tool) -> None:
    """One tool: what it is, its form, its result, its history."""
    st.subheader(plain(tool.qualified))
    catalogue.draw_badges(tool)
    if tool.description:
        st.markdown(plain(tool.description.strip()))
    take_link(tool.qualified)
    draw_form(tool)
    draw_outcome(tool)
    with notice.shown():
        draw_history(tool)
    draw_reading(tool)
    with st.expander("Definition", type="compact"):
        st.json(tool.definition or {"inputSchema": tool.input_schema}, expanded=False)


st.title("Tools")
listing, detail = st.columns([2, 5], gap="medium")
with listing:
    words = st.text_input(
        "Search", type="search", key="q", bind="query-params", live=True, label_visibility="collapsed",
        placeholder="Search by words or meaning", icon=":material/search:",
    )  # fmt: skip
everything = bench().tools()
found = bench().tools(words) if (words or "").strip() else everything
chosen = next((t for t in everything if t.qualified == st.query_params.get("tool")), None)
with listing:
    st.caption(f"{count(len(found), 'tool')}{' found, best first' if words else ''}")
    catalogue.draw_list(found, chosen, grouped=not words)
with detail:
    if chosen is not None:
        draw_tool(chosen)
    elif st.query_params.get("tool") and definition.draw_held(st.query_params["tool"]):
        pass  # it is there, but may not be called until somebody accepts its definition
    elif st.query_params.get("tool"):
        st.warning(
            "It may belong to a server that is not ready, or you may not call it. Choose another from the list.",
            title=f"There is no tool {plain(st.query_params['tool'])} now",
        )
    else:
        notice.nothing("Choose a tool", "Its form, its result and its history appear here.", ":material/build:")
