"""The table of providers: one row and one module make a provider, and no SDK is imported for the table."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from genai_prices import data_snapshot

from tests.agent import extra_provider
from tests.agent.desk import Desk
from workbench.agent import Agent
from workbench.agent.env_file import read_env_file
from workbench.agent.models import model_of
from workbench.agent.prices import priced
from workbench.agent.provider_choice import Chooser
from workbench.agent.providers import PROVIDERS
from workbench.config import Settings
from workbench.events import Caller, MisuseError, RunDone, RunStarted, Usage
from workbench.platform import telemetry
from workbench.provider_table import key_variables, provider_names

PACKAGE = Path(__file__).parents[2] / "workbench"
MODEL = "claude-haiku-5-5"
SAID = {"text": "Two are open.", "input": 1000, "output": 50}


@pytest.fixture
def row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROVIDERS, extra_provider.ROW.name, extra_provider.ROW)


@pytest.fixture
async def address() -> AsyncIterator[tuple[str, list[Any]]]:
    """Where the test's provider answers, and what it was asked there."""
    asked: list[Any] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append((request.headers["authorization"], await request.json()))
        return web.json_response(SAID)

    app = web.Application()
    app.router.add_post("/ask", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/ask", asked
    await runner.cleanup()


async def test_a_provider_that_is_one_row_answers_a_question_and_its_turn_has_a_price(
    settings: Settings, caller: Caller, row: None, address: tuple[str, list[Any]]
) -> None:
    url, asked = address
    env = {"EXTRA_TOKEN": "k", "EXTRA_BASE_URL": url, "EXTRA_MODEL": MODEL, "GEMINI_API_KEY": "k"}
    events = [event async for event in Agent(settings, Desk(), env=env).ask("How many are open?", caller)]
    started, done = events[0], events[-1]
    assert isinstance(started, RunStarted)
    assert isinstance(done, RunDone)
    assert (started.provider, started.model, started.why) == ("extra", MODEL, "EXTRA_TOKEN is set")
    assert (done.status, done.answer) == ("answered", "Two are open.")
    assert done.usage.cost_usd == priced("anthropic", MODEL, Usage(input_tokens=1000, output_tokens=50)).cost_usd > 0
    assert asked == [("Bearer k", {"model": MODEL, "ask": "How many are open?"})]


async def test_a_row_has_its_place_in_the_ladder(settings: Settings, row: None) -> None:
    env = {"OPENAI_API_KEY": "k", "EXTRA_API_KEY": "k", "ANTHROPIC_API_KEY": "k"}
    for name in ("openai", "extra", "anthropic"):
        assert (await Chooser(settings, env=env).choose()).provider.name == name
        del env[f"{name.upper()}_API_KEY"]
    assert provider_names()[:3] == ["openai", "extra", "anthropic"]
    listed = {status.name: status for status in Chooser(settings, env=env).statuses()}
    assert listed["extra"].why == "EXTRA_API_KEY or EXTRA_TOKEN is not set."


def test_a_row_is_known_to_settings_env_files_models_and_telemetry(
    settings: Settings, row: None, tmp_path: Path
) -> None:
    assert Settings.load(env={"WORKBENCH_PROVIDER": "extra"}, cwd=tmp_path, home=settings.home).provider == "extra"
    (tmp_path / ".env").write_text("EXTRA_TOKEN=k\nEXTRA_BASE_URL=http://h\n")
    found = read_env_file(tmp_path, key_variables())
    assert found is not None
    assert dict(found.keys) == {"EXTRA_TOKEN": "k"}
    (settings.home / "models.toml").write_text('[extra]\ndefault = "large"\n')
    assert model_of("extra", settings, {}) == "large"
    assert telemetry._model({"provider": "extra", "model": "m"}) == {
        "gen_ai.provider.name": "extra.inference",
        "gen_ai.request.model": "m",
    }


def test_without_its_row_a_provider_is_unknown_to_the_settings(tmp_path: Path) -> None:
    with pytest.raises(MisuseError, match="auto, openai, anthropic, gemini, compatible, planner, embedded"):
        Settings.load(env={"WORKBENCH_PROVIDER": "extra"}, cwd=tmp_path, home=tmp_path / "home")


def test_a_provider_that_telemetry_has_another_name_for_is_called_by_it() -> None:
    assert telemetry._model({"provider": "gemini"})["gen_ai.provider.name"] == "gcp.gemini"
    assert telemetry._model({"provider": "openai"})["gen_ai.provider.name"] == "openai"
    assert telemetry._model({"provider": "somebody"})["gen_ai.provider.name"] == "somebody"
    assert telemetry._model({})["gen_ai.provider.name"] is None


def test_every_row_has_its_module_and_the_price_list_has_its_id() -> None:
    listed = {provider.id for provider in data_snapshot.get_snapshot().providers}
    for name, row in PROVIDERS.items():
        assert name == row.name
        path = PACKAGE.parent.joinpath(*row.module.split("."))
        assert path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()
        assert not row.price_id or row.price_id in listed
    places = [row.place for row in PROVIDERS.values()]
    assert len(set(places)) == len(places)
    assert [row.chosen_by for row in PROVIDERS.values()].count("default") == 1


def test_names_and_variables_of_providers_stand_in_the_table_and_their_own_modules_alone() -> None:
    """Texts in code; comments and docstrings may speak of a provider."""
    own = {row.module.rpartition(".")[2] for row in PROVIDERS.values() if not row.in_process}
    known = re.compile("|".join(map(re.escape, ("anthropic", *key_variables()))))
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name == "provider_table.py" or (path.parent.name == "providers" and path.stem in own):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                node.value.value = ""
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and known.search(node.value):
                found.append(f"{path.relative_to(PACKAGE)}:{node.lineno}: {node.value[:60]}")
    assert found == []


def test_no_other_module_imports_the_module_of_a_remote_provider() -> None:
    remote = {row.module for row in PROVIDERS.values() if not row.in_process}
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = {alias.name for alias in node.names} if isinstance(node, ast.Import | ast.ImportFrom) else set()
            if isinstance(node, ast.ImportFrom):
                named = {f"{node.module}.{name}" for name in named} | {str(node.module)}
            found += [f"{path.relative_to(PACKAGE)}:{getattr(node, 'lineno', 0)}: {name}" for name in named & remote]
    assert found == []


def test_the_table_and_the_chooser_import_no_sdk() -> None:
    code = (
        "import sys, workbench, workbench.provider_table, workbench.agent.provider_choice, workbench.agent.prices\n"
        "from workbench.config import Settings\n"
        "workbench.agent.provider_choice.Chooser(Settings(), env={'OPENAI_API_KEY': 'k'}).statuses()\n"
        "print(*(m for m in ('openai', 'anthropic', 'google.genai', 'genai_prices') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=50)
    assert done.stdout.strip() == ""
