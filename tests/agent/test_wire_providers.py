"""Each remote provider over real HTTP against a strict fake: what it sends, what it makes of answers and failures."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tests.agent.desk import FIND, OPEN, PAID, QUESTION, Desk
from tests.agent.wire_fake import Turn, WireFake
from workbench.agent import Agent, AssistantMessage, ToolRequest, UserMessage
from workbench.agent.models import model_of
from workbench.agent.prices import priced
from workbench.agent.provider import Part, Provider, ProviderError, TextPart, TurnEnd
from workbench.agent.providers import anthropic, compatible, gemini, openai
from workbench.config import Settings
from workbench.events import AnyRunEvent, Caller, RunDone, RunStarted, TextDelta, Tool, ToolAsked, ToolDone, TurnDone

PROVIDERS = ("openai", "anthropic", "gemini", "compatible")
ADAPTERS: dict[str, Any] = {"openai": openai, "anthropic": anthropic, "gemini": gemini, "compatible": compatible}
EACH = pytest.mark.parametrize("provider", PROVIDERS)


def answer_in_three_turns() -> list[Turn]:
    """What a model would say to the question: one lookup, then two calls at once, then the answer."""
    return [
        Turn(
            text="Let me look.",
            thinking="find first",
            calls=(("crm__find_customer", {"email": "john.smith@acme.com"}),),
        ),
        Turn(
            thinking="both at once",
            calls=(
                ("tickets__list_tickets", {"customer_id": "CUS-0042"}),
                ("payments__list_payments", {"customer_id": "CUS-0042"}),
            ),
        ),
        Turn(text="The account is past due; TCK-7 is open; PAY-9 failed because the card expired."),
    ]


async def asked(
    settings: Settings, wire: WireFake, provider: str, caller: Caller, desk: Desk, question: str = QUESTION, **more: Any
) -> list[AnyRunEvent]:
    agent = Agent(settings, desk, env=wire.env(provider))
    return [event async for event in agent.ask(question, caller, provider=provider, **more)]


async def one_turn(provider: str, wire: WireFake, *, timeout: float = 5.0, tools: tuple[Any, ...] = ()) -> list[Part]:
    adapter = made(provider, wire)
    try:
        question = (UserMessage(text="Hello?"),)
        return [part async for part in adapter.turn(question, tools, max_output_tokens=1000, timeout=timeout)]
    finally:
        await adapter.close()


def made(provider: str, wire: WireFake) -> Any:
    env = wire.env(provider)
    return ADAPTERS[provider].build(model_of(provider, Settings(), env), env)


def done(events: list[AnyRunEvent]) -> RunDone:
    assert isinstance(events[-1], RunDone)
    return events[-1]


@EACH
async def test_the_question_is_answered_through_real_calls(
    provider: str, wire: WireFake, settings: Settings, caller: Caller
) -> None:
    wire.script(*answer_in_three_turns())
    desk = Desk()
    events = await asked(settings, wire, provider, caller, desk)
    assert done(events).status == "answered", done(events).message
    assert done(events).answer == "The account is past due; TCK-7 is open; PAY-9 failed because the card expired."
    assert [call.tool for call in desk.calls] == [FIND.qualified, OPEN.qualified, PAID.qualified]
    results = [event.outcome.data for event in events if isinstance(event, ToolDone)]
    assert results[0]["result"][0]["status"] == "past_due"
    started = events[0]
    assert isinstance(started, RunStarted)
    assert (started.provider, started.is_llm, started.why) == (provider, True, "asked for")
    text = [event.text for event in events if isinstance(event, TextDelta) and event.turn == 1]
    assert "".join(text) == "Let me look."
    assert len(text) == 2, "text is streamed as it comes"


@EACH
async def test_the_results_that_go_back_are_what_the_tools_said(
    provider: str, wire: WireFake, settings: Settings, caller: Caller
) -> None:
    wire.script(*answer_in_three_turns())
    await asked(settings, wire, provider, caller, Desk())
    assert len(wire.requests) == 3
    assert "CUS-0042" not in json.dumps(wire.requests[0])
    assert "past_due" in json.dumps(wire.requests[1])
    assert "card_expired" in json.dumps(wire.requests[2])


@EACH
async def test_usage_is_counted_the_same_way_everywhere(
    provider: str, wire: WireFake, settings: Settings, caller: Caller
) -> None:
    wire.script(Turn(text="Hello."))
    events = await asked(settings, wire, provider, caller, Desk())
    usage = done(events).usage
    cached = 0 if provider == "compatible" else 40
    assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens) == (100, 20, cached)
    assert (usage.cost_usd > 0) is (provider != "compatible")
    assert [event.usage for event in events if isinstance(event, TurnDone)] == [usage]


@EACH
@pytest.mark.parametrize("fault", ["429", "500", "503"])
async def test_a_passing_failure_is_retried(
    provider: str, fault: Any, wire: WireFake, settings: Settings, caller: Caller
) -> None:
    wire.faults.extend([fault, None])
    wire.script(Turn(text="Hello."))
    events = await asked(settings, wire, provider, caller, Desk())
    assert done(events).answer == "Hello."
    assert len(wire.requests) == 2


@EACH
async def test_a_retry_waits_as_long_as_the_provider_asks(provider: str, wire: WireFake) -> None:
    wire.retry_after = "0.8"
    wire.faults.extend(["429", None])
    wire.script(Turn(text="Hello."))
    await one_turn(provider, wire)
    assert wire.arrivals[1] - wire.arrivals[0] >= 0.8


@EACH
@pytest.mark.parametrize(
    ("fault", "kind", "says"),
    [
        pytest.param("429", "rate_limited", "Wait", marks=pytest.mark.slow),
        pytest.param("503", "overloaded", "wait", marks=pytest.mark.slow),
        ("401", "unauthorized", "API_KEY"),
        ("403", "unauthorized", "API_KEY"),
        ("402", "quota", "billing"),
        ("404", "unknown_model", "models.toml"),
        ("context", "context", "Ask for less"),
    ],
)
async def test_a_lasting_failure_says_what_to_do(
    provider: str, fault: Any, kind: str, says: str, wire: WireFake, settings: Settings, caller: Caller
) -> None:
    wire.retry_after = "0.01"
    wire.faults.extend([fault] * 3)
    with pytest.raises(ProviderError) as raised:
        await one_turn(provider, wire)
    assert raised.value.kind == kind
    assert says in raised.value.hint
    retried = fault in ("429", "503")
    assert len(wire.requests) == (3 if retried else 1)
    if not retried:
        wire.faults.append(fault)
        events = await asked(settings, wire, provider, caller, Desk())
        assert done(events).status == "failed"
        assert says in done(events).message


@EACH
@pytest.mark.parametrize("fault", ["cut", "reset", "malformed"])
async def test_a_broken_stream_runs_no_tools(
    provider: str, fault: Any, wire: WireFake, settings: Settings, caller: Caller
) -> None:
    wire.faults.extend([fault, fault])
    note = Turn(text="Soon.", calls=(("crm__add_note", {"customer_id": "CUS-0042", "text": "x" * 40}),))
    wire.script(note, note)
    desk = Desk()
    events = await asked(settings, wire, provider, caller, desk)
    assert done(events).status == "failed"
    assert "Ask again" in done(events).message
    assert desk.calls == []
    assert not [event for event in events if isinstance(event, ToolAsked)]


@EACH
@pytest.mark.parametrize("fault", ["cut", "reset", "malformed", "error"])
async def test_a_turn_that_breaks_off_is_asked_for_once_more(
    provider: str, fault: Any, wire: WireFake, settings: Settings, caller: Caller
) -> None:
    wire.faults.append(fault)
    wire.script(Turn(text="Half of this is lost."), Turn(text="This is whole."))
    events = await asked(settings, wire, provider, caller, Desk())
    assert (done(events).status, done(events).answer) == ("answered", "This is whole."), done(events).message
    stops = [event.stop for event in events if isinstance(event, TurnDone)]
    assert stops[0] in ("cut", "overloaded")
    assert done(events).turns == len(stops) == 2


@EACH
async def test_an_error_in_the_middle_of_a_stream_ends_the_turn(provider: str, wire: WireFake) -> None:
    wire.faults.append("error")
    wire.script(Turn(text="A long enough answer."))
    with pytest.raises(ProviderError) as raised:
        await one_turn(provider, wire)
    assert raised.value.kind == "overloaded"


@pytest.mark.slow
@EACH
async def test_silence_is_a_timeout(provider: str, wire: WireFake) -> None:
    wire.faults.extend(["slow"] * 3)
    with pytest.raises(ProviderError) as raised:
        await one_turn(provider, wire, timeout=0.2)
    assert raised.value.kind == "timeout"


@EACH
async def test_nobody_listening_is_said_with_what_to_do(
    provider: str, wire: WireFake, free_tcp_port: int, settings: Settings, caller: Caller
) -> None:
    dead = {
        name: value.replace(wire.url, f"http://127.0.0.1:{free_tcp_port}") for name, value in wire.env(provider).items()
    }
    agent = Agent(settings, Desk(), env=dead)
    events = [event async for event in agent.ask("Hello?", caller, provider=provider)]
    assert done(events).status == "failed"
    assert "network" in done(events).message


@EACH
async def test_arguments_that_are_no_json_come_back_as_a_result_that_can_be_mended(
    provider: str, wire: WireFake, settings: Settings, caller: Caller
) -> None:
    broken: Any = {"nonsense": 1} if provider == "gemini" else '{"email": "john'
    wire.script(
        Turn(calls=(("crm__find_customer", broken),)),
        Turn(calls=(("crm__find_customer", {"email": "john.smith@acme.com"}),)),
        Turn(text="Found."),
    )
    desk = Desk()
    events = await asked(settings, wire, provider, caller, desk)
    assert done(events).answer == "Found."
    kinds = [event.outcome.kind for event in events if isinstance(event, ToolDone)]
    assert kinds == ["invalid", "ok"]
    assert len(desk.calls) == 1


@EACH
async def test_an_unknown_tool_comes_back_with_what_was_meant(
    provider: str, wire: WireFake, settings: Settings, caller: Caller
) -> None:
    wire.script(Turn(calls=(("find_customer", {"email": "x@example.org"}),)), Turn(text="I see."))
    events = await asked(settings, wire, provider, caller, Desk())
    assert done(events).status == "answered"
    assert "crm__find_customer" in json.dumps(wire.requests[1])
    assert [event.outcome.kind for event in events if isinstance(event, ToolDone)] == ["not_found"]


@EACH
async def test_an_answer_that_was_cut_at_the_limit_is_not_passed_off_as_whole(
    provider: str, wire: WireFake, settings: Settings, caller: Caller
) -> None:
    stop = {"openai": "max_output_tokens", "anthropic": "max_tokens", "gemini": "MAX_TOKENS", "compatible": "length"}
    wire.script(
        Turn(text="It begins", calls=(("crm__add_note", {"customer_id": "C", "text": "T"}),), stop=stop[provider])
    )
    desk = Desk()
    events = await asked(settings, wire, provider, caller, desk)
    assert (done(events).status, done(events).answer) == ("limit", "It begins")
    assert desk.calls == []


@EACH
async def test_a_refusal_is_said(provider: str, wire: WireFake) -> None:
    stop = {"openai": "content_filter", "anthropic": "refusal", "gemini": "SAFETY", "compatible": "content_filter"}
    wire.script(Turn(text="No", stop=stop[provider]))
    with pytest.raises(ProviderError) as raised:
        await one_turn(provider, wire)
    assert raised.value.kind == "refused"


@EACH
async def test_stopping_closes_the_stream_at_the_provider(
    provider: str, wire: WireFake, settings: Settings, caller: Caller
) -> None:
    wire.faults.append("slow")
    agent = Agent(settings, Desk(), env=wire.env(provider))
    stream = agent.ask("Hello?", caller, provider=provider, run="r1")
    events = [await anext(stream)]

    async def stop_when_asked() -> None:
        await wire.asked.wait()
        assert agent.stop("r1")

    async with asyncio.timeout(10):
        stopping = asyncio.create_task(stop_when_asked())
        events += [event async for event in stream]
        await stopping
    assert done(events).status == "cancelled"


@EACH
async def test_a_conversation_of_another_provider_can_be_continued(
    provider: str, wire: WireFake, settings: Settings, caller: Caller
) -> None:
    """Also: a history that ends in requests without results has them called first."""
    other = AssistantMessage(
        text="Let me see. ",
        provider="another",
        items=({"type": "nonsense of another provider"},),
        requests=(
            ToolRequest(
                id="id:with/odd letters", name="crm__find_customer", arguments={"email": "john.smith@acme.com"}
            ),
            ToolRequest(id="2", name="no.such tool", arguments={}),
        ),
    )
    wire.script(Turn(text="He is past due."))
    desk = Desk()
    history = (UserMessage(text="Who is john.smith@acme.com?"), other)
    events = await asked(settings, wire, provider, caller, desk, "And his status?", history=history)
    assert done(events).answer == "He is past due."
    assert [call.tool for call in desk.calls] == [FIND.qualified]
    assert "nonsense" not in json.dumps(wire.requests[0])
    assert "past_due" in json.dumps(wire.requests[0])


@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini"])
async def test_without_a_key_nothing_is_sent(provider: str, settings: Settings, caller: Caller) -> None:
    agent = Agent(settings, Desk(), env={})
    events = [event async for event in agent.ask("Hello?", caller, provider=provider)]
    assert done(events).status == "failed"
    assert "_API_KEY" in done(events).message


@EACH
async def test_awkward_schemas_and_names_are_accepted_and_translated_back(
    provider: str, wire: WireFake, settings: Settings, caller: Caller
) -> None:
    awkward = Tool(
        server="my.server",
        name="über-tool/with:everything",
        description="d" * 3000,
        annotations={"readOnlyHint": True},
        input_schema={
            "$schema": "http://json-schema.org/draft-07/schema#",
            "oneOf": [{"required": ["@type"]}, {"required": ["b"]}],
            "properties": {
                "@type": {"const": "x"},
                "b": {"$ref": "#/definitions/b"},
                "c": True,
                "d": {"type": "array"},
            },
            "definitions": {"b": {"type": "object", "properties": {"self": {"$ref": "#/definitions/b"}}}},
        },
    )
    desk = Desk(awkward)
    wire.script(Turn(text="Hello."))
    await asked(settings, wire, provider, caller, desk)
    sent = json.dumps(wire.requests[0])
    assert "my_server___ber-tool_with_everything" in sent
    assert '"$schema"' not in sent
    wire.script(Turn(calls=(("my_server___ber-tool_with_everything", {"_type": "x"}),)), Turn(text="Done."))
    await asked(settings, wire, provider, caller, desk)
    assert desk.calls[-1].tool == "my.server.über-tool/with:everything"
    assert desk.calls[-1].arguments == {"@type": "x"}


def spoiled(seed: int) -> Callable[[list[str]], list[str]]:
    """One value somewhere in one event replaced by something else, or one event lost or doubled."""

    def spoil(events: list[str]) -> list[str]:
        chance = random.Random(seed)
        at = chance.randrange(len(events))
        if chance.random() < 0.1:
            return [
                event for number, event in enumerate(events) for _ in range(chance.randrange(3) if number == at else 1)
            ]
        head, _, body = events[at].partition("data: ")
        try:
            document = json.loads(body)
        except ValueError:
            return events
        places: list[tuple[Any, Any]] = []
        todo: list[Any] = [document]
        while todo:
            node = todo.pop()
            inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
            for key, value in inner:
                places.append((node, key))
                todo.append(value)
        node, key = chance.choice(places)
        new = chance.choice([None, 5, -1, "x", "", [], {}, [None], {"a": None}, True, "missing"])
        if new == "missing":
            del node[key]
        else:
            node[key] = new
        return [*events[:at], f"{head}data: {json.dumps(document)}\r\n\r\n", *events[at + 1 :]]

    return spoil


# the SDKs warn of what they do not know; that is not ours to prevent
@pytest.mark.filterwarnings("ignore::UserWarning")
@EACH
async def test_whatever_a_provider_sends_a_turn_is_whole_or_an_error(provider: str, wire: WireFake) -> None:
    adapter = made(provider, wire)
    errors = 0
    for seed in range(60):
        wire.spoil = spoiled(seed)
        wire.turns.clear()
        wire.script(Turn(text="Text.", thinking="t", calls=(("crm__find_customer", {"email": "a@b.c"}),)))
        parts: list[Part] = []
        try:
            turn = adapter.turn((UserMessage(text="?"),), (), max_output_tokens=99, timeout=5)
            parts = [part async for part in turn]
        except ProviderError:
            errors += 1
            continue
        assert isinstance(parts[-1], TurnEnd)
        assert [isinstance(part, TurnEnd) for part in parts].count(True) == 1
        for part in parts:  # every value is of the type that it says
            assert msgspec.json.decode(msgspec.json.encode(part), type=type(part)) == part
    await adapter.close()
    assert 0 < errors < 60


@pytest.mark.parametrize(
    ("provider", "field"), [("openai", "cache_write_tokens"), ("anthropic", "cache_creation_input_tokens")]
)
async def test_tokens_written_to_the_cache_have_a_price_of_their_own(provider: str, field: str, wire: WireFake) -> None:
    wire.script(Turn(text="Hello."))
    wire.spoil = lambda events: [re.sub(rf'"{field}": ?0', f'"{field}": 50', event) for event in events]
    end = (await one_turn(provider, wire))[-1]
    assert isinstance(end, TurnEnd)
    counted = msgspec.structs.replace(end.usage, cost_usd=0.0)
    model = model_of(provider, Settings(), {})
    assert end.usage == priced(provider, model, counted, cache_write_tokens=50)
    assert end.usage.cost_usd > priced(provider, model, counted).cost_usd


# --- what only one of them does ----------------------------------------------


async def test_openai_echoes_items_without_the_fields_that_the_sdk_adds(wire: WireFake) -> None:
    wire.script(Turn(thinking="t", calls=(("crm__find_customer", {"email": "a@b.c"}),)))
    parts = await one_turn("openai", wire)
    end = parts[-1]
    assert isinstance(end, TurnEnd)
    assert [item["type"] for item in end.items] == ["reasoning", "function_call"]
    assert all("parsed_arguments" not in item for item in end.items)

    class FromHelper:
        """An item as the SDK's stream helper returns it."""

        def model_dump(self, **_: Any) -> dict[str, Any]:
            return {"type": "function_call", "parsed_arguments": {"email": "a@b.c"}, "call_id": "1"}

    assert openai._echo(FromHelper()) == {"type": "function_call", "call_id": "1"}


