"""A `.env` in the working folder gives keys of providers, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.agent import Agent
from workbench.agent.env_file import MAX_ENV_FILE_BYTES, read_env_file
from workbench.agent.provider_choice import Chooser
from workbench.config import Settings
from workbench.provider_table import key_variables
from workbench.secrets.masking import hide

KEY = "sk-only-in-the-file-8d2f"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder, in an environment without keys."""
    for name in key_variables():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def settings(folder: Path) -> Settings:
    return Settings.load(env={}, cwd=folder, home=folder / "home")


def write(folder: Path, text: str | bytes) -> None:
    (folder / ".env").write_bytes(text if isinstance(text, bytes) else text.encode())


def test_a_key_in_the_file_makes_its_provider_ready_and_says_from_where(folder: Path, settings: Settings) -> None:
    write(folder, f"# a comment\nexport ANTHROPIC_API_KEY='{KEY}'\n")
    status = Chooser(settings).status("anthropic")
    assert status.ready
    assert status.why == f"ANTHROPIC_API_KEY is set in {folder / '.env'}"


def test_the_environment_wins_over_the_file(folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, f"OPENAI_API_KEY={KEY}\n")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-from-the-environment")
    chooser = Chooser(settings)
    assert chooser._env["OPENAI_API_KEY"] == "sk-from-the-environment"
    assert chooser.status("openai").why == "OPENAI_API_KEY is set"


def test_a_variable_that_is_set_to_nothing_switches_the_key_of_the_file_off(
    folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, f"OPENAI_API_KEY={KEY}\n")
    monkeypatch.setenv("OPENAI_API_KEY", "")
    assert not Chooser(settings).status("openai").ready


def test_nothing_but_keys_is_taken_and_the_rest_is_named(folder: Path, settings: Settings) -> None:
    write(
        folder, f"GEMINI_API_KEY={KEY}\nCOMPATIBLE_BASE_URL=http://127.0.0.1:9/v1\nWORKBENCH_HOST=0.0.0.0\nPATH=/tmp\n"
    )
    chooser = Chooser(settings)
    assert chooser.env_file is not None
    assert set(chooser.env_file.keys) == {"GEMINI_API_KEY"}
    assert chooser.env_file.ignored == ("COMPATIBLE_BASE_URL", "PATH", "WORKBENCH_HOST")
    assert "COMPATIBLE_BASE_URL" not in chooser._env
    assert chooser.env_file.summary() == (
        f"GEMINI_API_KEY from {folder / '.env'}; 3 other variable(s) in it are ignored"
    )


def test_a_key_from_the_file_stands_in_no_text(folder: Path, settings: Settings) -> None:
    write(folder, f"OPENAI_API_KEY={KEY}\n")
    chooser = Chooser(settings)
    assert KEY not in repr(chooser.env_file)
    assert KEY not in str(chooser.statuses())
    assert KEY not in hide(f"a server printed {KEY}")


def test_a_key_in_the_file_may_be_a_reference_to_a_secret(
    folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_OPENAI_KEY", "sk-of-the-secret-store")
    write(folder, "OPENAI_API_KEY=secret:MY_OPENAI_KEY\n")
    assert Chooser(settings)._env["OPENAI_API_KEY"] == "sk-of-the-secret-store"


def test_references_to_variables_are_not_expanded(folder: Path) -> None:
    write(folder, "OPENAI_API_KEY=${HOME}\n")
    found = read_env_file(folder, key_variables())
    assert found is not None
    assert found.keys == {"OPENAI_API_KEY": "${HOME}"}


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"OPENAI_API_KEY=\xff\xfe", "not valid UTF-8"), (b"#" * (MAX_ENV_FILE_BYTES + 1), "larger than 65536 bytes")],
)
def test_a_file_that_cannot_be_read_is_named_and_gives_no_key(folder: Path, content: bytes, problem: str) -> None:
    write(folder, content)
    found = read_env_file(folder, key_variables())
    assert found is not None
    assert not found.keys
    assert problem in found.summary()


def test_without_a_file_there_is_nothing(folder: Path, settings: Settings) -> None:
    assert read_env_file(folder, key_variables()) is None
    (folder / ".env").mkdir()  # a virtual environment of that name
    assert read_env_file(folder, key_variables()) is None
    assert Chooser(settings).env_file is None


async def test_an_agent_with_an_environment_of_its_own_reads_no_file(
    folder: Path, settings: Settings, tmp_path: Path
) -> None:
    write(folder, f"OPENAI_API_KEY={KEY}\n")
    toolbox: Any = None
    assert Agent(settings, toolbox, env={}).env_file is None
    found = Agent(settings, toolbox).env_file
    assert found is not None
    assert found.path == tmp_path / ".env"


@given(st.text(max_size=200))
def test_any_text_is_read_without_an_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("env")
    (folder / ".env").write_text(text, encoding="utf-8", errors="surrogatepass")
    found = read_env_file(folder, key_variables())
    assert found is not None
    assert set(found.keys) <= key_variables()
