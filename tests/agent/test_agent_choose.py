"""Who answers, and why; which model; what a turn costs; where the clock stands."""

from __future__ import annotations

import asyncio
import sys
from types import ModuleType
from typing import Any

import pytest
from aiohttp import web
from msgspec.structs import replace

from tests.agent.desk import Desk
from tests.agent.wire_fake import Turn, WireFake
from workbench.agent import Agent, ProviderStatus
from workbench.agent.models import model_of, provider_of
from workbench.agent.prices import priced
from workbench.agent.prompt import system_prompt
from workbench.agent.provider import DetectedServer
from workbench.agent.provider_choice import Chooser
from workbench.agent.providers.compatible import configured_url, detect
from workbench.agent.run_deadline import Deadline
from workbench.config import Settings
from workbench.events import Caller, MisuseError, RunDone, RunStarted, Usage
from workbench.provider_table import PROVIDERS
from workbench.testing import ScriptedProvider

KEYS = {"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k", "GEMINI_API_KEY": "k"}


@pytest.fixture
def rooms(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The two providers of this process, as small as their rooms may be; the embedded model is not pulled."""
    made = {}
    for name in ("embedded", "planner"):
        room: Any = ModuleType(f"workbench.agent.{name}")
        room.ready = name == "planner"
        room.provider = ScriptedProvider("Hello.", is_llm=name == "embedded")
        room.provider.name = name
        room.build = lambda settings, room=room: room.provider
        room.status = lambda settings, name=name, room=room: ProviderStatus(
            name=name,
            ready=room.ready,
            model=name,
            why="pulled" if room.ready else "not pulled",
            is_llm=name != "planner",
        )
        monkeypatch.setitem(sys.modules, room.__name__, room)
        made[name] = room
    return made


async def chosen(settings: Settings, env: dict[str, str], **asked: Any) -> tuple[str, str]:
    choice = await Chooser(settings, env=env).choose(**asked)
    return choice.provider.name, choice.why


# --- the ladder --------------------------------------------------------------


async def test_the_first_key_counts(settings: Settings, rooms: Any) -> None:
    env = dict(KEYS)
    for name, key in (("openai", "OPENAI_API_KEY"), ("anthropic", "ANTHROPIC_API_KEY"), ("gemini", "GEMINI_API_KEY")):
        assert await chosen(settings, env) == (name, f"{key} is set")
        del env[key]
    assert await chosen(settings, {"GOOGLE_API_KEY": "k"}) == ("gemini", "GOOGLE_API_KEY is set")


async def test_without_a_key_a_configured_server_then_the_planner_and_never_the_model_by_itself(
    settings: Settings, rooms: Any
) -> None:
    configured = {"COMPATIBLE_BASE_URL": "http://127.0.0.1:1/v1"}
    assert await chosen(settings, configured) == ("compatible", "COMPATIBLE_BASE_URL is set")
    assert await chosen(settings, {}) == ("planner", "no key is set: planner (not an LLM)")
    rooms["embedded"].ready = True
    name, why = await chosen(settings, {})
    assert name == "planner"
    assert "the embedded model answers when it is asked for" in why


async def test_an_empty_key_is_no_key(settings: Settings, rooms: Any) -> None:
    assert (await chosen(settings, {"OPENAI_API_KEY": ""}))[0] == "planner"


async def test_an_explicit_choice_is_never_replaced(settings: Settings, rooms: Any) -> None:
    assert await chosen(settings, KEYS, provider="planner") == ("planner", "asked for")
    assert (await chosen(settings, {}, provider="anthropic"))[0] == "anthropic"
    by_setting = settings.replace(provider="gemini")
    assert await chosen(by_setting, KEYS) == ("gemini", "chosen by the setting provider (given)")
    assert (await chosen(by_setting, KEYS, provider="auto"))[0] == "openai"


async def test_a_local_server_that_merely_runs_is_offered_and_not_chosen(settings: Settings, rooms: Any) -> None:
    chooser = Chooser(settings, env={})
    chooser._found["compatible"] = DetectedServer(kind="Ollama", base_url="http://127.0.0.1:11434/v1")
    assert (await chooser.choose()).provider.name == "planner"
    offered = {status.name: status for status in chooser.statuses()}["compatible"]
    assert offered.ready
    assert "Ollama answers at" in offered.why
    assert (await chooser.choose("compatible")).provider.name == "compatible"


async def test_the_model_that_is_asked_for_tells_the_provider(settings: Settings, rooms: Any) -> None:
    assert await chosen(settings, KEYS, model="claude-opus-5-5") == (
        "anthropic",
        "the model claude-opus-5-5 is of anthropic",
    )
    assert (await chosen(settings.replace(model="gemini-3.8-flash"), KEYS))[0] == "gemini"
    assert (await chosen(settings, KEYS, model="unheard-of"))[0] == "openai"


async def test_an_unknown_provider_is_refused_with_what_was_meant(settings: Settings, caller: Caller) -> None:
    agent = Agent(settings, Desk(), env={})
    with pytest.raises(MisuseError, match="Did you mean 'anthropic'"):
        await anext(agent.ask("Hello?", caller, provider="antropic"))
    with pytest.raises(MisuseError, match="Expected auto, openai"):
        await anext(agent.ask("Hello?", caller, provider="zzz"))


async def test_the_rung_that_answered_is_said(settings: Settings, caller: Caller, rooms: Any) -> None:
    agent = Agent(settings, Desk(), env={})
    events = [event async for event in agent.ask("Hello?", caller)]
    started, end = events[0], events[-1]
    assert isinstance(started, RunStarted)
    assert isinstance(end, RunDone)
    assert (started.provider, started.is_llm, end.answer) == ("planner", False, "Hello.")
    assert "not an LLM" in started.why
    provider = rooms["planner"].provider
    assert provider.closed == 0, "what is in this process is kept for the next question"
    await agent.close()
    assert provider.closed == 1


def test_all_providers_are_listed_in_the_order_of_the_ladder(settings: Settings, rooms: Any) -> None:
    agent = Agent(settings, Desk(), env={"ANTHROPIC_API_KEY": "k"})
    listed = agent.providers()
    assert [status.name for status in listed] == ["openai", "anthropic", "gemini", "planner", "embedded", "compatible"]
    assert [status.name for status in listed if status.ready] == ["anthropic", "planner"]
    assert all(status.why for status in listed)
    assert listed[0].why == "OPENAI_API_KEY is not set."
    configured = Agent(settings, Desk(), env={"COMPATIBLE_BASE_URL": "http://h/v1"}).providers()
    assert [status.name for status in configured][3] == "compatible"


def test_a_missing_package_is_said(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROVIDERS, "gemini", replace(PROVIDERS["gemini"], sdk="no_such_package.genai"))
    status = Chooser(settings, env=KEYS).status("gemini")
    assert not status.ready
    assert "not installed" in status.why


# --- models ------------------------------------------------------------------


def test_a_model_comes_from_the_most_specific_place(settings: Settings) -> None:
    default = model_of("openai", settings, {})
    assert provider_of(default, settings) == "openai"
    assert model_of("openai", settings, {"OPENAI_MODEL": "gpt-x"}) == "gpt-x"
    chosen = settings.replace(provider="openai", model="gpt-y")
    assert model_of("openai", chosen, {"OPENAI_MODEL": "gpt-x"}) == "gpt-y"
    assert model_of("openai", chosen, {}, asked="gpt-z") == "gpt-z"


def test_the_setting_of_one_provider_is_not_put_to_another(settings: Settings) -> None:
    chosen = settings.replace(provider="openai", model="gpt-y")
    assert model_of("anthropic", chosen, {}).startswith("claude-")


def test_the_users_own_table_counts_over_the_shipped_one(settings: Settings) -> None:
    own = settings.home / "models.toml"
    own.write_text('[gemini]\ndefault = "gemini-own"\n')
    assert model_of("gemini", settings, {}) == "gemini-own"
    assert model_of("openai", settings, {}) == model_of("openai", Settings(), {})
    own.write_text("[gemini\n")
    with pytest.raises(MisuseError, match="not valid TOML"):
        model_of("gemini", settings, {})
    own.write_text("[gemni]\n")
    with pytest.raises(MisuseError, match="'gemni'"):
        model_of("gemini", settings, {})


# --- what it costs -----------------------------------------------------------


def test_prices_are_those_of_the_installed_list() -> None:
    usage = Usage(input_tokens=1_000_000, output_tokens=0, cached_tokens=1_000_000)
    full, cached = priced("openai", "gpt-6-luna", Usage(input_tokens=100_000)), priced("openai", "gpt-6-luna", usage)
    assert 0 < cached.cost_usd < full.cost_usd * 10
    assert priced("anthropic", "claude-haiku-5-5", usage, cache_write_tokens=0).cost_usd > 0


@pytest.mark.parametrize(("provider", "model"), [("openai", "unheard-of"), ("compatible", "llama"), ("openai", "")])
def test_an_unknown_price_is_no_price(provider: str, model: str) -> None:
    usage = Usage(input_tokens=5, output_tokens=5)
    assert priced(provider, model, usage) == usage


def test_counts_that_contradict_each_other_have_no_price() -> None:
    usage = Usage(input_tokens=5, cached_tokens=500)
    assert priced("openai", "gpt-6-luna", usage) == usage


# --- local servers -----------------------------------------------------------


@pytest.mark.parametrize(
    ("env", "url"),
    [
        ({}, ""),
        ({"COMPATIBLE_BASE_URL": "http://h:1/v1", "OLLAMA_HOST": "x"}, "http://h:1/v1"),
        ({"OLLAMA_HOST": "0.0.0.0"}, "http://127.0.0.1:11434/v1"),
        ({"OLLAMA_HOST": "box:9"}, "http://box:9/v1"),
        ({"OLLAMA_HOST": "https://box:9/"}, "https://box:9/v1"),
    ],
)
def test_the_address_of_a_local_server_is_read_from_the_environment(env: dict[str, str], url: str) -> None:
    assert configured_url(env) == url


async def serve(path: str, body: Any, status: int = 200) -> tuple[web.AppRunner, int]:
    async def handle(_: web.Request) -> web.Response:
        return web.json_response(body, status=status) if body is not None else web.Response(text="<html>")

    app = web.Application()
    app.router.add_get(path, handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, runner.addresses[0][1]


@pytest.mark.parametrize(
    ("kind", "path", "body", "status", "known"),
    [
        ("Ollama", "/api/version", {"version": "0.20"}, 200, True),
        ("Ollama", "/api/version", None, 200, False),
        ("Ollama", "/api/version", {"version": 5}, 200, False),
        ("llama.cpp", "/props", {"default_generation_settings": {}}, 200, True),
        ("llama.cpp", "/props", {"default_generation_settings": {}}, 401, False),
        ("LM Studio", "/api/v0/models", {"object": "list", "data": []}, 200, True),
        ("vLLM", "/v1/models", {"data": [{"id": "m", "owned_by": "vllm"}]}, 200, True),
        ("vLLM", "/v1/models", {"data": [{"id": "m", "owned_by": "someone"}]}, 200, False),
        ("vLLM", "/v1/models", {"data": None}, 200, False),
    ],
)
async def test_a_local_server_is_known_by_what_it_says_of_itself(
    kind: str, path: str, body: Any, status: int, known: bool, free_tcp_port: int
) -> None:
    runner, port = await serve(path, body, status)
    ports = dict.fromkeys(("Ollama", "llama.cpp", "LM Studio", "vLLM"), free_tcp_port) | {kind: port}
    try:
        found = await detect({}, ports=ports)
    finally:
        await runner.cleanup()
    assert found == (DetectedServer(kind=kind, base_url=f"http://127.0.0.1:{port}/v1") if known else None)


async def test_a_detected_server_answers_when_it_is_asked_for(
    wire: WireFake, settings: Settings, caller: Caller, rooms: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def found(_: Any) -> DetectedServer:
        return DetectedServer(kind="llama.cpp", base_url=f"{wire.url}/v1")

    monkeypatch.setattr("workbench.agent.providers.compatible.detect", found)
    wire.script(Turn(text="Hello from here."))
    agent = Agent(settings, Desk(), env={})
    events = [event async for event in agent.ask("Hello?", caller, provider="compatible")]
    assert isinstance(events[-1], RunDone)
    assert events[-1].answer == "Hello from here."
    assert {status.name: status.ready for status in await agent.detect()}["compatible"]


async def test_asking_for_a_local_server_that_is_not_there_says_what_to_do(
    settings: Settings, caller: Caller, rooms: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(_: Any) -> None:
        return None

    monkeypatch.setattr("workbench.agent.providers.compatible.detect", nothing)
    events = [event async for event in Agent(settings, Desk(), env={}).ask("?", caller, provider="compatible")]
    assert isinstance(events[-1], RunDone)
    assert events[-1].status == "failed"
    assert "COMPATIBLE_BASE_URL" in events[-1].message


# --- the clock and the prompt ------------------------------------------------


async def test_the_clock_of_a_run_stands_still_while_it_is_paused() -> None:
    deadline = Deadline(0.05)
    async with deadline.running():
        with deadline.paused(), deadline.paused():
            before = deadline.left
            await asyncio.sleep(0.08)
            assert deadline.left == before
        assert 0 < deadline.left <= before
    assert not deadline.expired


async def test_the_clock_runs_out() -> None:
    deadline = Deadline(0.01)
    assert deadline.left == 0.01
    with pytest.raises(TimeoutError):
        await wait_forever(deadline)
    assert deadline.expired
    assert deadline.left == 0.0


async def wait_forever(deadline: Deadline) -> None:
    async with deadline.running():
        await asyncio.Event().wait()


def test_the_prompt_changes_only_with_the_day() -> None:
    import datetime

    day = datetime.date(2026, 11, 20)
    assert system_prompt(day) == system_prompt(day)
    assert "Friday, 2026-11-20" in system_prompt(day)
    assert system_prompt(day) != system_prompt(day + datetime.timedelta(days=1))
