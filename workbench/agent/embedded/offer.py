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

PER_PART = 4
"""Tools that are nearest to one part of the question."""


@dataclass(frozen=True)
class Offer:
    """One tool with the arguments that may be given now."""

    shape: Shape
    schema: JSON


def offers(question: Question, need: Need, shapes: Sequence[Shape], steps: Sequence[Step]) -> list[Offer]:
    """Which tools can be called now for one part, each with its narrowed schema.

    The nearest tools; for those that lack an id, the tools that find it; the tools over tables where nothing else is near.
    Tools that change something are offered for an order (`create …`) alone, and never those that may destroy.
    """
    pursuit = Pursuit(question, shapes, [])
    ranked = [s for _, s in pursuit.ranked(need)][:PER_PART]
    ready: list[Offer] = []
    finders: dict[str, Shape] = {}
    for shape in ranked:
        schema = narrowed(shape, question, need, shapes, steps)
        if schema is not None:
            ready.append(Offer(shape, schema))
        lacking = [p for p in shape.takes("id") if schema is None or p.name not in schema["properties"]]
        if schema is None or pursuit.unanchored(shape, need):
            for parameter in lacking:
                for producer, _ in pursuit.producers(parameter, shape, need)[:1]:
                    finders.setdefault(producer.name, producer)
    for finder in finders.values():
        schema = narrowed(finder, question, need, shapes, steps)
        if schema is not None and all(o.shape is not finder for o in ready) and not _used(finder, steps):
            ready.append(Offer(finder, schema))
    return ready + _tabular(question, need, shapes, steps, pursuit.explained(need))


def _used(shape: Shape, steps: Sequence[Step]) -> bool:
    """The tool has found something already: whatever it finds is among the values on offer."""
    return any(s.shape is not None and s.shape.name == shape.name and s.ok and not s.empty for s in steps)


def _tabular(
    question: Question, need: Need, shapes: Sequence[Shape], steps: Sequence[Step], explained: float
) -> list[Offer]:
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
                found.append(Offer(shape, schema))
    return found


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
    subject = [e.value for e in question.subject]
    required = [p.name for p in shape.parameters if p.required and p.name in properties]
    # what the question is about must not be left out, although the schema would allow it
    required += [
        p.name for p in shape.parameters
        if not p.required and p.name in properties and subject and p.role in ("id", "email", "query") and properties[p.name].get("enum")
    ][:1]  # fmt: skip
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
    if p.role in ("choice", "flag") and not p.required:
        values = _values(p, shape, question, need, steps)
        if not values:
            return None
        return {"type": "array", "items": {"enum": values}, "maxItems": 2} if p.type == "array" else {"enum": values}
    if p.role in ("query", "name") and (
        named := [e.value for e in need.about if e.kind in ("email", "quoted", "name", "id")]
    ):
        return {"enum": named}
    if p.role == "query" and not p.required and need.analytic:
        return None
    if p.role == "choice":
        return (
            {"enum": list(p.choices)}
            if p.type != "array"
            else {"type": "array", "items": {"enum": list(p.choices)}, "maxItems": 4}
        )
    if p.role == "flag":
        return {"type": "boolean"}
    if p.type in ("integer", "number") and not p.required:
        values = _values(p, shape, question, need, steps)
        return {"enum": values} if values else None
    if p.type in ("integer", "number"):
        bounds: JSON = {k: p.schema[k] for k in ("minimum", "maximum") if k in p.schema}
        return {"type": p.type, **bounds}
    if p.choices:
        return {"enum": list(p.choices)}
    if p.role == "other" and not p.required:
        return None
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
