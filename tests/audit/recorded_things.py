"""Records of every kind, from a seed, for tests that compare answers."""

from __future__ import annotations

import random
from typing import Any

from workbench.audit.format import records
from workbench.events import Call, Caller, Decision, Outcome, RunDone, RunStarted, Tool, TurnDone, Usage, now_us

HOUR_US = 3_600_000_000
_TOOLS = ("crm.find", "crm.update", "payments.refund", "files.read")
_TEXTS = ("smith", 'quote " and \\ back', "naïve ☃ text", "", "null\0inside", "a,b\nnext line", "'; drop table x; --")


def things(seed: int, count: int) -> list[tuple[str, dict[str, Any]]]:
    """So many records with their tenants, spread over the last day."""
    dice = random.Random(seed)
    made: list[tuple[str, dict[str, Any]]] = []
    for number in range(count):
        tenant = dice.choice(("acme", "rival"))
        caller = Caller(tenant=tenant, subject=dice.choice(("ann", "bob", _TEXTS[dice.randrange(7)] or "eve")))
        made += [
            (tenant, {**record, "timestamp": now_us() - dice.randrange(20 * HOUR_US)})
            for record in _of_each_kind(dice, number, tenant, caller)
        ]
    return made


def _of_each_kind(dice: random.Random, number: int, tenant: str, caller: Caller) -> list[dict[str, Any]]:
    server, _, name = dice.choice(_TOOLS).partition(".")
    kind = dice.choice(("ok", "ok", "ok", "tool_error", "denied", "timeout"))
    arguments = {"q": dice.choice(_TEXTS), "n": dice.randrange(100)}
    call = Call(
        caller=caller, tool=f"{server}.{name}", arguments=arguments, run=f"run-{number // 3}" if number % 3 else "",
        step=str(number),
    )  # fmt: skip
    decision = Decision(
        allow=kind != "denied", rule=dice.choice(("scopes", "limits")),
        missing_scopes=("crm:write", 'a "b", {c}\\')[: number % 3],
    )  # fmt: skip
    outcome = Outcome(
        kind=kind, call=call.id, tool=call.tool, server=server, message="" if kind == "ok" else dice.choice(_TEXTS),
        latency_us=10 * dice.randrange(1, 10**6),  # half a hundredth of a millisecond is rounded in two ways
        upstream_us=dice.randrange(10**5), decision=decision,
    )  # fmt: skip
    tool = Tool(server=server, name=name)
    usage = Usage(input_tokens=dice.randrange(5000), output_tokens=dice.randrange(900), cost_usd=dice.random() / 50)
    started = RunStarted(
        run=f"run-{number}", question=dice.choice(_TEXTS), provider=dice.choice(("planner", "openai")), model="m",
        is_llm=bool(number % 2), why="it was asked for",
    )  # fmt: skip
    done = RunDone(
        run=started.run, status=dice.choice(("answered", "failed")), answer=dice.choice(_TEXTS),
        turns=dice.randrange(5), calls=dice.randrange(9), usage=usage, elapsed_us=dice.randrange(10**7),
    )  # fmt: skip
    load = {"id": f"load-{number // 4}", "profile": "smoke", "users": 5, "requests": 9, "failures": 1}
    request = {
        "run": load["id"], "name": call.tool, "ok": bool(dice.randrange(4)), "latency_us": dice.randrange(10**6),
        "timestamp": now_us(), "message": "",
    }  # fmt: skip
    approval = {
        "id": f"approval-{number // 2}", "call": call.id, "tool": call.tool, "subject": caller.subject,
        "status": "pending", "decided_by": "boss" if number % 2 else "", "note": dice.choice(_TEXTS),
    }  # fmt: skip
    labels = {"server": server, "outcome": kind}
    event = dice.choice(("started", "ready", "down", "tools_changed"))
    result = {"content": [{"type": "text", "text": dice.choice(_TEXTS)}]}
    return [
        records.call(call, tool, outcome, args_redacted=arguments, response_redacted=result),
        records.intent(call, tool, args_redacted=arguments),
        records.run(started, done, caller, source="cli"),
        records.turn(TurnDone(run=started.run, turn=1, stop="end", usage=usage, elapsed_us=5), caller, "openai", "m"),
        records.registry_event(server, event, {"signals": ["imperative"]} if number % 5 == 0 else {}, tenant=tenant),
        records.access_event("token_issued", {"client": "c"}, tenant=tenant, subject=caller.subject),
        records.access_event(
            "credential refused",
            {"address": "203.0.113.9", "door": "mcp", "credential": "mk_a", "reason": "unknown", "throttled": False},
            tenant=tenant,
            subject="",
        ),
        records.health_check(server, bool(dice.randrange(5)), dice.randrange(10**5), "", tenant=tenant),
        records.approval(approval, ("requested", "approved")[number % 2], tenant=tenant),
        records.metric("workbench_calls_total", float(number), labels, tenant=tenant, type="counter"),
        records.load_run(load, tenant),
        records.load_request(request, tenant),
        records.administration("sql", {"sql": dice.choice(_TEXTS)}, caller, tenant=tenant),
    ]
