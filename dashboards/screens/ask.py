"""Ask: a conversation, with every step of every answer."""

from __future__ import annotations

from typing import TypedDict

import streamlit as st
from parts import notice
from parts.connection import bench
from parts.formatting import plain
from parts.live import LiveRun
from parts.steps import Timeline
from streamlit.delta_generator import DeltaGenerator

import workbench


class Turn(TypedDict):
    """A finished question. A plain dictionary, because a class of this script is another one after each run of it."""

    question: str
    events: list[workbench.AnyRunEvent]
    run: str
    error: workbench.WorkbenchError | None


state = st.session_state
state.setdefault("turns", [])  # a `Turn` for each finished question
state.setdefault("live", None)


YOU, AGENT = ("user", ":material/person:"), ("assistant", ":material/hub:")


def speaker(who: tuple[str, str]) -> DeltaGenerator:
    """The place for what somebody says."""
    return st.chat_message(who[0], avatar=who[1])


def history() -> list[dict[str, str]]:
    """What was said before, for the agent."""
    said = []
    turns: list[Turn] = state["turns"]
    for turn in turns:
        done = next((e for e in reversed(turn["events"]) if isinstance(e, workbench.RunDone)), None)
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
    turns: list[Turn] = state["turns"]
    turns.append({"question": live.question, "events": live.events, "run": live.id, "error": live.error})
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
    asked = found.started.question if found.started else ""
    turn: Turn = {"question": asked, "events": found.events, "run": wanted, "error": None}
    state["turns"] = [turn]


def draw_turn(turn: Turn, number: int) -> None:
    """A finished question with its answer."""
    speaker(YOU).markdown(plain(turn["question"]))
    with speaker(AGENT):
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
    speaker(YOU).markdown(plain(live.question))
    with speaker(AGENT):
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


def choose_provider(known: dict[str, workbench.ProviderStatus]) -> str:
    """The provider that is chosen; `auto` lets the platform take the best that is ready."""
    names = ["auto", *known]
    linked = st.query_params.get("provider", "auto")
    return st.selectbox(
        "Answered by", names, names.index(linked) if linked in names else 0, key="provider_name", width=230,
        label_visibility="collapsed", on_change=_link_provider,
        format_func=lambda n: "best that is ready" if n == "auto" else f"{n} · {'' if known[n].ready else 'not '}ready",
    )  # fmt: skip


def suggest(ready: bool) -> None:
    """What an empty conversation shows: what happens here, and questions to try."""
    notice.nothing(
        "Ask about what your servers know", "Every tool that is called appears as a step, with its result.",
        ":material/forum:",
    )  # fmt: skip
    with st.container(gap="xsmall"):
        for number, example in enumerate(bench().examples()):
            if st.button(plain(example), key=f"suggestion.{number}", width="stretch", wrap=True, disabled=not ready):
                state["pending"] = example
                st.rerun()


def _link_provider() -> None:
    st.query_params["provider"] = state["provider_name"]


def say_provider(name: str, known: dict[str, workbench.ProviderStatus]) -> None:
    """Who answers, and why, or what is missing."""
    if name == "auto":
        ready = ", ".join(plain(p.name) for p in known.values() if p.ready)
        st.caption(f"Ready: {ready or 'none'}. The best of them answers, and every answer says who gave it and why.")
        return
    status = known[name]
    kind = "" if status.is_llm else " :gray-badge[not a language model]"
    model = f" · {plain(status.model)}" if status.model else ""
    st.caption(f"{plain(status.name)}{model}: {plain(status.why)}{kind}")


providers = {p.name: p for p in bench().providers()}
with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
    st.title("Ask", width="content")
    with st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center", width="content"):
        if state["turns"] or state["live"] is not None:
            st.button("New conversation", icon=":material/add_comment:", type="tertiary", on_click=start_over)
        provider = choose_provider(providers)
ready = any(p.ready for p in providers.values()) if provider == "auto" else providers[provider].ready
# every part has its place, so that nothing moves or stays behind while a run is drawn
about, reopened, conversation, under_way, suggestions = (
    st.empty(),
    st.container(),
    st.container(),
    st.empty(),
    st.empty(),
)

with reopened, notice.shown():
    reopen()
question = st.chat_input(
    "Ask a question" if ready else "This provider is not ready: choose another",
    disabled=state["live"] is not None or not ready, key="question",
)  # fmt: skip
question = question or state.pop("pending", None)
if question and state["live"] is None:
    begin(question, provider)
fresh = not state["turns"] and state["live"] is None

if fresh or not ready:
    with about.container():
        say_provider(provider, providers)  # later, each answer says who gave it
with conversation:
    for number, turn in enumerate(state["turns"]):
        draw_turn(turn, number)
if fresh:
    with suggestions.container():
        suggest(ready)
if state["live"] is not None:
    with under_way.container():
        follow(state["live"])
