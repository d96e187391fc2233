"""A run of tests that is ended by SIGTERM leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import soon

ROOT = Path(__file__).parents[1]
SERVED = """
import pathlib, threading
import pytest

HERE = pathlib.Path(__file__).parent


@pytest.fixture(scope="session")
def server():
    (HERE / "started").touch()
    yield
    (HERE / "stopped").touch()


def test_waits(server):
    threading.Event().wait()
"""


@pytest.mark.slow
def test_fixtures_are_torn_down_when_a_run_is_ended_by_sigterm(tmp_path: Path) -> None:
    (tmp_path / "test_served.py").write_text(SERVED, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    run = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", "-p", "tests.termination", "-p", "no:cacheprovider", "--noconftest",
         "-c", tmp_path / "pytest.ini", tmp_path / "test_served.py"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    soon(lambda: (tmp_path / "started").exists() or run.poll() is not None, 50)
    run.send_signal(signal.SIGTERM)
    said, _ = run.communicate(timeout=50)
    assert run.returncode == 128 + signal.SIGTERM, said
    assert (tmp_path / "stopped").exists(), said