async def test_openai_does_without_encrypted_reasoning_where_the_model_has_none(wire: WireFake) -> None:
    wire.reasons = False
    wire.script(Turn(text="Hello."), Turn(text="Again."))
    adapter = made("openai", wire)
    for text in ("Hello.", "Again."):
        parts = [p async for p in adapter.turn((UserMessage(text="?"),), (), max_output_tokens=100, timeout=5)]
        assert "".join(p.text for p in parts if isinstance(p, TextPart)) == text
    await adapter.close()
    assert [("include" in body) for body in wire.requests] == [False, False]


async def test_openai_reports_a_response_that_failed(wire: WireFake) -> None:
    wire.script(Turn(text="x", stop="failed"))
    with pytest.raises(ProviderError) as raised:
        await one_turn("openai", wire)
    assert raised.value.kind == "overloaded"


async def test_anthropic_without_a_stop_reason_is_a_cut_turn(wire: WireFake) -> None:
    """The SDK hands such a message out as if it were whole, with half of the tool's input."""
    wire.faults.append("cut")
    wire.script(Turn(calls=(("crm__add_note", {"customer_id": "CUS-0042", "text": "half of this is lost"}),)))
    with pytest.raises(ProviderError) as raised:
        await one_turn("anthropic", wire)
    assert raised.value.kind == "cut"


