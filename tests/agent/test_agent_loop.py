"""One question from beginning to end: turns, calls, limits, approvals, stopping, and what is recorded."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.agent.desk import ERASE, FIND, NOTE, OPEN, PAID, Desk
from workbench.agent import (
    Agent,
    AssistantMessage,
    ProviderError,
    SystemMessage,
    TextPart,
    ToolRequest,
    ToolResults,
    TurnEnd,
    UserMessage,
)
from workbench.config import Settings
from workbench.events import (
    AnyRunEvent,
    ApprovalWaiting,
    Caller,
    MisuseError,
    NotRecordedError,
    Outcome,
    RunDone,
    RunStarted,
    TextDelta,
    Tool,
    ToolAsked,
    ToolDone,
    TurnDone,
    Usage,
    run_event,
)
from workbench.testing import ScriptedProvider, ScriptedTurn, SingleProviderChooser

EMAIL = {"email": "john.smith@acme.com"}
JOHN = {"customer_id": "CUS-0042"}


def agent_of(provider: ScriptedProvider, desk: Desk, settings: Settings | None = None, **more: Any) -> Agent:
    settings = settings or Settings()
    return Agent(settings, desk, chooser=SingleProviderChooser(settings, provider), **more)


async def run(
    provider: ScriptedProvider,
    desk: Desk,
    caller: Caller,
    settings: Settings | None = None,
    question: str = "Who?",
    **more: Any,
) -> list[AnyRunEvent]:
    asking = {key: more.pop(key) for key in ("history", "run", "source") if key in more}
    return [event async for event in agent_of(provider, desk, settings, **more).ask(question, caller, **asking)]


def done(events: list[AnyRunEvent]) -> RunDone:
    assert isinstance(events[-1], RunDone)
    return events[-1]


def kinds(events: list[AnyRunEvent]) -> list[str]:
    return [event.outcome.kind for event in events if isinstance(event, ToolDone)]


def check_order(events: list[AnyRunEvent]) -> None:
    """The grammar of a run: started, then per turn text and calls and the turn's end, then done."""
    assert isinstance(events[0], RunStarted)
    assert [isinstance(event, RunDone) for event in events].count(True) == 1
    asked = Counter(event.step for event in events if isinstance(event, ToolAsked))
    answered = Counter(event.step for event in events if isinstance(event, ToolDone))
    assert asked == answered
    assert set(asked.values()) <= {1}
    turn = 0
    for event in events:
        if isinstance(event, TurnDone):
            assert event.turn == turn + 1
            turn = event.turn
        if isinstance(event, TextDelta):
            assert event.turn == turn + 1
    assert [run_event(event.to_dict()) for event in events] == events, "every event survives JSON"


async def test_a_run_yields_the_steps_in_their_order(caller: Caller) -> None:
    provider = ScriptedProvider(ScriptedTurn(calls=[("crm__find_customer", EMAIL)], text="Looking."), "He is past due.")
    events = await run(provider, Desk(), caller)
    names = [type(event).__name__ for event in events]
    assert names == [
        *("RunStarted", "TextDelta", "ToolAsked", "ToolDone", "TurnDone"),
        *("TextDelta", "TurnDone", "RunDone"),
    ]
    check_order(events)
    end = done(events)
    assert (end.status, end.answer, end.turns, end.calls, end.message) == ("answered", "He is past due.", 2, 1, "")
    assert provider.closed == 1


async def test_the_conversation_keeps_whole_outcomes_and_the_wire_items_of_each_turn(caller: Caller) -> None:
    first = ScriptedTurn(calls=[("crm__find_customer", EMAIL)], items=({"opaque": 1},))
    provider = ScriptedProvider(first, "Done.")
    await run(provider, Desk(), caller)
    system, user, said, results = provider.conversations[1]
    assert isinstance(system, SystemMessage)
    assert user == UserMessage(text="Who?")
    assert isinstance(said, AssistantMessage)
    assert (said.provider, said.items) == ("scripted", ({"opaque": 1},))
    assert isinstance(results, ToolResults)
    assert results.results[0].outcome.data["result"][0]["customer_id"] == "CUS-0042"
    assert (results.results[0].tool, results.results[0].arguments) == (FIND.qualified, EMAIL)
    assert "CUS-0042" in results.results[0].text


