"""The provider that plays a script refuses whatever the script did not foresee."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from workbench.agent import (
    Message,
    Part,
    Provider,
    ProviderError,
    TextPart,
    ToolRequest,
    ToolSpec,
    TurnEnd,
    UserMessage,
)
from workbench.events import RunDone, Tool, Usage
from workbench.testing import GatewayHarness, ScriptedProvider, ScriptedTurn, ScriptError

QUESTION = (UserMessage(text="How many tickets are open?"),)
TICKETS = ToolSpec(name="desk__list_tickets", tool=Tool(server="desk", name="list_tickets"))


def turn(provider: Provider, conversation: tuple[Message, ...] = QUESTION) -> AsyncIterator[Part]:
    return provider.turn(conversation, (TICKETS,), max_output_tokens=99, timeout=1.0)


async def parts(provider: Provider, conversation: tuple[Message, ...] = QUESTION) -> list[Part]:
    return [part async for part in turn(provider, conversation)]


def list_tickets() -> int:
    """Count the tickets that are open."""
    return 7


async def test_it_plays_one_turn_after_the_other() -> None:
    spent = Usage(input_tokens=3)
    provider = ScriptedProvider(
        ScriptedTurn(text="Looking.", calls=[("desk.list_tickets", {"page": 1}), ("desk__list_tickets", {})]),
        ScriptedTurn(text="Seven", usage=spent, truncated=True, stop="length", items=({"opaque": 1},)),
        "Seven.",
    )
    assert await parts(provider) == [
        TextPart(text="Looking."),
        ToolRequest(id="0", name="desk__list_tickets", arguments={"page": 1}),
        ToolRequest(id="1", name="desk__list_tickets", arguments={}),
        TurnEnd(stop="calls"),
    ]
    end = TurnEnd(usage=spent, truncated=True, stop="length", items=({"opaque": 1},))
    assert await parts(provider) == [TextPart(text="Seven"), end]
    assert await parts(provider) == [TextPart(text="Seven."), TurnEnd(stop="answered")]
    assert provider.conversations == [QUESTION] * 3
    assert provider.offered == [["desk__list_tickets"]] * 3
    assert provider.limits == [99] * 3
    assert provider.remaining == 0
    provider.assert_finished()


async def test_it_refuses_a_turn_that_is_not_in_the_script() -> None:
    provider = ScriptedProvider("Seven.")
    await parts(provider)
    with pytest.raises(ScriptError, match=r"has 1 turn\(s\), and turn 2 was asked for(.|\n)*How many tickets"):
        await parts(provider)
    with pytest.raises(ScriptError, match="turn 2"):
        provider.assert_finished()


@pytest.mark.parametrize(
    "expect",
    ["tickets are closed", re.compile("clo.ed"), lambda conversation: len(conversation) == 2],
    ids=["text", "pattern", "function"],
)
async def test_it_refuses_a_message_that_the_script_does_not_expect(expect: Any) -> None:
    provider = ScriptedProvider(ScriptedTurn(expect=expect, text="Seven."))
    with pytest.raises(ScriptError, match=r"Turn 1 of the script: expected(.|\n)*user: How many tickets are open\?"):
        await parts(provider)


@pytest.mark.parametrize(
    "expect",
    ["tickets are open", re.compile("op.n"), lambda conversation: len(conversation) == 1, lambda conversation: None],
    ids=["text", "pattern", "function", "function of assertions"],
)
async def test_it_answers_a_message_that_the_script_expects(expect: Any) -> None:
    assert len(await parts(ScriptedProvider(ScriptedTurn(expect=expect, text="Seven.")))) == 2


async def test_it_refuses_to_call_a_tool_that_is_not_offered() -> None:
    provider = ScriptedProvider(ScriptedTurn(calls=[("desk.close_ticket", {})]))
    with pytest.raises(ScriptError, match=r"'desk\.close_ticket', which is not offered\. Offered: desk__list"):
        await parts(provider)


async def test_a_request_that_is_written_out_is_sent_as_it_is() -> None:
    request = ToolRequest(id="x", name="no such tool", malformed="{")
    assert (await parts(ScriptedProvider(ScriptedTurn(calls=[request]))))[0] == request


async def test_errors_are_raised_where_the_script_has_them() -> None:
    provider = ScriptedProvider(
        ProviderError("quota", "Nothing left."), ScriptedTurn(text="I", error=ZeroDivisionError()), [TextPart(text="I")]
    )
    with pytest.raises(ProviderError, match="Nothing left"):
        await parts(provider)
    streamed = turn(provider)
    assert await anext(streamed) == TextPart(text="I")
    with pytest.raises(ZeroDivisionError):
        await anext(streamed)
    assert await parts(provider) == [TextPart(text="I")], "a turn that is written out may lack its end"


async def test_an_event_in_a_turn_is_waited_for() -> None:
    event = asyncio.Event()
    streamed = turn(ScriptedProvider([TextPart(text="I"), event, TextPart(text="see")]))
    assert await anext(streamed) == TextPart(text="I")
    following = asyncio.ensure_future(anext(streamed))
    await asyncio.sleep(0)
    assert not following.done()
    event.set()
    assert await following == TextPart(text="see")


async def test_turns_that_were_not_played_are_refused_in_the_end_unless_they_may_be_left() -> None:
    with pytest.raises(ScriptError, match=r"2 of 2 turn\(s\)"):
        ScriptedProvider("one", "two").assert_finished()
    ScriptedProvider("one", "two", require_all=False).assert_finished()


# --- in a run of the agent ----------------------------------------------------------------------------------------


async def test_a_question_is_answered_through_real_calls() -> None:
    provider = ScriptedProvider(
        ScriptedTurn(expect="How many", calls=[("desk.list_tickets", {})]), ScriptedTurn(expect="7", text="Seven.")
    )
    async with GatewayHarness({"desk": [list_tickets]}, provider=provider) as gateway:
        run = await gateway.ask("How many tickets are open?")
        assert run.answer == "Seven."
        assert [call.data for call in run.calls] == [{"result": 7}]
        assert gateway.outcomes() == ["ok"]
        assert [record["data"]["provider"] for record in gateway.recorded("run")] == ["scripted"]
    assert provider.closed == 1


async def test_what_the_script_refuses_fails_the_test_and_not_only_the_run() -> None:
    provider = ScriptedProvider(ScriptedTurn(calls=[("desk.list_tickets", {})]))
    with pytest.raises(ScriptError, match=r"turn 2 was asked for after:\nresults: 7"):
        async with GatewayHarness({"desk": [list_tickets]}, provider=provider) as gateway:
            await gateway.ask("How many tickets are open?")


async def test_a_script_that_was_not_played_to_its_end_fails_the_test_when_the_gateway_closes() -> None:
    with pytest.raises(ScriptError, match=r"1 of 2 turn\(s\)"):
        async with GatewayHarness(provider=ScriptedProvider("Seven.", "Eight.")) as gateway:
            await gateway.ask("How many tickets are open?")


async def test_an_error_of_the_test_is_not_hidden_by_an_unfinished_script() -> None:
    with pytest.raises(ZeroDivisionError):
        async with GatewayHarness(provider=ScriptedProvider("Seven.")):
            raise ZeroDivisionError


async def test_an_error_of_the_provider_ends_the_run_in_order() -> None:
    provider = ScriptedProvider(ProviderError("quota", "Nothing left.", hint="Pay."))
    async with GatewayHarness(provider=provider) as gateway:
        run = await gateway.ask("How many tickets are open?")
        done = run.events[-1]
        assert isinstance(done, RunDone)
        assert (done.status, done.message) == ("failed", "Nothing left. Pay.")
