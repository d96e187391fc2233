"""A script that forgets to close its workbench."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_script_that_does_not_close_its_workbench_ends_all_the_same(tmp_path: Path) -> None:
    home = str(tmp_path / "home")
    script = (
        "import workbench\n"
        f"wb = workbench.open(home={home!r}, attach=False, servers=('crm',))\n"
        "print(len(wb.tools()) > 0)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=45)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "True", "")
