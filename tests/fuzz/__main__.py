"""Coverage-guided fuzzing of the parsers: `python -m tests.fuzz [--seconds N] [TARGET ...]`.

Each target runs in a process of its own, guided by atheris (libFuzzer), from the seeds in `tests/fuzz/seeds/TARGET/`.
An input that breaks a target is written to the working folder as `crash-…`; put it beside the seeds when it is fixed,
and `tests/fuzz/test_fuzz_targets.py` tries it for ever. Exit status: 0 nothing found, 1 something found, 2 usage.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

NAMES = ("delimited", "env_file", "jsonrpc", "mcp_json", "redaction", "rego_document", "sse")
SEEDS = Path(__file__).parent / "seeds"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", default=NAMES, help=f"of {', '.join(NAMES)}")
    parser.add_argument("--seconds", type=int, default=60, help="how long each target runs")
    parser.add_argument("--seed", type=int, default=1, help="of the random generator; 0 takes the clock's")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if unknown := sorted(set(given.targets) - set(NAMES)):
        parser.error(f"unknown target {unknown[0]!r}; expected one of {', '.join(NAMES)}")
    if given.child:
        return _guided(given.targets[0], given.seconds, given.seed)
    found = []
    for name in given.targets:
        command = [sys.executable, "-m", "tests.fuzz", "--child", "--seconds", str(given.seconds)]
        ended = subprocess.run([*command, "--seed", str(given.seed), name], capture_output=True, text=True)
        lines = ended.stderr.splitlines()
        runs = next((line.split()[1] for line in lines if line.startswith("Done ")), "?")
        print(f"{name:<14} {runs:>9} runs  {'ok' if ended.returncode == 0 else 'FOUND'}", flush=True)
        if ended.returncode:
            found.append(name)
            print("\n".join([*ended.stdout.splitlines()[-30:], *lines[-40:]]))
    print(f"{len(given.targets) - len(found)} passed, {len(found)} failed")
    return bool(found)


def _guided(name: str, seconds: int, seed: int) -> int:
    import atheris

    with atheris.instrument_imports(include=["workbench", "servers"]):  # so that they report which branches are taken
        from tests.fuzz.targets import TARGETS

    target = atheris.instrument_func(TARGETS[name])
    with tempfile.TemporaryDirectory(prefix="workbench-corpus-") as corpus:
        if (SEEDS / name).is_dir():
            shutil.copytree(SEEDS / name, corpus, dirs_exist_ok=True)
        options = [f"-max_total_time={seconds}", f"-seed={seed}", "-max_len=4096", "-timeout=20", "-rss_limit_mb=3000"]
        atheris.Setup([sys.argv[0], *options, corpus], target)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