async def test_calls_carry_the_run_the_step_and_one_trace(caller: Caller) -> None:
    desk = Desk()
    provider = ScriptedProvider(
        ScriptedTurn(calls=[("crm__find_customer", EMAIL), ("crm__add_note", {**JOHN, "text": "x"})]), "Done."
    )
    events = await run(provider, desk, caller, run="run-1", source="notebook")
    started = events[0]
    assert isinstance(started, RunStarted)
    assert {call.run for call in desk.calls} == {"run-1"}
    assert {call.source for call in desk.calls} == {"notebook"}
    assert {call.trace_id for call in desk.calls} == {started.trace_id}
    assert [call.step for call in desk.calls] == ["1.1", "1.2"]
    assert len({call.id for call in desk.calls} | {call.span_id for call in desk.calls}) == 4


async def test_read_only_calls_run_at_once_up_to_the_setting(caller: Caller) -> None:
    desk = Desk()
    desk.hold = asyncio.Event()
    asked = [("tickets__list_tickets", JOHN), ("payments__list_payments", JOHN), ("crm__find_customer", EMAIL)]
    provider = ScriptedProvider(ScriptedTurn(calls=[*asked]), "Done.")
    running = asyncio.create_task(run(provider, desk, caller, Settings(parallel_calls=2)))
    async with asyncio.timeout(5):
        while desk.running < 2:
            desk.entered.clear()
            await desk.entered.wait()
        desk.hold.set()
        events = await running
    assert desk.most_at_once == 2
    assert kinds(events) == ["ok"] * 3
    results = provider.conversations[1][-1]
    assert isinstance(results, ToolResults)
    assert [result.tool for result in results.results] == [OPEN.qualified, PAID.qualified, FIND.qualified]


async def test_one_call_that_may_change_something_makes_all_wait_their_turn(caller: Caller) -> None:
    desk = Desk()
    asked = [("tickets__list_tickets", JOHN), ("crm__add_note", {**JOHN, "text": "x"}), ("crm__find_customer", EMAIL)]
    events = await run(ScriptedProvider(ScriptedTurn(calls=[*asked]), "Done."), desk, caller)
    assert desk.most_at_once == 1
    names = [type(event).__name__ for event in events[1:7]]
    assert names == ["ToolAsked", "ToolDone"] * 3


@pytest.mark.parametrize(
    ("name", "arguments", "kind", "says"),
    [
        ("crm__find_custmer", EMAIL, "not_found", "crm__find_customer"),
        ("find_customer", EMAIL, "not_found", "crm__find_customer"),
        ("", {}, "not_found", "offered"),
        ("crm__find_customer", {}, "invalid", "required"),
        ("crm__find_customer", {"email": 5}, "invalid", "at email"),
        ("crm__find_customer", {**EMAIL, "x": 1}, "invalid", "'x'"),
        ("workbench__search_tools", {"query": 7}, "invalid", "at query"),
    ],
)
async def test_what_cannot_be_called_becomes_a_result_that_can_be_mended(
    name: str, arguments: dict[str, Any], kind: str, says: str, caller: Caller
) -> None:
    desk = Desk()
    provider = ScriptedProvider(ScriptedTurn(calls=[ToolRequest(id="0", name=name, arguments=arguments)]), "I see.")
    events = await run(provider, desk, caller)
    assert kinds(events) == [kind]
    assert desk.calls == []
    results = provider.conversations[1][-1]
    assert isinstance(results, ToolResults)
    assert says in results.results[0].text
    assert not results.results[0].ok
    check_order(events)


async def test_a_qualified_name_is_taken_for_what_it_is(caller: Caller) -> None:
    desk = Desk()
    events = await run(
        ScriptedProvider(ScriptedTurn(calls=[ToolRequest(id="0", name=FIND.qualified, arguments=EMAIL)]), "Done."),
        desk,
        caller,
    )
    assert kinds(events) == ["ok"]


