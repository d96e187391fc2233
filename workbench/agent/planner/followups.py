"""Parts that ask on about what the part before them found: `… and where did it go`, `… and in which team are they`."""

from __future__ import annotations

import re
from dataclasses import replace

from workbench.agent.planner.answer.render_rows import asked_keys
from workbench.agent.planner.further_calls import NeedProgress
from workbench.agent.planner.language.entities import STRONG, Entity
from workbench.agent.planner.language.lexicon import MEASURING, close, listed
from workbench.agent.planner.language.question_parser import Need
from workbench.agent.planner.planner_data import lexicon, weights
from workbench.agent.planner.tables.table_columns import columns_of, match

_THING = re.compile(r"\b(?:it|its|that|they|their|them|he|she|his|her|him)\b", re.I)
_PERSON = re.compile(r"\b(?:they|their|them|he|she|his|her|him)\b", re.I)
_PLACES = (
    (rf"\bwhere\b.*\b(?:{'|'.join(listed(lexicon().questions.going))})\b", "destination dest to target"),
    (rf"\bwhere\b.*\b(?:{'|'.join(listed(lexicon().questions.leaving))})\b", "origin source from start"),
    (r"\bwhere\b", "city location place country address site"),
)


def told_already(need: Need, before: NeedProgress | None) -> bool:
    """The figure that is asked for stands in the ranking that answers the part before (`and how much is it`)."""
    if before is None or before.need.order not in ("desc", "asc") or not _follows(need):
        return False
    rest = [w for w in need.words if w not in MEASURING]
    return bool(re.search(r"\bhow (?:much|many)\b", need.text, re.I)) and len(rest) <= 1 and not need.by


def same_row(need: Need, before: NeedProgress | None) -> NeedProgress | None:
    """Another field of the one row that the part before found, or None."""
    if before is None or not _follows(need) or before.table is None or not before.table.order or not before.steps:
        return None
    rows = [r.fields for r in before.steps[-1].rows]
    if before.table.limit != 1 or len(rows) != 1:
        return None
    columns = columns_of(rows)
    keys = [f[0].name for f in match(need.words, columns) if f[1] >= weights().columns.grouped][:2]
    for pattern, names in _PLACES if not keys else ():
        if re.search(pattern, need.text, re.I):
            keys = [c.name for n in listed(names) for c in columns if any(close(n, w) for w in c.words)][:1]
            break
    if not keys and re.search(r"\bwhen\b", need.text, re.I):
        keys = [c.name for c in columns if c.type == "date"][:1]
    if not keys:
        return None
    table = replace(before.table, order="", fields=tuple(keys))
    return NeedProgress(need, steps=before.steps, table=table, names=before.names, periods=True)


def about_person(need: Need, before: NeedProgress | None) -> Need | None:
    """The need about the person that the part before found, when it says `they`; None when it says no such thing."""
    if before is None or not _PERSON.search(need.text) or not before.steps or not _follows(need):
        return None
    row = before.steps[-1].head
    if row is None:
        return None
    named = {e.value.lower() for e in before.need.about}
    for key in asked_keys(before.need, row.fields, row.noun):
        value = row.fields[key]
        if not isinstance(value, str) or value.lower() in named:
            continue
        if re.fullmatch(r"[A-Z][\w'.-]+(?: [A-Z][\w'.-]+){1,3}", value):
            return replace(need, entities=(Entity("name", value, (0, 0)),), inherited=())
    return None


def waits(need: Need, before: NeedProgress | None) -> bool:
    """The part before must be answered first."""
    asked = before is not None and bool(before.calls) and re.match(r"\s*who\b", before.need.text, re.I) is not None
    return asked and _PERSON.search(need.text) is not None and _follows(need)


def _follows(need: Need) -> bool:
    own = [e for e in need.entities if e.kind in STRONG or e.kind == "name"]
    return not own and need.kind == "ask" and _THING.search(need.text) is not None
