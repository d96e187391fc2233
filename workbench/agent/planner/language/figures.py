"""Values as a person reads them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from workbench.agent.planner.language.lexicon import listed, split
from workbench.agent.planner.planner_data import lexicon
from workbench.events import JSON

_MONEY = frozenset(listed(lexicon().fields.money))


def shown(value: Any, key: str = "", currency: str = "") -> str:
    """One value as text; money with two digits, dates without needless clock times, long text cut."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and currency and split(key)[-1:] and split(key)[-1] in _MONEY:
        value = float(value)
    if isinstance(value, float):
        money = currency and split(key.rpartition(".")[2])[-1:] and split(key)[-1] in _MONEY
        text = (
            f"{value:,.2f}"
            if money or abs(value) >= 1000
            else f"{round(value, 4):g}"
            if abs(value) < 1
            else f"{round(value, 2):,.10g}"
        )
        return f"{text} {currency}".strip() if money else text
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        inner = ", ".join(shown(v) for v in value[:6])
        return inner + (f" and {len(value) - 6} more" if len(value) > 6 else "")
    if isinstance(value, dict):
        return ", ".join(f"{k} {shown(v)}" for k, v in list(value.items())[:6])
    text = str(value).strip()
    clock = re.fullmatch(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d)(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?", text)
    if clock:
        return clock[1] if clock[2] == "00:00" else f"{clock[1]} {clock[2]}"
    return text if len(text) <= 160 else text[:157].rstrip() + "…"


def label(key: str) -> str:
    """A field's name in words: `failure_reason` → `failure reason`."""
    return " ".join(split(key)).strip() or key


_RANKS = tuple((frozenset(listed(words)), place) for place, words in enumerate(lexicon().fields.salient, 1))


def salient(rows: Sequence[JSON], asked: Sequence[str], most: int = 6) -> list[str]:
    """The columns worth showing of many rows: an id, what the question asks for, a name, a status, money, a date."""
    keys: dict[str, None] = {}
    for row in rows[:20]:
        keys.update(dict.fromkeys(row))
    names = [k for k in keys if k != "currency" and any(r.get(k) not in (None, "", []) for r in rows[:20])]

    first = next((k for k in names if k.lower() == "id" or k.lower().endswith(("_id", "_number", "_key"))), "")

    def rank(key: str) -> tuple[int, int]:
        words = set(split(key.rpartition(".")[2]))
        if key in asked:
            return (0, list(asked).index(key))
        if key == first:
            return (1, 0)
        for group, place in _RANKS:
            if words & group and not key.lower().endswith("_id"):
                return (place + 1, names.index(key))
        numeric = any(isinstance(r.get(key), (int, float)) and not isinstance(r[key], bool) for r in rows[:5])
        return (9 if key.lower().endswith("_id") else 7 if numeric else 8, names.index(key))

    best = sorted(names, key=rank)
    chosen = [k for k in best if rank(k)[0] < 9][:most] or best[:most]
    return sorted(chosen, key=lambda k: (k != first, rank(k)))
