"""What governing one call costs: who, may they, how often, and what must not leave or be kept.

`python -m loadtests.bench_policy [--rounds N]`. Medians of single operations in one thread; the input of every round is
new where something would otherwise be remembered, and each figure says which it is.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from workbench.access import Access
from workbench.config import Settings
from workbench.events import Call, Caller, Tool
from workbench.policy import Policy

Row = dict[str, Any]
COLUMNS = ("email", "phone", "ssn")
FIND = Tool(
    server="crm",
    name="search_customers",
    scopes=("crm:read",),
    annotations={"readOnlyHint": True},
    definition={"_meta": {"workbench/pii": {"email": "email", "phone": "phone"}}},
    definition_hash="d1",
)
DELETE = Tool(
    server="crm",
    name="delete_customer",
    scopes=("crm:read",),
    annotations={"destructiveHint": True},
    definition_hash="d2",
)


def row(name: str, value: float, target: float | None = None, unit: str = "µs") -> Row:
    """One figure; without a target it is there to compare with."""
    return {
        "name": name,
        "value": round(value, 3),
        "unit": unit,
        "target": "" if target is None else f"≤ {target:g} {unit}",
        "ok": None if target is None else value <= target,
    }


def median(operation: Callable[[int], object], rounds: int) -> float:
    """Median microseconds of `operation(i)` over `rounds`, after a tenth of them to warm up."""
    times = []
    for i in range(rounds + rounds // 10):
        began = time.perf_counter_ns()
        operation(i)
        times.append(time.perf_counter_ns() - began)
    return statistics.median(times[rounds // 10 :]) / 1000


def access_rows(settings: Settings, rounds: int) -> Iterator[Row]:
    """Verifying a key: remembered, and read from the database."""
    access = Access(settings)
    headers = [f"Bearer {access.create_key(f'u{i}', roles=('employee',))[1]}" for i in range(220)]
    yield row("key read from the database", median(lambda i: access.authenticate(headers[i]), 200))
    yield row("key remembered", median(lambda i: access.authenticate(headers[0]), rounds), 2)
    access.close()


def token_rows(settings: Settings, rounds: int) -> Iterator[Row]:
    """Verifying an access token, as the gateway does it: remembered, and by its signature."""
    access = Access(settings.replace(port="8800", oauth_server=True))
    assert access.issuer is not None
    client, _ = access.issuer.clients.add("bench", tenant="acme", now_us=0, roles=("employee",))

    def header(i: int) -> str:
        token, _ = access.issuer.access_token(  # type: ignore[union-attr]
            subject=f"u{i}", client=client.id, tenant="acme", roles=("employee",), scopes=("crm:read",),
            resources=("http://127.0.0.1:8800/mcp",), seconds=3600,
        )  # fmt: skip
        return f"Bearer {token}"

    def verify(authorization: str) -> None:
        try:  # a coroutine that need not wait ends at its first step
            access.authenticate_async(authorization, "crm").send(None)
        except StopIteration:
            return
        raise SystemExit("A token was not verified at once.")

    headers = [header(i) for i in range(550)]
    yield row("token verified by its signature, looked up as not revoked", median(lambda i: verify(headers[i]), 500))
    yield row("token remembered", median(lambda i: verify(headers[0]), rounds), 2)
    access.close()


def decision_rows(policy: Policy, scopes: frozenset[str], rounds: int) -> Iterator[Row]:
    """Deciding: for a caller never seen before, and again."""
    callers = [Caller(tenant="acme", subject=f"u{i}", roles=("employee",), scopes=scopes) for i in range(rounds * 2)]
    calls = [Call(caller=c, tool=FIND.qualified, arguments={"query": "smith", "limit": 20}) for c in callers]
    yield row("decision in full, guard and Rego", median(lambda i: policy.decide(calls[i], FIND), rounds), 250)
    yield row("decision, caller and tool known", median(lambda i: policy.decide(calls[0], FIND), rounds), 5)
    yield row("tool shown in a list, known", median(lambda i: policy.visible(callers[0], FIND), rounds))
    used = {"calls_last_minute": 3}
    with_usage = median(lambda i: policy.decide_by_rules(calls[0], FIND, usage=used), rounds)
    yield row("decision with usage held against the quota in Rego", with_usage, 250)
    yield row("rate and quota check", median(lambda i: policy.limits.check(callers[0], FIND), rounds), 20)


def customers(i: int, *, personal: bool, text: bool) -> dict[str, Any]:
    """About 1 KB of result, different for every `i`."""
    rows = [
        {
            "id": f"C-{i}{k}",
            "name": "Jane Doe",
            "status": "active",
            "plan": "professional",
            "since": f"2026-05-{k + 10}T10:15:00Z",
            "mrr": 99.5,
            **({"email": f"jane{i}@acme.com", "phone": f"415-867-{i % 9000 + 1000}"} if personal else {"seats": 12}),
            "note": f"renewal {i} failed last week, retry scheduled",
        }
        for k in range(5 if personal else 6)
    ]
    if text:
        rows[0]["note"] = f"called from (415) 867-{i % 9000 + 1000}, wants mail to jane.doe{i}@example.com"
    return {"customers": rows, "total": len(rows)}


def redaction_rows(policy: Policy, rounds: int) -> Iterator[Row]:
    """Taking personal data out of a result, and of what is kept."""
    redactor = policy.redactor
    redactor.warm()
    while not redactor.ready and not redactor.problem:
        time.sleep(0.01)
    made = rounds + rounds // 10
    kinds = {
        "hits in columns and text": ([customers(i, personal=True, text=True) for i in range(made)], 200.0),
        "hits in columns": ([customers(i, personal=True, text=False) for i in range(made)], 200.0),
        "no hits": ([customers(i, personal=False, text=False) for i in range(made)], 40.0),
    }
    for name, (values, target) in kinds.items():
        size = f"{len(json.dumps(values[0])) / 1000:.1f} KB"

        def result(i: int, values: list[Any] = values) -> object:
            return redactor.result(values[i], COLUMNS, "acme")

        def record(i: int, values: list[Any] = values) -> object:
            return redactor.record(values[i], "acme")

        yield row(f"result of {size}, {name}", median(result, rounds), target)
        yield row(f"record of {size}, {name}", median(record, rounds))
    large = {"pages": [customers(i, personal=False, text=False) for i in range(1000)]}
    size = f"{len(json.dumps(large)) / 1e6:.1f} MB"
    yield row(f"record of {size}, no hits", median(lambda i: redactor.record(large, "acme"), 10) / 1000, None, "ms")


def approval_rows(policy: Policy, scopes: frozenset[str], rounds: int) -> Iterator[Row]:
    """A human's yes, each step durable on disk."""
    owner = Caller(tenant="acme", subject="ann", roles=("owner",), scopes=frozenset({"*"}))
    caller = Caller(tenant="acme", subject="bob", scopes=scopes)
    calls = [Call(caller=caller, tool=DELETE.qualified, arguments={"id": i}, source="mcp") for i in range(rounds * 2)]
    desk = policy.approvals
    steps: dict[str, list[float]] = {"asked for": [], "decided": [], "used up": []}
    for call in calls[:rounds]:
        at = [time.perf_counter_ns()]
        approval = desk.request(call, DELETE)
        at.append(time.perf_counter_ns())
        desk.decide(approval.id, True, owner, via="app")
        at.append(time.perf_counter_ns())
        if not desk.consume(approval.id, call, DELETE):
            raise SystemExit("An approved call was not let through.")
        at.append(time.perf_counter_ns())
        for name, before, after in zip(steps, at, at[1:], strict=False):
            steps[name].append(after - before)
    for name, times in steps.items():
        yield row(f"approval {name}", statistics.median(times) / 1000)


