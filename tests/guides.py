"""Runs the blocks of a page of `docs/tutorials/` or `docs/how-to/` from top to bottom, as a reader would.

A page is followed in an empty folder with one state folder in it. What a block is, its language says, or a comment in
the line above it, which readers of the rendered page do not see:

| comment | the block |
|---|---|
| none | `sh` and `python` are run and have to succeed; `json` and `toml` have to parse |
| `<!-- exit 7 -->` | `sh` that ends with this exit code |
| `<!-- background -->` | `sh` that starts a platform, which runs until the next such block, a stop, or the end |
| `<!-- file NAME -->` | is written to this file |
| `<!-- patch NAME -->` | a diff that is applied to this file |
| `<!-- output -->` | text, each line of which the block before it printed, blanks apart; `…` stands for anything |
| `<!-- not run: REASON -->` | is not run |

`<!-- stop -->` by itself stops the platform, as Ctrl-C does. Variables of the shell are kept from block to block.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import workbench
from tests import platforms
from tests.waiting import soon
from workbench.platform.run_file import find_running

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted([*(DOCS / "tutorials").glob("*.md"), *(DOCS / "how-to").glob("*.md")])
URL = "http://127.0.0.1:8800"
"""The gateway's address in the pages; the one that is running has a free port."""
SECONDS = 300
"""Longest time of one block."""
NEVER_RUN = ("text", "mermaid")
_PART = re.compile(
    r"^(?:<!-- (?P<alone>stop) -->|(?:<!-- (?P<comment>.+?) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```)$",
    re.M | re.S,
)


@dataclass(frozen=True)
class Block:
    """One block of a page, or `stop` by itself."""

    language: str
    text: str
    action: str
    """First word of the comment; empty without one."""
    argument: str
    line: int

    @property
    def skipped(self) -> bool:
        """Whether the page says that it is not run."""
        return self.action == "not"


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    text, found = page.read_text(encoding="utf-8"), []
    for part in _PART.finditer(text):
        action, _, argument = (part["alone"] or part["comment"] or "").partition(" ")
        found.append(
            Block(part["language"] or "", part["text"] or "", action, argument, text.count("\n", 0, part.start()) + 1)
        )
    fences = len(re.findall(r"^ *```", text, re.M))
    assert fences == 2 * sum(block.action != "stop" for block in found), f"{page.name}: not every block is found"
    return found


class Reader:
    """Somebody who follows a page in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / ".workbench"
        self._variables = folder.with_name(f"{folder.name}.variables")
        self._printed = ""
        self._platform: subprocess.Popen[str] | None = None

    def follow(self, block: Block) -> None:
        """Do what one block shows."""
        text = block.text
        if running := find_running(self.home):
            text = text.replace(URL, running.url)
        match block.action, block.language:
            case "stop", _:
                self.stop()
            case "not", _:
                assert block.argument.startswith("run: "), block
            case "file", _:
                path = self.folder / block.argument
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            case "patch", "diff":
                path = self.folder / block.argument
                path.write_text(patched(path.read_text("utf-8"), text), encoding="utf-8")
            case "output", "text":
                for line in text.splitlines():
                    wanted = ".*".join(re.escape(" ".join(part.split())) for part in line.split("…"))
                    assert re.search(wanted, re.sub(r"[ \t]+", " ", self._printed)), (
                        f"not printed: {line}\n\n{self._printed}"
                    )
            case "background", "sh":
                self.stop()
                self._start(text)
            case (("" | "exit"), "sh"):
                self._run(["bash", "-c", self._script(text)], int(block.argument or 0))
            case "", "python":
                script = self.folder.with_name("block.py")
                script.write_text(text, encoding="utf-8")
                self._run(["bash", "-c", self._script(f"python {shlex.quote(str(script))}")], 0)
            case "", "json":
                json.loads(text)
            case "", "toml":
                tomllib.loads(text)
            case "", language:
                assert language in NEVER_RUN, f"nothing is known of {language!r} without a comment"
            case _:
                raise AssertionError(f"nothing is known of {block.action!r} with {block.language!r}")

    def stop(self) -> None:
        """End the platform that a block started."""
        if self._platform is not None:
            os.killpg(self._platform.pid, signal.SIGINT)
            self._platform.wait(platforms.STOP_SECONDS)
            self._platform = None

    def _script(self, text: str, *, keep: bool = True) -> str:
        """`text` as a script that begins with the variables of the blocks before it, exported ones and others."""
        kept = shlex.quote(str(self._variables))
        trap = f"trap 'declare -p | grep -v \"^declare -[a-z]*r\" > {kept}' EXIT\n" if keep else ""
        return f"[ ! -e {kept} ] || . {kept} 2>/dev/null\nset -eu -o pipefail\n{trap}{text}"

    def _run(self, command: list[str], code: int) -> None:
        done = subprocess.run(
            command, cwd=self.folder, env=self._environment(), capture_output=True, text=True, timeout=SECONDS
        )
        self._printed = done.stdout + done.stderr
        assert done.returncode == code, f"exit code {done.returncode}, expected {code}:\n{self._printed}"

    def _start(self, text: str) -> None:
        with (self.folder / "up.log").open("w", encoding="utf-8") as log:
            self._platform = subprocess.Popen(
                ["bash", "-c", self._script(text, keep=False)],
                cwd=self.folder,
                env=self._environment(),
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        platforms.wait_for(self.home, self._platform, self.folder / "up.log")
        with workbench.open(home=self.home, attach=True) as wb:  # a slow machine announces it before its servers are up
            soon(lambda: all(server.status != "starting" for server in wb.servers()), SECONDS)
        self._printed = (self.folder / "up.log").read_text(encoding="utf-8")

    def _environment(self) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.endswith("_API_KEY") and not k.startswith("WORKBENCH_")}
        return {
            **clean,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), clean["PATH"]]),
            "HOME": str(self.folder),
            "WORKBENCH_PORT": "auto",
            "WORKBENCH_APP": "false",
            "WORKBENCH_PROVIDER": "planner",
            "COLUMNS": "200",
        }


def patched(text: str, diff: str) -> str:
    """`text` with every hunk of `diff` in the one place where it fits."""
    for hunk in diff.split("@@\n"):
        lines = hunk.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if not line.startswith("+"))
        assert text.count(before) == 1, before
        text = text.replace(before, "".join(line[1:] for line in lines if not line.startswith("-")))
    return text
