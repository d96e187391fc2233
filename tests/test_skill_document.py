"""Commands, snippets, outcomes and exit codes in `docs/skill.md` are those of the program."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from tests.platforms import up
from workbench.cli.tools import EXIT_CODES
from workbench.events import OutcomeKind

TEXT = (Path(__file__).parents[1] / "docs" / "skill.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ workbench (.+)$", TEXT, re.M)
SNIPPETS = re.findall(r"```python\n(.*?)```", TEXT, re.S)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The state folder of a platform that runs."""
    folder = tmp_path_factory.mktemp("skill") / "home"
    with up(folder, "--servers", "crm,payments"):
        yield folder


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.endswith("_API_KEY") and not k.startswith("WORKBENCH_")}
    command = [sys.executable, "-m", "workbench", "--home", str(home), *arguments]
    return subprocess.run(command, env=env, cwd=home, capture_output=True, text=True)


def test_every_outcome_stands_in_the_table_with_its_exit_code() -> None:
    told = {
        kind: int(code)
        for kinds, code in re.findall(r"^\| (`[^|]+) \| (\d+) \|", TEXT, re.M)
        for kind in re.findall(r"`(\w+)`", kinds)
    }
    assert set(told) == set(get_args(OutcomeKind)) - {"ok"}
    assert told == {kind: code for kind, code in EXIT_CODES.items() if kind != "ok"}


def test_the_page_begins_with_the_name_and_description_of_a_skill() -> None:
    _, front, _ = TEXT.split("---\n", 2)
    keys = dict(line.split(": ", 1) for line in front.splitlines())
    assert set(keys) == {"name", "description"}
    assert re.fullmatch(r"[a-z0-9-]{1,64}", keys["name"])
    assert len(keys["description"]) <= 1024


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_command_runs_and_a_destructive_one_waits_for_approval(home: Path) -> None:
    for command in COMMANDS:
        done = run(home, *shlex.split(command))
        assert done.returncode == (7 if "refund_payment" in command else 0), f"{command}\n{done.stderr}"
        if "--json" in command:
            json.loads(done.stdout)
    [refund] = [shlex.split(command) for command in COMMANDS if "refund_payment" in command]
    [waiting] = json.loads(run(home, "approvals", "--json").stdout)
    assert waiting["tool"] == "payments.refund_payment"
    assert run(home, "approvals", "approve", waiting["id"]).returncode == 0
    assert run(home, *refund).returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_snippets_run_and_the_same_call_succeeds_after_approval(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKBENCH_HOME", str(home))
    monkeypatch.chdir(home)
    opened, called, queried = SNIPPETS
    names: dict[str, object] = {}
    exec(opened, names)
    exec(called, names)
    result = names["result"]
    assert result.kind == "approval_required"  # type: ignore[attr-defined]
    approved = run(home, "approvals", "approve", result.outcome.details["approval"])  # type: ignore[attr-defined]
    assert approved.returncode == 0, approved.stderr
    exec(called, names)
    assert names["result"].ok  # type: ignore[attr-defined]
    exec(queried, names)
    failures = names["failures"]
    assert "payments.refund_payment" in set(failures["qualified"])  # type: ignore[index]