async def test_a_tool_that_fails_is_a_result_and_the_run_goes_on(caller: Caller) -> None:
    desk = Desk()
    failed = {"content": [{"type": "text", "text": "no such customer"}], "isError": True}
    desk.instead[FIND.qualified] = lambda call: Outcome(kind="tool_error", call=call.id, result=failed)
    desk.instead[OPEN.qualified] = lambda call: Outcome(
        kind="denied", call=call.id, message="Scope missing.", details={"missing_scopes": ["tickets:read"]}
    )
    provider = ScriptedProvider(
        ScriptedTurn(calls=[("crm__find_customer", EMAIL), ("tickets__list_tickets", JOHN)]), "Not found."
    )
    events = await run(provider, desk, caller)
    assert done(events).status == "answered"
    assert sorted(kinds(events)) == ["denied", "tool_error"]
    results = provider.conversations[1][-1]
    assert isinstance(results, ToolResults)
    assert "no such customer" in results.results[0].text
    assert "tickets:read" in results.results[1].text


async def test_a_long_result_is_cut_for_the_model_and_whole_in_the_event(caller: Caller) -> None:
    desk = Desk()
    desk.instead[FIND.qualified] = lambda call: Outcome(
        kind="ok", call=call.id, result={"content": [{"type": "text", "text": "x" * 100_000}]}
    )
    provider = ScriptedProvider(ScriptedTurn(calls=[("crm__find_customer", EMAIL)]), "Long.")
    events = await run(provider, desk, caller)
    results = provider.conversations[1][-1]
    assert isinstance(results, ToolResults)
    assert len(results.results[0].text) < 20_000
    assert "of 100000 characters" in results.results[0].text
    (whole,) = (event.outcome for event in events if isinstance(event, ToolDone))
    assert len(whole.data) == 100_000


# --- which tools are offered -------------------------------------------------


def many(count: int) -> list[Tool]:
    return [Tool(server=f"s{n % 5}", name=f"tool_{n}", description=f"does thing{n}") for n in range(count)]


async def test_up_to_forty_tools_are_all_offered(caller: Caller) -> None:
    provider = ScriptedProvider("Hello.")
    events = await run(provider, Desk(*many(35)), caller)
    assert len(provider.offered[0]) == 40
    assert isinstance(events[0], RunStarted)
    assert events[0].tools == 40


async def test_of_more_tools_the_search_offers_some_and_the_model_can_find_the_rest(caller: Caller) -> None:
    provider = ScriptedProvider(
        ScriptedTurn(calls=[("workbench__search_tools", {"query": "does thing77", "limit": 1})]),
        ScriptedTurn(calls=[("s2__tool_77", {})]),
        "Found it.",
    )
    desk = Desk(*many(100))
    events = await run(provider, desk, caller, question="Find a customer by e-mail address")
    assert provider.offered[0][0] == "workbench__search_tools"
    assert len(provider.offered[0]) == 21
    assert "crm__find_customer" in provider.offered[0]
    assert "s2__tool_77" not in provider.offered[0]
    assert provider.offered[1][:21] == provider.offered[0], "what was offered stays where it was"
    assert provider.offered[1][21:] == ["s2__tool_77"]
    assert [call.tool for call in desk.calls] == ["s2.tool_77"], "the search itself touches no server"
    assert kinds(events) == ["ok", "ok"]
    found = next(event.outcome.data for event in events if isinstance(event, ToolDone))
    assert found["tools"][0]["name"] == "s2__tool_77"


async def test_a_conversation_brings_the_tools_that_it_was_about(caller: Caller) -> None:
    provider = ScriptedProvider("They are open.")
    request = ToolRequest(id="1", name="s0__tool_90", arguments={})
    history = (
        UserMessage(text="Find a customer by e-mail address"),
        AssistantMessage(text="", requests=(request,)),
        ToolResults(results=()),
        AssistantMessage(text="John."),
    )
    await run(provider, Desk(*many(100)), caller, question="And his Tickets of a customer?", history=history)
    assert provider.offered[0][:2] == ["workbench__search_tools", "s0__tool_90"]
    assert {"crm__find_customer", "tickets__list_tickets"} <= set(provider.offered[0])


