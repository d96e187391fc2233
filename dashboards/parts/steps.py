"""A run on the screen: who answers and why, each step as it happens, the answer, and what it took."""

from __future__ import annotations

import time
from typing import Literal, assert_never

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.elements.lib.mutable_status_container import StatusContainer

from parts import approval, foreign
from parts.formatting import age, code, duration, plain
from parts.outcome_colors import outcome
from parts.result import draw_json
from workbench import AnyRunEvent, ApprovalWaiting, RunDone, RunStarted, TextDelta, ToolAsked, ToolDone, TurnDone


class Timeline:
    """Draws the events of one run in the order in which they come; the same for live runs and recorded ones.

    Args:
        key: prefix of the widget keys, unique on the page.
        live: whether more events are to come.
    """

    def __init__(self, key: str, *, live: bool) -> None:
        self._key, self._live = key, live
        self._who = st.empty()
        self._status = st.status(":shimmer[Working]" if live else "Steps", type="compact", expanded=live)
        self._approvals = st.container()
        self._answer = st.empty()
        self._footer = st.container()
        self._began = time.monotonic()
        self._steps: dict[str, StatusContainer] = {}
        self._asked: dict[str, ToolAsked] = {}
        self._waiting: dict[str, DeltaGenerator] = {}
        self._text, self._turn, self._calls = "", 0, 0
        self._over = False

    def draw(self, event: AnyRunEvent) -> None:
        """Draw one event."""
        match event:
            case RunStarted():
                self._draw_who(event)
            case TextDelta():
                self._draw_text(event)
            case ToolAsked():
                self._draw_asked(event)
            case ApprovalWaiting():
                self._waiting[event.step] = slot = self._approvals.empty()
                if self._live:
                    with slot.container():
                        approval.draw_inline(event, self._asked.get(event.step), key=f"{self._key}.{event.step}")
            case ToolDone():
                self._draw_done(event)
            case RunDone():
                self._draw_end(event)
            case TurnDone():
                pass  # what it took is told once, at the end
            case _:
                assert_never(event)

    def tick(self) -> None:
        """Show that the run still goes on."""
        if self._live and not self._over:
            label = f":shimmer[Working] · {self._so_far()} · {age(time.monotonic() - self._began)}"
            # `expanded` each time: updates that follow each other closely reach the browser as one
            self._status.update(label=label, expanded=True)

    def close(self, problem: str = "") -> None:
        """Nothing more will come, although the run did not say how it ended."""
        if not self._over:
            self._status.update(label=f"Stopped · {self._so_far()}", state="error" if problem else "complete")
            self._live = False

    def _so_far(self) -> str:
        return f"{self._calls} step{'' if self._calls == 1 else 's'}"

    def _draw_who(self, event: RunStarted) -> None:
        model = f" · {plain(event.model)}" if event.model else ""
        self._who.caption(f"**{plain(event.provider)}**{model} · {plain(event.why)}")

    def _draw_text(self, event: TextDelta) -> None:
        if event.turn != self._turn:
            self._text, self._turn = "", event.turn
        self._text += event.text
        foreign.draw(self._text + (" ▌" if self._live else ""), self._answer)

    def _draw_asked(self, event: ToolAsked) -> None:
        self._asked[event.step] = event
        self._calls += 1
        # not `with`: leaving a status marks it as complete and folds it
        label = f":shimmer[{plain(event.tool)}]" if self._live else plain(event.tool)
        step = self._steps[event.step] = self._status.status(label, type="step")
        with step.container():
            said = self._text.strip() or event.why
            if said:
                st.caption(plain(said))
            st.caption("Arguments")
            draw_json(event.arguments, key=f"{self._key}.{event.step}.args")
        if self._text:  # what was said on the way to a call is part of the step, not of the answer
            self._text = ""
            self._answer.empty()

    def _draw_done(self, event: ToolDone) -> None:
        step = self._steps.get(event.step)
        if step is None:  # a call that was never asked for in this stream
            step = self._steps[event.step] = self._status.status(plain(event.tool), type="step")
        if event.step in self._waiting:
            self._waiting[event.step].empty()
        ended = event.outcome
        label = f"{plain(event.tool)} · {duration(ended.latency_us)} · {outcome(ended.kind)}"
        step.update(label=label, state="complete" if ended.ok else "error")
        with step.container():
            if ended.message:
                st.caption(f"{outcome(ended.kind)}: {plain(ended.message)}")
            if ended.data is not None:
                st.caption("Result")
                draw_json(ended.data, key=f"{self._key}.{event.step}.result")
            elif ended.ok:
                st.caption("Ran, returned nothing.")

    def _draw_end(self, event: RunDone) -> None:
        self._over = True
        self._calls = event.calls
        label = f"{self._so_far()} in {duration(event.elapsed_us)}"
        well = event.status == "answered"
        state: Literal["complete", "error"] = "error" if event.status == "failed" else "complete"
        self._status.update(label=label if well else f"{label} · {plain(event.status)}", state=state, expanded=False)
        text = event.answer or self._text
        foreign.draw(text, self._answer) if text else self._answer.empty()
        with self._footer:
            if not well:
                titles = {"cancelled": "Stopped", "limit": "A limit was reached before there was an answer"}
                draw = st.info if event.status == "cancelled" else st.warning
                draw(plain(event.message or "Nothing more is known."), title=titles.get(event.status, "No answer"))
            st.caption(footer(event))


def footer(done: RunDone) -> str:
    """Tokens, cost, time and id of a run."""
    usage = done.usage
    if usage.input_tokens or usage.output_tokens:
        tokens = f"{usage.input_tokens:,} tokens in, {usage.output_tokens:,} out"
        cost = f"${usage.cost_usd:.4f}" if usage.cost_usd else "no cost known"
    else:
        tokens, cost = "no tokens", "no cost"
    return f"{tokens} · {cost} · {duration(done.elapsed_us)} · run {code(done.run)}"
