"""From what a server lists to the tools that we know: every page read, every definition checked."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from workbench.events import JSON, Tool, Unreachable, canonical, digest
from workbench.registry.connection import Connection
from workbench.registry.names import TOOL_NAME, hidden_character, skeleton
from workbench.registry.server import ServerSpec

MAX_PAGES = 500
MAX_TOOLS = 10_000
MAX_DEFINITION_BYTES = 256 << 10
MAX_DEPTH = 64
"""Deepest nesting of a schema; validators and models choke on more."""

PINNED = ("name", "title", "description", "inputSchema", "outputSchema", "annotations")
"""What a person or a model decides by, and what the definition hash is taken over."""

_SCOPE = re.compile(r"[a-z0-9_*-]+(:[a-z0-9_*-]+)*")


@dataclass
class Listing:
    """The tools of one server as last listed, and the definitions that were refused."""

    tools: list[Tool] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    """Name → why."""


async def list_tools(spec: ServerSpec, connection: Connection, timeout: float) -> Listing:
    """Ask for all pages and check every definition.

    Raises:
        Unreachable: the server went away, or its pages never end.
        RpcError: it has no tools to list, or refuses to.
        TimeoutError: a page took longer than `timeout` seconds.
    """
    definitions: list[Any] = []
    params: JSON = {}
    seen: set[str] = set()
    for _ in range(MAX_PAGES):
        page = await connection.request("tools/list", params, timeout=timeout)
        found = page.get("tools")
        if not isinstance(found, list):
            raise Unreachable(f"Server {spec.id!r} answered tools/list without a list of tools.")
        definitions += found
        cursor = page.get("nextCursor")
        if len(definitions) > MAX_TOOLS:
            raise Unreachable(f"Server {spec.id!r} lists more than {MAX_TOOLS} tools.")
        if not isinstance(cursor, str) or not cursor:
            return read_definitions(spec, definitions)
        if cursor in seen:
            break
        seen.add(cursor)
        params = {"cursor": cursor}
    raise Unreachable(f"Server {spec.id!r} lists its tools in pages that never end.")


def read_definitions(spec: ServerSpec, definitions: list[Any]) -> Listing:
    """Check definitions and make tools of those that may be shown, ordered by name."""
    listing = Listing()
    seen: dict[str, str] = {}  # every form that a name can be taken for → the name
    named = [(d.get("name") if isinstance(d, dict) else None, d) for d in definitions]
    for name, definition in sorted(named, key=lambda pair: str(pair[0])):
        if not isinstance(name, str) or not isinstance(definition, dict):
            listing.refused[str(name)[:128]] = "A tool definition has to be an object with a name."
            continue
        why = _objection(definition)
        forms = {skeleton(name), name.casefold()} if not why else set()
        if like := next((seen[f] for f in forms if f in seen), ""):
            why = "It is listed twice." if like == name else f"Its name can be taken for that of {like!r}."
        if why:
            listing.refused[name[:128].encode("utf-8", "replace").decode()] = why
        else:
            seen.update(dict.fromkeys(forms, name))
            listing.tools.append(_tool(spec, definition))
    return listing


def definition_hash(definition: JSON) -> str:
    """SHA-256 over the parts that are pinned, in canonical form."""
    return digest(pinned_parts(definition))


def pinned_parts(definition: JSON) -> JSON:
    """The parts of a definition whose change needs a person's eyes; an absent part and null are the same."""
    return {key: definition[key] for key in PINNED if definition.get(key) is not None}


def _objection(definition: JSON) -> str:
    """Why a definition is refused; empty if it is not."""
    name = definition["name"]
    if not TOOL_NAME.fullmatch(name):
        return "Its name has characters outside A-Z a-z 0-9 _ . - or is longer than 128."
    if _depth(definition) > MAX_DEPTH:
        return f"Its definition is nested deeper than {MAX_DEPTH} levels."
    for key, kind, must in (
        ("title", str, False),
        ("description", str, False),
        ("inputSchema", dict, True),
        ("outputSchema", dict, False),
        ("annotations", dict, False),
        ("_meta", dict, False),
    ):
        value = definition.get(key)
        if (must or value is not None) and not isinstance(value, kind):
            return f"Its {key} is {type(value).__name__}; expected {kind.__name__}."
    try:
        text = canonical(definition)
    except TypeError as e:  # lone surrogates, integers beyond 64 bits
        return f"Its definition cannot be written as JSON: {e}."
    if len(text) > MAX_DEFINITION_BYTES:
        return f"Its definition has {len(text)} bytes; at most {MAX_DEFINITION_BYTES} are accepted."
    hidden = hidden_character(text.decode()) or hidden_character(
        f"{definition.get('title') or ''}{definition.get('description') or ''}"
    )
    if hidden:
        return f"It contains the hidden character {hidden}."
    return ""


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level and depth <= MAX_DEPTH:
        depth += 1
        inner = [v.values() if isinstance(v, dict) else v for v in level if isinstance(v, dict | list)]
        level = [child for children in inner for child in children]
    return depth


def _tool(spec: ServerSpec, definition: JSON) -> Tool:
    annotations = definition.get("annotations") or {}
    return Tool(
        server=spec.id,
        name=definition["name"],
        title=definition.get("title") or str(annotations.get("title") or ""),
        description=definition.get("description") or "",
        input_schema=definition["inputSchema"],
        output_schema=definition.get("outputSchema"),
        annotations=annotations,
        scopes=_scopes(spec, definition, annotations),
        definition=definition,
        definition_hash=definition_hash(definition),
        tenant=spec.tenant,
    )


def _scopes(spec: ServerSpec, definition: JSON, annotations: JSON) -> tuple[str, ...]:
    """What a caller must hold. Only our own servers may say so themselves: a label of a stranger could ask for less."""
    labels = (definition.get("_meta") or {}).get("workbench/scopes")
    if spec.trust == "bundled" and isinstance(labels, list) and labels:
        if all(isinstance(s, str) and _SCOPE.fullmatch(s) for s in labels):
            return tuple(dict.fromkeys(labels))
        return ("*",)  # a label that cannot be read opens nothing
    return (f"{spec.id}:read" if annotations.get("readOnlyHint") is True else f"{spec.id}:write",)
