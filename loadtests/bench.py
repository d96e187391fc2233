"""Every benchmark, one after another: `make bench`, or `python -m loadtests.bench [NAME …]`.

Prints one table and writes `bench-results.json`. A benchmark is a module `bench_<name>.py` in this folder with
`main(json_path=None)`, which writes a list of rows `{"name", "value", "unit", "target", "ok"}`. Each runs in a process
of its own, so that none inherits another's warm caches. A missed target is shown, and is no failure of the run.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ORDER = (
    *("start", "gateway", "governed", "clients", "lists", "stdio", "peers", "pauses", "policy", "audit", "registry"),
    "questions",
)


def available() -> list[str]:
    """Names of all benchmarks, in the order in which they run."""
    found = {p.stem.removeprefix("bench_") for p in HERE.glob("bench_*.py")}
    return [n for n in ORDER if n in found] + sorted(found - {*ORDER})


def run(name: str) -> list[dict[str, Any]]:
    """The rows of one benchmark; a crash is a row, too."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="workbench-bench-") as folder:
        out = Path(folder) / "rows.json"
        code = f"from loadtests import bench_{name}; bench_{name}.main(json_path={str(out)!r})"
        finished = subprocess.run([sys.executable, "-c", code], cwd=HERE.parent, check=False)
        rows = json.loads(out.read_text(encoding="utf-8")) if out.exists() else []
    if finished.returncode != 0 or not rows:
        rows.append({"name": f"{name} crashed", "value": finished.returncode, "unit": "", "target": "", "ok": False})
    print(f"  ({name}: {time.monotonic() - began:.0f} s)\n", file=sys.stderr)
    return [{"benchmark": name, **row} for row in rows]


def show(rows: list[dict[str, Any]]) -> None:
    """The table."""
    line = "{:<10} {:<78} {:>12} {:<8} {:<14} {}"
    print(line.format("benchmark", "figure", "value", "unit", "target", "met"))
    for row in rows:
        value = row["value"]
        text = (
            "-" if value is None else f"{value:,.3f}" if isinstance(value, float) and abs(value) < 100 else f"{value:,}"
        )
        met = {True: "yes", False: "NO", None: ""}[row.get("ok")]
        print(line.format(row["benchmark"], row["name"], text, row["unit"], str(row.get("target") or ""), met))


def main(names: list[str]) -> None:
    """Run the named benchmarks, or all."""
    unknown = set(names) - {*available()}
    if unknown:
        sys.exit(f"No benchmark {', '.join(sorted(unknown))}. There are {', '.join(available())}.")
    rows = [row for name in names or available() for row in run(name)]
    show(rows)
    result = {
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {platform.system()} {platform.release()}",
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "rows": rows,
    }
    path = HERE.parent / "bench-results.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"\n{len(rows)} figures in {path.name}", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
