"""The three providers against stand-ins that nobody here wrote: aimock (npm) on the wire, llmock (PyPI) in trouble."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.agent.desk import FIND, OPEN, PAID, QUESTION, Desk
from tests.agent.stand_ins import aimock, ask, llmock
from workbench.agent import Agent
from workbench.config import Settings
from workbench.events import AnyRunEvent, Caller, RunDone, TextDelta, ToolAsked, ToolDone

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(300),
    # aimock ends a turn of calls with a finish reason that Gemini does not have, and Gemini's SDK warns of it
    pytest.mark.filterwarnings("ignore:FUNCTION_CALL is not a valid FinishReason"),
]

PROVIDERS = ("openai", "anthropic", "gemini", "compatible")
EACH = pytest.mark.parametrize("provider", PROVIDERS)
ANSWER = (
    "The account is past due. TCK-7 (Renewal failed) is open. PAY-9 of 49.00 failed: card expired; PAY-8 succeeded."
)

FIXTURES = [
    {
        "match": {"userMessage": "subscription renewal failed", "turnIndex": 0},
        "response": {
            "content": "Let me look him up.",
            "toolCalls": [{"name": "crm__find_customer", "arguments": {"email": "john.smith@acme.com"}}],
        },
    },
    {
        "match": {"userMessage": "subscription renewal failed", "turnIndex": 1, "toolResultContains": "past_due"},
        "response": {
            "toolCalls": [
                {"name": "tickets__list_tickets", "arguments": {"customer_id": "CUS-0042"}},
                {"name": "payments__list_payments", "arguments": {"customer_id": "CUS-0042"}},
            ]
        },
    },
    {
        "match": {"userMessage": "subscription renewal failed", "turnIndex": 2, "toolResultContains": "card_expired"},
        "response": {
            "content": ANSWER,
            "usage": {"prompt_tokens": 900, "completion_tokens": 60, "total_tokens": 960},
        },
    },
    {"match": {"userMessage": "cut me off"}, "response": {"content": "w " * 400}, "truncateAfterChunks": 3},
    {
        "match": {"userMessage": "cut my call off"},
        "response": {
            "toolCalls": [{"name": "crm__add_note", "arguments": {"customer_id": "CUS-0042", "text": "t" * 500}}]
        },
        "truncateAfterChunks": 3,
    },
    {"match": {"userMessage": "too long"}, "response": {"error": {"message": "prompt is too long"}, "status": 400}},
]


@pytest.fixture(scope="module")
def mock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with aimock(tmp_path_factory.mktemp("aimock"), FIXTURES) as url:
        yield url


@pytest.fixture(scope="module")
def chaos() -> Iterator[str]:
    with llmock() as url:
        yield url


def at_aimock(url: str, provider: str) -> dict[str, str]:
    return {
        "openai": {"OPENAI_API_KEY": "test", "OPENAI_BASE_URL": f"{url}/v1"},
        "anthropic": {"ANTHROPIC_API_KEY": "test", "ANTHROPIC_BASE_URL": url},
        "gemini": {"GEMINI_API_KEY": "test", "GOOGLE_BASE_URL": url, "GEMINI_API_VERSION": "v1beta"},
        "compatible": {"COMPATIBLE_BASE_URL": f"{url}/v1", "COMPATIBLE_MODEL": "local-model"},
    }[provider]


def at_llmock(url: str, provider: str) -> dict[str, str]:
    return {
        "openai": {"OPENAI_API_KEY": "test", "OPENAI_BASE_URL": f"{url}/v1"},
        "anthropic": {"ANTHROPIC_API_KEY": "test", "ANTHROPIC_BASE_URL": f"{url}/anthropic"},
        "gemini": {"GEMINI_API_KEY": "test", "GOOGLE_BASE_URL": f"{url}/gemini", "GEMINI_API_VERSION": "v1beta"},
        "compatible": {"COMPATIBLE_BASE_URL": f"{url}/v1", "COMPATIBLE_MODEL": "local-model"},
    }[provider]


async def events_of(
    settings: Settings, caller: Caller, desk: Desk, env: dict[str, str], provider: str, question: str = QUESTION
) -> list[AnyRunEvent]:
    agent = Agent(settings, desk, env=env)
    return [event async for event in agent.ask(question, caller, provider=provider)]


def done(events: list[AnyRunEvent]) -> RunDone:
    assert isinstance(events[-1], RunDone)
    return events[-1]


# --- the wire ----------------------------------------------------------------


@EACH
async def test_the_question_is_answered_over_an_independent_wire(
    provider: str, mock: str, settings: Settings, caller: Caller
) -> None:
    desk = Desk()
    events = await events_of(settings, caller, desk, at_aimock(mock, provider), provider)
    assert (done(events).status, done(events).answer) == ("answered", ANSWER), done(events).message
    assert [call.tool for call in desk.calls] == [FIND.qualified, OPEN.qualified, PAID.qualified]
    assert all(event.outcome.ok for event in events if isinstance(event, ToolDone))
    assert "".join(e.text for e in events if isinstance(e, TextDelta) and e.turn == 1) == "Let me look him up."
    usage = done(events).usage
    assert usage.input_tokens >= 900, "the turns before may be counted by the stand-in itself"
    assert usage.output_tokens >= 60
    assert (usage.cost_usd > 0) is (provider != "compatible")


@pytest.mark.parametrize(
    ("provider", "question"),
    [
        *((provider, "Please cut me off") for provider in PROVIDERS),
        ("openai", "Please cut my call off"),
        ("anthropic", "Please cut my call off"),
        ("compatible", "Please cut my call off"),  # Gemini sends a call in one piece
    ],
)
async def test_a_stream_that_is_cut_is_not_an_answer(
    provider: str, question: str, mock: str, settings: Settings, caller: Caller
) -> None:
    desk = Desk()
    events = await events_of(settings, caller, desk, at_aimock(mock, provider), provider, question)
    assert done(events).status == "failed"
    assert desk.calls == []
    assert not [event for event in events if isinstance(event, ToolAsked)]


@EACH
async def test_an_overflowing_context_says_what_to_do(
    provider: str, mock: str, settings: Settings, caller: Caller
) -> None:
    events = await events_of(settings, caller, Desk(), at_aimock(mock, provider), provider, "This is too long")
    assert done(events).status == "failed"
    assert "Ask for less" in done(events).message


# --- failures, judged by the stand-in itself ---------------------------------


async def judged(
    url: str, behaviours: list[dict[str, Any]], settings: Settings, caller: Caller, provider: str, desk: Desk
) -> tuple[RunDone, Any]:
    """Ask while the stand-in misbehaves; the end of the run, and the stand-in's verdict on the client."""
    ask(f"{url}/_llmock/reset", {})
    ask(f"{url}/_llmock/scenario", {"behaviors": behaviours})
    events = await events_of(settings, caller, desk, at_llmock(url, provider), provider)
    return done(events), ask(f"{url}/_llmock/verdict")


