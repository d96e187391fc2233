"""What the small model is offered in one turn: few tools, and for each argument only values that can be meant.

A model of this size routes well and invents ids. Therefore an id, an address, a table or a column may only be one that
stands in the question or in an earlier result; a tool whose required id is not known yet is not on offer. Which tool is
called, and with which of the values, the model decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workbench.agent.planner.language.question_parser import Need, ParsedQuestion
from workbench.agent.planner.question_plan import QuestionPlan
from workbench.agent.planner.tables.table_questions import described_columns, table_names
from workbench.agent.planner.tables.table_tools import TableTools, kits
from workbench.agent.planner.tools.argument_values import FilledArguments
from workbench.agent.planner.tools.fill_arguments import fill
from workbench.agent.planner.tools.tool_profile import Parameter, ToolProfile
from workbench.agent.planner.tools.tool_records import FinishedCall
from workbench.events import JSON, canonical

MAX_PER_PART = 4
"""Tools that are nearest to one part of the question."""


@dataclass(frozen=True)
class ToolOffer:
    """One tool with the arguments that may be given now."""

    shape: ToolProfile
    schema: JSON


def offers(
    question: ParsedQuestion, need: Need, shapes: Sequence[ToolProfile], steps: Sequence[FinishedCall]
) -> list[ToolOffer]:
    """Which tools can be called now for one part, each with its narrowed schema.

    The nearest tools; for those that lack an id, the tools that find it; tools over tables where nothing else is near.
    Tools that change something are offered for an order (`create …`) alone, and never those that may destroy.
    """
    ranking = QuestionPlan(question, shapes, []).ranking
    ranked = [s for _, s in ranking.ranked(need)][:MAX_PER_PART]
    ready: list[ToolOffer] = []
    finders: dict[str, ToolProfile] = {}
    for shape in ranked:
        schema = narrowed(shape, question, need, shapes, steps)
        adrift = ranking.unanchored(shape, need)
        if adrift and any(ranking.producers(p, shape, need) for p in shape.takes("id")):
            schema = schema if _anchored(schema, shape) else None  # without the id it would answer for everyone
        if schema is not None:
            ready.append(ToolOffer(shape, schema))
        lacking = [p for p in shape.takes("id") if schema is None or p.name not in schema["properties"]]
        if schema is None or adrift:
            for parameter in lacking:
                for producer, _ in ranking.producers(parameter, shape, need)[:1]:
                    finders.setdefault(producer.name, producer)
    for finder in finders.values():
        schema = narrowed(finder, question, need, shapes, steps)
        if schema is not None and all(o.shape is not finder for o in ready) and not _used(finder, steps):
            ready.append(ToolOffer(finder, schema))
    return ready + _tabular(question, need, shapes, steps, ranking.explained(need))


def served(question: ParsedQuestion, need: Need, shapes: Sequence[ToolProfile], steps: Sequence[FinishedCall]) -> bool:
    """A call that is near to the part itself, and not only finds an id for others, has returned something."""
    near = {s.name for _, s in QuestionPlan(question, shapes, []).ranking.ranked(need)[:MAX_PER_PART]}
    for kit in kits(shapes):
        near |= {s.name for s in (kit.aggregator, kit.counter, kit.finder, kit.sql) if s}
    return any(s.ok and not s.empty and s.shape is not None and s.shape.name in near for s in steps)


def learning(shapes: Sequence[ToolProfile], steps: Sequence[FinishedCall]) -> list[FinishedCall]:
    """The calls that only taught which tables and columns there are."""
    names = {s.name for kit in kits(shapes) for s in (kit.lister, kit.describer) if s}
    return [s for s in steps if s.shape is not None and s.shape.name in names]


def _anchored(schema: JSON | None, shape: ToolProfile) -> bool:
    return schema is not None and any(p.name in schema["properties"] for p in shape.takes("id", "email"))


def suggestion(
    question: ParsedQuestion, need: Need, shapes: Sequence[ToolProfile], steps: Sequence[FinishedCall]
) -> str:
    """How the planner would put the part to a table, as a call in JSON; empty where it would not."""
    found = QuestionPlan(question, shapes, steps).pursue(need).calls
    tabular = {p.name for c in found[:1] for p in c.shape.parameters if p.role in ("filters", "metrics", "collection")}
    if not found or not tabular:
        return ""
    return f'{{"tool": "{found[0].shape.tool.qualified}", "arguments": {canonical(found[0].arguments).decode()}}}'


def _used(shape: ToolProfile, steps: Sequence[FinishedCall]) -> bool:
    """The tool has found something already: whatever it finds is among the values on offer."""
    return any(s.shape is not None and s.shape.name == shape.name and s.ok and not s.empty for s in steps)


def _tabular(
    question: ParsedQuestion, need: Need, shapes: Sequence[ToolProfile], steps: Sequence[FinishedCall], explained: float
) -> list[ToolOffer]:
    """Tools over tables: listing first, then describing, then asking."""
    if explained >= 0.99:
        return []
    found = []
    for kit in kits(shapes):
        named, columns = table_names(kit, steps), described_columns(kit, steps)
        stage = (
            [kit.lister] if not named else [kit.describer] if not columns else [kit.aggregator, kit.counter, kit.finder]
        )
        for shape in stage:
            schema = narrowed(shape, question, need, shapes, steps) if shape else None
            if shape and schema is not None:
                found.append(ToolOffer(shape, schema))
    return found


def narrowed(
    shape: ToolProfile,
    question: ParsedQuestion,
    need: Need,
    shapes: Sequence[ToolProfile],
    steps: Sequence[FinishedCall],
) -> JSON | None:
    """The tool's schema with every argument narrowed to what can be meant; None while a required one has no value."""
    kit = next((k for k in kits(shapes) if k.server == shape.tool.server), None)
    properties: JSON = {}
    filled = fill(shape, need, question, steps)
    for p in shape.parameters:
        allowed = _allowed(p, filled, question, need, steps, kit)
        if allowed is not None:
            properties[p.name] = allowed
        elif p.required:
            return None
    for p in shape.takes("query"):
        if not p.required and any(q.name in properties for q in shape.takes("email", "id")):
            properties.pop(p.name, None)  # the exact argument says it all
    subject = [e.value for e in question.subject]
    required = [p.name for p in shape.parameters if p.required and p.name in properties]
    # what the question is about must not be left out, although the schema would allow it
    required += [
        p.name for p in shape.parameters
        if not p.required and p.name in properties and subject and p.role in ("id", "email", "query")
        and "enum" in (properties[p.name].get("items") or properties[p.name])
    ][:1]  # fmt: skip
    # with the tool's own limit it would see a first page and take it for all
    required += [p.name for p in shape.takes("limit") if p.name in properties and p.name not in required]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _allowed(
    p: Parameter,
    filled: FilledArguments,
    question: ParsedQuestion,
    need: Need,
    steps: Sequence[FinishedCall],
    kit: TableTools | None,
) -> JSON | None:
    """The schema of one argument now, or None when it may not be given."""
    if p.role in ("offset", "fields", "sql"):
        return None
    if p.role == "collection" and kit:
        names = table_names(kit, steps)
        return {"enum": names} if names else None
    if p.role in ("filters", "metrics", "group", "order") and kit:
        return _columned(p, described_columns(kit, steps))
    if p.choices and (p.required or (p.role == "group" and need.analytic)):
        return _listed(p, list(p.choices))
    if p.name in filled.arguments:
        value = filled.arguments[p.name]
        found = value if isinstance(value, list) else [value, *filled.others.get(p.name, [])]
        return _listed(p, found)
    if not p.required:
        return None
    if p.type in ("integer", "number"):
        return {"type": p.type, **{k: p.schema[k] for k in ("minimum", "maximum") if k in p.schema}}
    # an id, an address or a place that nothing has named yet would only be invented
    free = p.role in ("query", "text", "other", "name") and p.type in ("string", "")
    return {"type": "string", "maxLength": 80} if free else None


