"""What the small model is offered in one turn: few tools, and for each argument only values that can be meant.

A model of this size routes well and invents ids. Therefore an id, an address, a table or a column may only be one that
stands in the question or in an earlier result; a tool whose required id is not known yet is not on offer. Which tool is
called, and with which of the values, the model decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.agent.planner.filling import Filler
from workbench.agent.planner.pursuit import Pursuit
from workbench.agent.planner.question import Need, Question
from workbench.agent.planner.records import Step, linked
from workbench.agent.planner.shapes import Parameter, Shape
from workbench.agent.planner.tablekit import Kit, kits
from workbench.agent.planner.tables import described_columns, table_names
from workbench.events import JSON

MOST_TOOLS = 9
"""Tools named in the prompt of one question."""
PER_PART = 4
"""Tools that are nearest to one part of the question."""


@dataclass(frozen=True)
class Offer:
    """One tool with the arguments that may be given now."""

    shape: Shape
    schema: JSON


def chosen(question: Question, shapes: Sequence[Shape]) -> list[Shape]:
    """The tools for a question, the same in every turn of it: nearest to its parts, and those that find their ids."""
    pursuit = Pursuit(question, shapes, [])
    safe = [s for s in pursuit.shapes if s.effect == "read"]
    if len(safe) <= MOST_TOOLS:
        return safe
    found: dict[str, Shape] = {}
    for need in question.needs:
        ranked = [s for _, s in pursuit.ranked(need)][:PER_PART]
        for shape in ranked:
            found.setdefault(shape.name, shape)
            for parameter in shape.takes("id"):
                for producer, _ in pursuit.producers(parameter, shape, need)[:1]:
                    found.setdefault(producer.name, producer)
        if not ranked:
            for kit in kits(shapes):
                for tool in (kit.lister, kit.describer, kit.aggregator, kit.counter, kit.finder):
                    if tool:
                        found.setdefault(tool.name, tool)
    return list(found.values())[:MOST_TOOLS]


def offers(question: Question, need: Need, shapes: Sequence[Shape], steps: Sequence[Step]) -> list[Offer]:
    """Which of the tools can be called now for one part, each with its narrowed schema."""
    result = []
    for shape in shapes:
        schema = narrowed(shape, question, need, shapes, steps)
        if schema is not None:
            result.append(Offer(shape, schema))
    return result


def narrowed(
    shape: Shape, question: Question, need: Need, shapes: Sequence[Shape], steps: Sequence[Step]
) -> JSON | None:
    """The tool's schema with every argument narrowed to what can be meant; None when a required one has no value yet."""
    kit = next((k for k in kits(shapes) if k.server == shape.tool.server), None)
    properties: JSON = {}
    for p in shape.parameters:
        allowed = _allowed(p, shape, question, need, steps, kit)
        if allowed is not None:
            properties[p.name] = allowed
        elif p.required:
            return None
    required = [p.name for p in shape.required]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _allowed(
    p: Parameter, shape: Shape, question: Question, need: Need, steps: Sequence[Step], kit: Kit | None
) -> JSON | None:
    if p.role in ("offset", "fields", "sql"):
        return None
    if p.role == "collection" and kit:
        names = table_names(kit, steps)
        return {"enum": names} if names else None
    if p.role in ("filters", "metrics", "group", "order") and kit:
        return _columned(p, described_columns(kit, steps))
    if p.role == "limit" and not need.top:
        return None
    if p.role in ("start", "end", "day") and not any(n.periods for n in question.needs):
        return None
    if p.role in ("id", "email", "start", "end", "day", "path", "url", "timezone", "country", "time", "collection"):
        values = _values(p, shape, question, need, steps)
        return (
            {"type": "array", "items": {"enum": values}, "maxItems": 4}
            if values and p.type == "array"
            else {"enum": values}
            if values
            else None
        )
    if p.role == "choice":
        return (
            {"enum": list(p.choices)}
            if p.type != "array"
            else {"type": "array", "items": {"enum": list(p.choices)}, "maxItems": 4}
        )
    if p.role == "flag":
        return {"type": "boolean"}
    if p.type in ("integer", "number"):
        bounds: JSON = {k: p.schema[k] for k in ("minimum", "maximum") if k in p.schema}
        return {"type": p.type, **bounds}
    if p.choices:
        return {"enum": list(p.choices)}
    return {"type": "string", "maxLength": 80} if p.type in ("string", "") else None


def _values(p: Parameter, shape: Shape, question: Question, need: Need, steps: Sequence[Step]) -> list[object]:
    """Values of the question and of earlier results that fit the parameter."""
    found: list[object] = []
    if p.role == "id":
        focus = [e.value for e in question.entities]
        found += linked(steps, p.concept or shape.nouns, p.name, focus, "integer" if p.type == "integer" else "")[:8]
    for part in (need, *question.needs):
        filler = Filler(shape, part, question, steps)
        for _ in range(4):
            value = filler.value(p)
            if value is None or value in found:
                break
            found.append(value)
    return found


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
