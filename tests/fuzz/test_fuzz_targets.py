"""Every fuzz target holds for its seeds, for what was found before, and for bytes that Hypothesis makes."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.__main__ import NAMES, SEEDS
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]


def test_every_target_has_seeds_and_a_name_on_the_command_line() -> None:
    assert set(NAMES) == set(TARGETS) == {folder.name for folder in SEEDS.iterdir()}
    assert all(any((SEEDS / name).iterdir()) for name in NAMES)


@pytest.mark.parametrize("seed", sorted(SEEDS.glob("*/*")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_seed_breaks_nothing(presidio: None, seed: Path) -> None:
    TARGETS[seed.parent.name](seed.read_bytes())


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"delimited"}))
@given(data=st.binary(max_size=300))
@settings(max_examples=40, deadline=None)
def test_any_bytes_break_nothing(presidio: None, name: str, data: bytes) -> None:
    TARGETS[name](data)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed (.venv/ci)")
def test_the_fuzzer_finds_an_input_that_breaks_a_target(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(
        "import sys, tests.fuzz.targets as t\n"
        "def sse(data):\n    assert data[:2] != b'id', 'planted'\n"
        "t.TARGETS['sse'] = sse\n"
        "from tests.fuzz.__main__ import _guided\n"
        "_guided('sse', 60, 1)\n"
    )
    command = [sys.executable, str(tmp_path / "broken.py")]
    ended = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=110
    )
    assert ended.returncode != 0
    assert "planted" in ended.stdout + ended.stderr