def _listed(p: Parameter, values: list[Any]) -> JSON:
    return {"type": "array", "items": {"enum": values}, "maxItems": 4} if p.type == "array" else {"enum": values}


def settled(schema: JSON) -> JSON:
    """The arguments of a schema that leaves no choice; empty when it leaves some."""
    single = {name: part["enum"][0] for name, part in schema["properties"].items() if len(part.get("enum", ())) == 1}
    return single if len(single) == len(schema["properties"]) else {}


def _columned(p: Parameter, columns: list[str]) -> JSON | None:
    """A table parameter with the columns that are known; None before any table was described."""
    if not columns:
        return None
    items = p.schema.get("items")
    if p.type == "array" and isinstance(items, dict) and isinstance(items.get("properties"), dict):
        inner = dict(items["properties"])
        for key in inner:
            if key in ("column", "field", "name"):
                inner[key] = {"enum": columns}
            elif key in ("value", "values"):
                inner[key] = {"anyOf": [{"type": "string", "maxLength": 60}, {"type": "number"}]}
            else:
                inner[key] = {"enum": inner[key]["enum"]} if inner[key].get("enum") else {"type": "string"}
        return {
            "type": "array",
            "items": {"type": "object", "properties": inner, "required": list(inner), "additionalProperties": False},
            "maxItems": 3,
        }
    if p.type == "array":
        return {"type": "array", "items": {"enum": columns}, "maxItems": 2}
    return {"enum": columns} if p.type in ("string", "") and not p.choices else None