async def test_a_provider_that_searches_by_itself_is_offered_everything(caller: Caller) -> None:
    provider = ScriptedProvider("Hello.", wants_all_tools=True, is_llm=False)
    await run(provider, Desk(*many(100)), caller)
    assert len(provider.offered[0]) == 105


# --- limits ------------------------------------------------------------------


async def test_a_run_ends_after_the_most_turns(caller: Caller) -> None:
    again = [ScriptedTurn(calls=[("crm__find_customer", EMAIL)], text=f"Turn {n}.") for n in range(3)]
    events = await run(ScriptedProvider(*again), Desk(), caller, Settings(max_turns=3))
    assert (done(events).status, done(events).turns) == ("limit", 3)
    assert "max_turns" in done(events).message
    check_order(events)


async def test_a_run_ends_when_its_tokens_are_used_up(caller: Caller) -> None:
    spent = Usage(input_tokens=900, output_tokens=60)
    provider = ScriptedProvider(ScriptedTurn(calls=[("crm__find_customer", EMAIL)], usage=spent), "never said")
    events = await run(provider, Desk(), caller, Settings(token_budget=1000))
    assert done(events).status == "limit"
    assert "token_budget" in done(events).message
    assert done(events).usage == spent
    assert provider.limits == [1000]


async def test_a_provider_without_tokens_has_no_budget(caller: Caller) -> None:
    events = await run(ScriptedProvider("Hello.", is_llm=False), Desk(), caller, Settings(token_budget=1))
    assert done(events).status == "answered"


async def test_the_deadline_ends_a_turn_that_hangs(caller: Caller) -> None:
    provider = ScriptedProvider([TextPart(text="I think"), asyncio.Event()])
    events = await run(provider, Desk(), caller, Settings(run_timeout=0.05))
    assert (done(events).status, done(events).answer) == ("limit", "I think")
    assert "run_timeout" in done(events).message
    check_order(events)


async def test_the_deadline_ends_a_call_that_hangs(caller: Caller) -> None:
    desk = Desk()
    desk.hold = asyncio.Event()
    events = await run(
        ScriptedProvider(ScriptedTurn(calls=[("crm__find_customer", EMAIL)])), desk, caller, Settings(run_timeout=0.05)
    )
    assert done(events).status == "limit"
    assert desk.cancelled == 1
    assert kinds(events) == ["timeout"]
    check_order(events)


async def test_an_answer_that_is_empty_or_cut_is_not_passed_off_as_one(caller: Caller) -> None:
    empty = await run(ScriptedProvider([TurnEnd(stop="end_turn")]), Desk(), caller)
    assert done(empty).status == "failed"
    assert "end_turn" in done(empty).message
    cut = await run(ScriptedProvider(ScriptedTurn(text="It begins", truncated=True)), Desk(), caller)
    assert (done(cut).status, done(cut).answer) == ("limit", "It begins")


# --- failures ----------------------------------------------------------------


async def test_what_a_provider_could_not_do_ends_the_run_with_what_to_do(caller: Caller) -> None:
    error = ProviderError("quota", "nothing left.", hint="Look at the billing.")
    events = await run(ScriptedProvider([TextPart(text="I"), error]), Desk(), caller)
    assert (done(events).status, done(events).message) == ("failed", "nothing left. Look at the billing.")
    assert [event.stop for event in events if isinstance(event, TurnDone)] == ["quota"]
    check_order(events)


async def test_a_turn_without_an_end_was_cut_and_is_asked_for_once_more(caller: Caller) -> None:
    cut = [TextPart(text="Half"), ToolRequest(id="1", name="crm__add_note", arguments={**JOHN, "text": "x"})]
    desk = Desk()
    events = await run(ScriptedProvider(cut, "Whole."), desk, caller)
    assert (done(events).answer, done(events).turns) == ("Whole.", 2)
    assert desk.calls == []
    events = await run(ScriptedProvider(list(cut), list(cut)), desk, caller)
    assert done(events).status == "failed"
    assert desk.calls == []
    check_order(events)