async def test_anthropic_529_is_retried(wire: WireFake) -> None:
    wire.faults.extend(["529", None])
    wire.script(Turn(text="Hello."))
    assert len(await one_turn("anthropic", wire)) == 3
    assert len(wire.requests) == 2


async def test_anthropic_says_when_the_conversation_is_too_long(wire: WireFake) -> None:
    wire.script(Turn(text="x", stop="model_context_window_exceeded"))
    with pytest.raises(ProviderError) as raised:
        await one_turn("anthropic", wire)
    assert raised.value.kind == "context"


async def test_gemini_calls_without_ids_are_answered_by_name(
    wire: WireFake, settings: Settings, caller: Caller
) -> None:
    wire.ids = False
    wire.script(*answer_in_three_turns())
    events = await asked(settings, wire, "gemini", caller, Desk())
    assert done(events).status == "answered"
    assert "made-" not in json.dumps(wire.requests)


async def test_gemini_says_that_the_question_was_blocked(wire: WireFake) -> None:
    wire.script(Turn(stop="BLOCKED"))
    with pytest.raises(ProviderError, match="SAFETY") as raised:
        await one_turn("gemini", wire)
    assert raised.value.kind == "refused"


async def test_gemini_does_not_wait_for_longer_than_there_is_time(wire: WireFake) -> None:
    wire.retry_after = "30"
    wire.faults.append("429")
    with pytest.raises(ProviderError) as raised:
        await one_turn("gemini", wire, timeout=2.0)
    assert raised.value.kind == "rate_limited"
    assert len(wire.requests) == 1


def test_gemini_reads_the_delay_from_the_error_when_no_header_gives_it() -> None:
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "17s"}
    assert gemini._retry_info({"error": {"details": [{"@type": "x"}, info]}}) == 17.0
    assert gemini._retry_info(["nothing"]) == 0.0


async def test_a_local_server_is_asked_for_its_first_model(wire: WireFake) -> None:
    wire.script(Turn(text="Hello."))
    adapter: Provider = compatible.build("", {"COMPATIBLE_BASE_URL": f"{wire.url}/v1"})
    parts = [p async for p in adapter.turn((UserMessage(text="?"),), (), max_output_tokens=10, timeout=5)]
    assert isinstance(parts[-1], TurnEnd)
    assert wire.requests[0]["model"] == adapter.model == "local-model"
    await adapter.close()  # type: ignore[attr-defined]


@EACH
def test_an_adapter_says_what_it_is(provider: str) -> None:
    adapter = ADAPTERS[provider].build("some-model", {})
    assert "some-model" in repr(adapter)