@EACH
async def test_a_scripted_run_is_answered_by_the_second_stand_in_too(
    provider: str, chaos: str, settings: Settings, caller: Caller
) -> None:
    desk = Desk()
    script = [
        {
            "type": "reply",
            "tool_calls": [{"name": "crm__find_customer", "arguments": {"email": "john.smith@acme.com"}}],
        },
        {"type": "reply", "tool_calls": [{"name": "tickets__list_tickets", "arguments": {"customer_id": "CUS-0042"}}]},
        {
            "type": "reply",
            "tool_calls": [{"name": "payments__list_payments", "arguments": {"customer_id": "CUS-0042"}}],
        },
        {"type": "reply", "text": ANSWER},
    ]
    end, verdict = await judged(chaos, script, settings, caller, provider, desk)
    assert (end.status, end.answer) == ("answered", ANSWER), end.message
    assert [call.tool for call in desk.calls] == [FIND.qualified, OPEN.qualified, PAID.qualified]
    assert verdict["findings"] == []


@EACH
@pytest.mark.parametrize("status", [429, 500, 503])
async def test_passing_failures_are_survived_with_manners(
    provider: str, status: int, chaos: str, settings: Settings, caller: Caller
) -> None:
    fault: dict[str, Any] = {"type": "fail", "status": status, "times": 2}
    if status == 429:
        fault["retry_after"] = 1
    end, verdict = await judged(chaos, [fault, {"type": "reply", "text": "Here."}], settings, caller, provider, Desk())
    assert (end.status, end.answer) == ("answered", "Here."), end.message
    assert verdict["findings"] == []


@EACH
@pytest.mark.parametrize("kind", ["disconnect", "truncate", "malformed"])
async def test_broken_streams_are_never_believed(
    provider: str, kind: str, chaos: str, settings: Settings, caller: Caller
) -> None:
    fault = {"type": "stream_fault", "kind": kind, "after_chunks": 2}
    lost = {"type": "reply", "text": "This answer is never finished, whatever it says."}
    whole = {"type": "reply", "text": "This one is whole."}
    end, verdict = await judged(chaos, [lost, fault, whole], settings, caller, provider, Desk())
    assert (end.status, end.answer) == ("answered", "This one is whole."), end.message
    # A stand-in that had sent everything before we hung up cannot know that we did not go on; the answer above does.
    assert [found for found in verdict["findings"] if found["code"] != "malformed_chunk_ignored"] == []
    assert (verdict["attempts"], verdict["faults_injected"]) == (2, 1)


@EACH
@pytest.mark.parametrize("kind", ["malformed_arguments", "unknown_tool"])
async def test_a_broken_call_is_mended_not_crashed_on(
    provider: str, kind: str, chaos: str, settings: Settings, caller: Caller
) -> None:
    end, verdict = await judged(
        chaos,
        [{"type": "tool_fault", "kind": kind}, {"type": "reply", "text": "Mended."}],
        settings,
        caller,
        provider,
        Desk(),
    )
    assert end.status == "answered", end.message
    assert verdict["findings"] == []


@EACH
@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_what_cannot_succeed_is_not_retried(
    provider: str, status: int, chaos: str, settings: Settings, caller: Caller
) -> None:
    fault = {"type": "fail", "status": status, "times": None}
    end, verdict = await judged(chaos, [fault], settings, caller, provider, Desk())
    assert end.status == "failed"
    assert verdict["findings"] == []
    assert verdict["attempts"] == 1