async def test_a_fault_of_the_program_is_raised_and_still_recorded(caller: Caller) -> None:
    recorded: list[AnyRunEvent] = []

    async def record(event: AnyRunEvent, *_: Any) -> None:
        recorded.append(event)

    with pytest.raises(ZeroDivisionError):
        await run(ScriptedProvider([ZeroDivisionError()]), Desk(), caller, record=record)
    assert done(recorded).status == "failed"


async def test_a_call_that_raises_ends_the_run_and_its_step(caller: Caller) -> None:
    def broken(_: Any) -> Outcome:
        raise NotRecordedError("The disk is full.", hint="Free some space.")

    desk = Desk()
    desk.instead[OPEN.qualified] = broken
    provider = ScriptedProvider(ScriptedTurn(calls=[("tickets__list_tickets", JOHN), ("crm__find_customer", EMAIL)]))
    events = await run(provider, desk, caller)
    assert (done(events).status, done(events).message) == ("failed", "The disk is full. Free some space.")
    check_order(events)


async def test_nothing_is_answered_that_could_not_be_recorded(caller: Caller) -> None:
    async def record(event: AnyRunEvent, *_: Any) -> None:
        if isinstance(event, RunDone):
            raise NotRecordedError("The disk is full.")

    handed_out: list[AnyRunEvent] = []
    agent = agent_of(ScriptedProvider("Hello."), Desk(), record=record)

    async def read() -> None:
        async for event in agent.ask("Who?", caller):
            handed_out.insert(0, event)

    with pytest.raises(NotRecordedError):
        await read()
    assert isinstance(handed_out[0], TurnDone)


# --- approvals ---------------------------------------------------------------


async def test_a_call_that_needs_a_person_waits_and_is_made_once_approved(caller: Caller) -> None:
    desk = Desk()
    waited: list[tuple[str, float]] = []

    async def wait(approval: str, seconds: float) -> bool:
        waited.append((approval, seconds))
        await asyncio.sleep(0.1)  # longer than the run may take: the clock stands still meanwhile
        desk.approved = True
        return True

    provider = ScriptedProvider(ScriptedTurn(calls=[("crm__erase_customer", JOHN)]), "Erased.")
    events = await run(provider, desk, caller, Settings(run_timeout=0.09), wait_for_approval=wait)
    assert done(events).status == "answered", done(events).message
    names = [type(event).__name__ for event in events if not isinstance(event, TurnDone | TextDelta)]
    assert names == ["RunStarted", "ToolAsked", "ApprovalWaiting", "ToolDone", "RunDone"]
    assert waited[0][0] == "APR-1"
    first, second = desk.calls
    assert (first.tool, first.arguments, first.step) == (second.tool, second.arguments, second.step)
    assert first.id != second.id
    check_order(events)


async def test_a_call_that_a_person_declines_is_told_to_the_model(caller: Caller) -> None:
    async def wait(approval: str, seconds: float) -> bool:
        return False

    provider = ScriptedProvider(ScriptedTurn(calls=[("crm__erase_customer", JOHN)]), "I may not.")
    desk = Desk()
    events = await run(provider, desk, caller, wait_for_approval=wait)
    assert kinds(events) == ["denied"]
    assert len(desk.calls) == 1
    results = provider.conversations[1][-1]
    assert isinstance(results, ToolResults)
    assert "did not approve" in results.results[0].text


async def test_where_nobody_can_be_asked_the_model_is_told_that_an_approval_is_needed(caller: Caller) -> None:
    provider = ScriptedProvider(ScriptedTurn(calls=[("crm__erase_customer", JOHN)]), "It needs approval.")
    events = await run(provider, Desk(), caller)
    assert kinds(events) == ["approval_required"]
    assert not [event for event in events if isinstance(event, ApprovalWaiting)]


