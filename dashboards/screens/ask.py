"""Ask: a conversation, with every step of every answer."""

from __future__ import annotations

from typing import Any

import streamlit as st
from parts import notice
from parts.connection import bench
from parts.live import LiveRun
from parts.steps import Timeline
from parts.words import plain

state = st.session_state
state.setdefault("turns", [])  # finished ones: question, events, and the run's id
state.setdefault("live", None)


def history() -> list[dict[str, str]]:
    """What was said before, for the agent."""
    said = []
    for turn in state["turns"]:
        done = next((e for e in reversed(turn["events"]) if type(e).__name__ == "RunDone"), None)
        if done is not None and done.answer:
            said += [{"role": "user", "text": turn["question"]}, {"role": "assistant", "text": done.answer}]
    return said


def begin(question: str, provider: str) -> None:
    """Start to answer `question`."""
    st.query_params.pop("run", None)
    chosen = None if provider == "auto" else provider
    state["live"] = LiveRun(bench(), question, provider=chosen, history=history())


def finish(live: LiveRun) -> None:
    """Keep a run that is over, and put it into the address of the page."""
    state["turns"].append({"question": live.question, "events": live.events, "run": live.id, "error": live.error})
    state["live"] = None
    if live.id:
        st.query_params["run"] = live.id
    if live.fault is not None:
        raise live.fault


def start_over() -> None:
    """Forget the conversation. The record keeps it."""
    if state["live"] is not None:
        state["live"].stop()
    state["turns"], state["live"] = [], None
    st.query_params.pop("run", None)


def reopen() -> None:
    """Show the finished run that the address of the page names, when this conversation does not hold it."""
    wanted = st.query_params.get("run")
    if not wanted or state["live"] is not None or any(t["run"] == wanted for t in state["turns"]):
        return
    found = bench().recorded_run(wanted)
    if found is None:
        st.warning("It may still be under way, or belong to another record.", title=f"No finished run {plain(wanted)}")
        return
    state["turns"] = [{"question": found.started.question, "events": found.events, "run": wanted, "error": None}]


def draw_turn(turn: dict[str, Any], number: int) -> None:
    """A finished question with its answer."""
    st.chat_message("user").markdown(plain(turn["question"]))
    with st.chat_message("assistant"):
        timeline = Timeline(f"turn.{number}", live=False)
        for event in turn["events"]:
            timeline.draw(event)
        timeline.close()
        if turn["error"] is not None:
            notice.problem(turn["error"])
        if turn["run"]:
            st.page_link(
                "screens/audit.py", label="Calls of this run in the audit", icon=":material/receipt_long:",
                query_params={"run": turn["run"], "window": "all"},
            )  # fmt: skip


def follow(live: LiveRun) -> None:
    """Draw a run while it happens."""
    st.chat_message("user").markdown(plain(live.question))
    with st.chat_message("assistant"):
        timeline = Timeline("live", live=True)
        st.button(
            "Stopping …" if live.stopping else "Stop", icon=":material/stop_circle:", on_click=live.stop,
            shortcut="Escape", disabled=live.stopping, key="stop",
        )  # fmt: skip
        drawn = 0
        while not (live.finished and drawn == len(live.events)):
            for event in live.events[drawn:]:
                timeline.draw(event)
                drawn += 1
            live.wait(drawn, 0.25)
            timeline.tick()
    finish(live)
    st.rerun()


def choose_provider() -> tuple[str, bool]:
    """The provider that is chosen, and whether it can answer now."""
    known = {p.name: p for p in bench().providers()}
    first = next((p for p in known.values() if p.ready), None)
    name = st.selectbox(
        "Answered by", ["auto", *known], key="provider", bind="query-params", label_visibility="collapsed", width=230,
        format_func=lambda n: "best that is ready" if n == "auto" else f"{n} · {'' if known[n].ready else 'not '}ready",
    )  # fmt: skip
    status = first if name == "auto" else known[name]
    if status is None:
        st.caption("No provider is ready.")
        return name, False
    kind = "" if status.is_llm else " It is not a language model."
    st.caption(f"{'' if name != 'auto' else plain(status.name) + ': '}{plain(status.why)}{kind}")
    return name, status.ready


head, controls = st.columns([3, 2], vertical_alignment="top")
head.title("Ask")
with controls, st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center"):
    provider, ready = choose_provider()
    if state["turns"] or state["live"] is not None:
        st.button("New conversation", icon=":material/add_comment:", on_click=start_over, key="start_over")

with notice.shown():
    reopen()
question = st.chat_input(
    "Ask a question" if ready else "This provider is not ready: choose another",
    disabled=state["live"] is not None or not ready, key="question",
)  # fmt: skip
question = question or state.pop("pending", None)

for number, turn in enumerate(state["turns"]):
    draw_turn(turn, number)

if not state["turns"] and state["live"] is None and not question:
    notice.nothing("Ask about what your servers know", "Every tool that is called appears as a step, with its result.",
                   ":material/forum:")  # fmt: skip
    for number, example in enumerate(bench().examples()):
        if st.button(example, key=f"suggestion.{number}", width="stretch", wrap=True, disabled=not ready):
            state["pending"] = example
            st.rerun()

if question and state["live"] is None:
    begin(question, provider)
if state["live"] is not None:
    follow(state["live"])
