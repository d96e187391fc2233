"""Files of the state folder that several processes may write at the same moment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from workbench.config import prepare_home

REPLACES = """
import sys
from pathlib import Path
from workbench.audit.format.folder import replace_durably
for n in range(300):
    replace_durably(Path(sys.argv[1]), sys.argv[2].encode() * 1000)
"""
PREPARES = """
import sys
from pathlib import Path
from workbench.config import prepare_home
for n in range(300):
    prepare_home(Path(sys.argv[1]) / str(n))
"""


def both(script: str, *arguments: tuple[str, ...]) -> None:
    """Run the script twice at once; both have to end well."""
    started = [
        subprocess.Popen([sys.executable, "-c", script, *each], stderr=subprocess.PIPE, text=True) for each in arguments
    ]
    for process in started:
        _, said = process.communicate(timeout=50)
        assert process.returncode == 0, said


def test_two_processes_replace_one_file_and_it_is_always_whole(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pub"
    both(REPLACES, (str(path), "a"), (str(path), "b"))
    assert path.read_bytes() in {b"a" * 1000, b"b" * 1000}
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pub"]


def test_two_processes_prepare_one_state_folder(tmp_path: Path) -> None:
    both(PREPARES, (str(tmp_path),), (str(tmp_path),))
    assert prepare_home(tmp_path / "0") == tmp_path / "0"