async def test_an_approval_is_waited_for_until_it_expires(caller: Caller) -> None:
    seen: list[float] = []

    async def wait(approval: str, seconds: float) -> bool:
        seen.append(seconds)
        return False

    desk = Desk()
    desk.instead[ERASE.qualified] = lambda call: Outcome(
        kind="approval_required", call=call.id, details={"approval": {"id": "A", "expires_us": 1}}
    )
    events = await run(
        ScriptedProvider(ScriptedTurn(calls=[("crm__erase_customer", JOHN)]), "No."),
        desk,
        caller,
        wait_for_approval=wait,
    )
    assert seen == [0.0]
    (waiting,) = (event for event in events if isinstance(event, ApprovalWaiting))
    assert (waiting.approval, waiting.expires_us) == ("A", 1)


async def test_stopping_while_a_person_is_asked_ends_the_run(caller: Caller) -> None:
    async def wait(approval: str, seconds: float) -> bool:
        await asyncio.Event().wait()
        return True

    agent = agent_of(
        ScriptedProvider(ScriptedTurn(calls=[("crm__erase_customer", JOHN)])), Desk(), wait_for_approval=wait
    )
    events = []
    async with asyncio.timeout(5):
        async for event in agent.ask("Erase him.", caller, run="r"):
            events.append(event)
            if isinstance(event, ApprovalWaiting):
                assert agent.stop("r")
    assert done(events).status == "cancelled"
    assert kinds(events) == ["cancelled"]
    check_order(events)


# --- stopping ----------------------------------------------------------------


async def test_stopping_a_run_cancels_its_calls_and_says_so(caller: Caller) -> None:
    desk = Desk()
    desk.hold = asyncio.Event()
    provider = ScriptedProvider(
        ScriptedTurn(calls=[("crm__find_customer", EMAIL), ("tickets__list_tickets", JOHN)], text="Looking.")
    )
    agent = agent_of(provider, desk)
    events = []
    async with asyncio.timeout(5):
        async for event in agent.ask("Who?", caller, run="r"):
            events.append(event)
            if isinstance(event, ToolAsked) and event.step == "1.2":
                assert agent.stop("r")
    assert (done(events).status, done(events).answer) == ("cancelled", "Looking.")
    assert kinds(events) == ["cancelled", "cancelled"]
    assert agent.stop("r") is False
    check_order(events)


async def test_closing_the_generator_stops_the_run_and_records_its_end(caller: Caller) -> None:
    recorded: list[AnyRunEvent] = []

    async def record(event: AnyRunEvent, started: RunStarted, by: Caller, source: str) -> None:
        assert (by, source) == (caller, "agent")
        recorded.append(event)

    desk = Desk()
    desk.hold = asyncio.Event()
    provider = ScriptedProvider(ScriptedTurn(calls=[("crm__find_customer", EMAIL)]))
    stream = agent_of(provider, desk, record=record).ask("Who?", caller)
    async for event in stream:
        if isinstance(event, ToolAsked):
            await desk.entered.wait()
            break
    await stream.aclose()  # type: ignore[attr-defined]
    assert done(recorded).status == "cancelled"
    assert desk.cancelled == 1
    assert provider.closed == 1
    check_order(recorded)


async def test_cancelling_the_reader_cancels_the_run(caller: Caller) -> None:
    recorded: list[AnyRunEvent] = []

    async def record(event: AnyRunEvent, *_: Any) -> None:
        recorded.append(event)

    desk = Desk()
    desk.hold = asyncio.Event()
    reader = asyncio.create_task(
        run(ScriptedProvider(ScriptedTurn(calls=[("crm__find_customer", EMAIL)])), desk, caller, record=record)
    )
    await asyncio.wait_for(desk.entered.wait(), 5)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert done(recorded).status == "cancelled"
    assert desk.cancelled == 1


