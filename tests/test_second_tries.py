"""A run in which more than three tests need a second try fails, in one process and in several."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLAKY = """
import pathlib, pytest

@pytest.mark.parametrize("number", range({tests}))
def test_it(number):
    tried = pathlib.Path(__file__).with_name(f"tried-{{number}}")
    if not tried.exists():
        tried.touch()
        raise AssertionError
"""


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize(("tests", "code"), [(3, 0), (4, 1)])
def test_a_run_has_three_second_tries(tests: int, code: int, workers: str, tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]")
    (tmp_path / "test_flaky.py").write_text(FLAKY.format(tests=tests))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "pytest_rerunfailures", "-p", "xdist.plugin", "-p", "tests.second_tries",
         "-p", "no:cacheprovider", "--reruns", "1", "-n", workers, str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )  # fmt: skip
    assert f"{tests} passed" in done.stdout
    assert f"{tests} rerun" in done.stdout
    assert ("4 tests needed a second try" in done.stdout) is bool(code)
    assert done.returncode == code
