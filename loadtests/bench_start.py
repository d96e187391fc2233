"""How long a person waits: importing the package, the help text, from `workbench up` to the first answer.

`python -m loadtests.bench_start`; the time with packages downloading is `--fresh`, which makes a new environment.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
QUESTION = (
    "Customer john.smith@acme.com says their subscription renewal failed last week. What is their account status, "
    "do they have any open support tickets, and what does their payment history look like?"
)


def timed(command: list[str], runs: int) -> float:
    """Median wall seconds of a whole process, after one warm-up."""
    times = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def imports(runs: int) -> list[dict[str, Any]]:
    """Import and help, each beside an empty interpreter so that its share can be seen."""
    python = timed([sys.executable, "-c", "pass"], runs)
    package = timed([sys.executable, "-c", "import workbench"], runs)
    help_text = timed([sys.executable, "-m", "workbench", "--help"], runs)
    return [
        row("python -c pass", python, "s"),
        row("import workbench", package, "s", 0.3),
        row("workbench --help", help_text, "s", 0.4),
    ]


def first_answer(
    python: str, home: Path, label: str, target: float, began: float | None = None
) -> list[dict[str, Any]]:
    """From starting the platform to an answer; then, warm, from the request to the first step."""
    began = began or time.perf_counter()
    env = {k: v for k, v in os.environ.items() if not k.endswith("_API_KEY")} | {"WORKBENCH_HOME": str(home)}
    up = subprocess.Popen(
        [python, "-m", "workbench", "up", "--port", "auto"], env=env, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert up.stdout is not None
        url = token = ""
        for line in up.stdout:
            url = m[1] if (m := re.search(r"MCP endpoint\s+(\S+)/mcp", re.sub(r"\x1b\[\d*m", "", line))) else url
            token = m[1] if (m := re.search(r"bearer token\s+(\S+)", line)) else token
            if token:
                break
        up_seconds = time.perf_counter() - began
        ask(url, token)
        answered = time.perf_counter() - began
        steps = [ask(url, token)[0] for _ in range(5)]
    finally:
        stopping = time.perf_counter()
        up.send_signal(signal.SIGINT)
        up.communicate()
        stopped = time.perf_counter() - stopping
    return [
        row(f"{label}: calls can be answered", up_seconds, "s"),
        row(f"{label}: first question answered", answered, "s", target),
        row("warm platform: first step streamed", statistics.median(steps), "s", 1.0),
        row("Ctrl-C to the end of all processes", stopped, "s", 5.0),
    ]


def ask(url: str, token: str) -> tuple[float, str]:
    """Seconds to the first tool step, and the answer."""
    began = time.perf_counter()
    body = json.dumps({"question": QUESTION, "provider": "planner", "stream": True}).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(url + "/api/platform/query", body, headers)
    first, answer = 0.0, ""
    with urllib.request.urlopen(request) as response:
        for line in response:
            if not line.startswith(b"data: "):
                continue
            event = json.loads(line[6:])
            if event.get("event") == "ToolAsked" and not first:
                first = time.perf_counter() - began
            answer = event.get("answer", answer)
    if not answer:
        raise SystemExit("The question was not answered.")
    return first, answer


def fresh(home: Path) -> list[dict[str, Any]]:
    """`make up` in a copy of the project without an environment: packages are installed first."""
    with tempfile.TemporaryDirectory(prefix="workbench-fresh-") as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        began = time.perf_counter()
        subprocess.run(["make", "-s", ".venv/runtime"], cwd=clone, check=True, stdout=subprocess.DEVNULL)
        return first_answer(str(clone / ".venv/bin/python"), home, "fresh clone", 60.0, began)[:2]


def row(name: str, value: float, unit: str, target: float | None = None) -> dict[str, Any]:
    return {
        "name": name, "value": round(value, 3), "unit": unit,
        "target": f"≤ {target:g}" if target else "", "ok": None if target is None else value <= target,
    }  # fmt: skip


def main(json_path: str | None = None, *, runs: int = 7, with_fresh: bool = False) -> list[dict[str, Any]]:
    """Measure and print; rows also go to `json_path`."""
    rows = imports(runs)
    with tempfile.TemporaryDirectory(prefix="workbench-start-") as folder:
        rows += first_answer(sys.executable, Path(folder) / "home", "set up", 8.0)
        if with_fresh:
            rows += fresh(Path(folder) / "fresh")
    for r in rows:
        print(f"{r['name']:<44} {r['value']:>8.3f} {r['unit']:<3} {r['target']}")
    if json_path:
        Path(json_path).write_text(json.dumps(rows), encoding="utf-8")
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--fresh", action="store_true", help="also from a fresh clone, with packages downloading")
    given = parser.parse_args()
    main(runs=given.runs, with_fresh=given.fresh)