async def test_a_run_can_be_stopped_once_and_only_while_it_runs(caller: Caller) -> None:
    ends: list[bool] = []

    async def record(event: AnyRunEvent, *_: Any) -> None:
        if isinstance(event, RunStarted):
            ends.extend([agent.stop("r"), agent.stop("r")])
        if isinstance(event, RunDone):
            ends.append(agent.stop("r"))

    agent = agent_of(ScriptedProvider("Never said."), Desk(), record=record)
    assert agent.stop("r") is False
    events = [event async for event in agent.ask("Who?", caller, run="r")]
    assert ends == [True, False, False]
    assert done(events).status == "cancelled"


async def test_a_reader_that_is_gone_before_the_run_begins_leaves_nothing_behind(caller: Caller) -> None:
    agent = agent_of(ScriptedProvider([asyncio.Event()]), Desk())
    reader = asyncio.ensure_future(anext(agent.ask("Who?", caller)))
    await asyncio.sleep(0)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert "running=0" in repr(agent)


async def test_closing_the_agent_ends_its_runs(caller: Caller) -> None:
    agent = agent_of(ScriptedProvider([asyncio.Event()]), Desk())
    events = []
    async with asyncio.timeout(5):
        async for event in agent.ask("Who?", caller):
            events.append(event)
            if isinstance(event, RunStarted):
                closing = asyncio.create_task(agent.close())
        await closing
    assert done(events).status == "cancelled"


# --- conversations -----------------------------------------------------------


async def test_a_history_goes_before_the_question(caller: Caller) -> None:
    provider = ScriptedProvider("Still past due.")
    earlier = (SystemMessage(text="old"), UserMessage(text="Who?"), AssistantMessage(text="John."))
    await run(provider, Desk(), caller, question="And now?", history=earlier)
    texts = [message.text for message in provider.conversations[0] if not isinstance(message, ToolResults)]
    assert texts[1:] == ["Who?", "John.", "And now?"]
    assert "old" not in texts[0]


async def test_a_history_that_ends_in_requests_is_resumed(caller: Caller) -> None:
    request = ToolRequest(id="1", name="crm__find_customer", arguments=EMAIL)
    history = (UserMessage(text="Who?"), AssistantMessage(text="Looking.", requests=(request,)))
    provider = ScriptedProvider("John.")
    events = await run(provider, Desk(), caller, question="", history=history)
    assert done(events).answer == "John."
    assert isinstance(provider.conversations[0][-1], ToolResults)
    assert [event.step for event in events if isinstance(event, ToolAsked)] == ["0.1"]


async def test_a_question_has_to_be_one(caller: Caller) -> None:
    with pytest.raises(MisuseError, match="empty"):
        await run(ScriptedProvider(), Desk(), caller, question="  ")


async def test_two_runs_cannot_share_an_id(caller: Caller) -> None:
    agent = agent_of(ScriptedProvider([asyncio.Event()]), Desk())
    first = agent.ask("Who?", caller, run="same")
    await anext(first)
    with pytest.raises(MisuseError, match="under way"):
        await anext(agent.ask("Who?", caller, run="same"))
    await first.aclose()  # type: ignore[attr-defined]
    assert "running=0" in repr(agent)


async def test_halves_of_characters_are_not_passed_on(caller: Caller) -> None:
    half = "\ud83d"
    asked = ScriptedTurn(
        calls=[("crm__find_customer", {"email": half}), ToolRequest(id="1", name=f"crm{half}")], text=f"I see {half}."
    )
    events = await run(ScriptedProvider(asked, "Done ✓ 😀."), Desk(), caller)
    assert kinds(events) == ["invalid", "not_found"]
    assert done(events).answer == "Done ✓ 😀."
    assert next(event.text for event in events if isinstance(event, TextDelta)) == "I see \ufffd."
    check_order(events)


# --- whatever a model says ---------------------------------------------------