def load_rows(policy: Policy) -> Iterator[Row]:
    """Compiling the rules, as on every change of a file."""
    yield row("rules read, checked and compiled", median(lambda i: policy.reload(), 20) / 1000, None, "ms")


def main(json_path: str | None = None, *, rounds: int = 2000) -> list[Row]:
    """Measure, print a table, and write the rows to `json_path` if given."""
    with tempfile.TemporaryDirectory(prefix="bench-policy-") as folder:
        settings = Settings.load(env={}, cwd=Path(folder), home=Path(folder) / "home", rate_per_minute=rounds * 3)
        policy = Policy(settings)
        scopes = Access(settings).roles.scopes(("employee",))
        rows = [
            *access_rows(settings, rounds),
            *token_rows(settings, rounds),
            *decision_rows(policy, scopes, rounds),
            *redaction_rows(policy, max(rounds // 4, 50)),
            *approval_rows(policy, scopes, 50),
            *load_rows(policy),
        ]
        policy.close()
    for each in rows:
        verdict = {True: "yes", False: "NO", None: ""}[each["ok"]]
        print(f"{each['name']:<62} {each['value']:>12,.3f} {each['unit']:<3} {each['target']:<10} {verdict}")
    if json_path is not None:
        Path(json_path).write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2000)
    main(rounds=parser.parse_args(sys.argv[1:]).rounds)