names = st.sampled_from(["crm__find_customer", "tickets__list_tickets", "crm__add_note", "nope", "", "crm.", "__"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
arguments = st.fixed_dictionaries({}, optional={"email": values, "customer_id": values, "text": values, "x": values})
requests = st.builds(
    ToolRequest, id=st.text(max_size=3), name=names, arguments=arguments, malformed=st.sampled_from(["", "{"])
)
turns = st.lists(st.tuples(st.text(max_size=5), st.lists(requests, max_size=3), st.booleans()), min_size=1, max_size=4)


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=turns)
def test_no_model_can_break_the_run(script: list[tuple[str, list[ToolRequest], bool]], caller: Caller) -> None:
    said: list[Any] = [[TextPart(text=text), *asked, *([TurnEnd()] if ended else [])] for text, asked, ended in script]
    said.append("Done.")
    said.append("Done.")
    desk = Desk()
    events = asyncio.run(run(ScriptedProvider(*said), desk, caller))
    check_order(events)
    for call in desk.calls:
        tool = next(tool for tool in desk.listed if tool.qualified == call.tool)
        assert set(tool.input_schema["required"]) == set(call.arguments)
        assert all(isinstance(value, str) for value in call.arguments.values())
    assert NOTE.qualified not in [c.tool for c in desk.calls] or desk.notes


class Purse:
    """A budget of so many tokens, which remembers what it was asked."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.settled: list[Usage] = []

    async def reserve(self, caller: Caller, run: Usage, least: int, most: int) -> Any:
        from workbench.policy.limits.budgets import TokenReservation

        granted = min(most, self.tokens)
        if granted < least:
            return TokenReservation(0, "Your budget for today is used up.", "")
        self.tokens -= granted
        return TokenReservation(granted, "", "today")

    async def settle(self, caller: Caller, granted: Any, usage: Usage) -> None:
        self.tokens += granted.tokens - usage.input_tokens - usage.output_tokens
        self.settled.append(usage)


async def test_a_run_ends_in_order_when_the_budget_of_its_person_is_used_up(caller: Caller) -> None:
    used = Usage(input_tokens=30_000, output_tokens=60)
    purse, provider = (
        Purse(31_000),
        ScriptedProvider(ScriptedTurn(calls=[("crm__find_customer", EMAIL)], usage=used), "never said"),
    )
    events = await run(provider, Desk(), caller, budget=purse)
    assert (done(events).status, done(events).message) == ("limit", "Your budget for today is used up.")
    assert (done(events).usage, purse.settled) == (used, [used])
    assert 0 < provider.limits[0] <= 8192
    check_order(events)


async def test_a_turn_has_no_more_output_than_the_budget_has_left(caller: Caller) -> None:
    provider = ScriptedProvider("Hello.")
    await run(provider, Desk(), caller, budget=(purse := Purse(4_000)))
    assert 256 <= provider.limits[0] < 4_000
    assert purse.tokens == 4_000, "the script counts no tokens, and what was set aside came back"


async def test_a_turn_that_breaks_off_is_settled_too_and_a_planner_needs_no_budget(caller: Caller) -> None:
    purse = Purse(100_000)
    await run(ScriptedProvider([ProviderError("refused", "no", hint="")]), Desk(), caller, budget=purse)
    assert (purse.tokens, len(purse.settled)) == (100_000, 1)
    events = await run(ScriptedProvider("Hello.", is_llm=False), Desk(), caller, budget=Purse(0))
    assert done(events).status == "answered"


async def test_a_turn_whose_end_nobody_heard_counts_as_all_that_was_set_aside(caller: Caller) -> None:
    cuts = [TextPart(text="I think"), ProviderError("unreachable", "gone", hint="")]
    for turn in (cuts, [ProviderError("timeout", "late", hint="")], [TextPart(text="I"), asyncio.Event()]):
        purse = Purse(100_000)
        await run(ScriptedProvider(turn), Desk(), caller, Settings(run_timeout=0.05), budget=purse)
        assert purse.tokens < 100_000 - 256
        assert purse.settled[0].output_tokens >= 256


async def test_stopping_a_run_before_its_end_does_not_make_it_free(caller: Caller) -> None:
    purse = Purse(100_000)
    asking = agent_of(ScriptedProvider([TextPart(text="I"), asyncio.Event()]), Desk(), budget=purse).ask("Who?", caller)
    async for event in asking:
        if isinstance(event, TextDelta):
            break
    await asking.aclose()
    assert purse.tokens < 100_000 - 256
