"""From what a server lists to the tools that we know: every page read, every definition checked."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from workbench.display_text import hidden_or_no_break, visible
from workbench.events import JSON, Tool, UnreachableError, canonical, digest
from workbench.json_values import MAX_DEFINITION_DEPTH, deeper_than, without_surrogates
from workbench.lookalikes import skeleton
from workbench.registry.connection import Connection
from workbench.registry.definitions.definition_texts import shown_texts
from workbench.registry.definitions.lenient_definition import ReadableDefinition, read_definition
from workbench.registry.definitions.name_checks import spelling
from workbench.registry.definitions.tool_names import safe_names
from workbench.registry.server import ServerSpec

MAX_PAGES = 500
MAX_TOOLS = 10_000
MAX_DEFINITION_BYTES = 256 << 10
MAX_ORIGINAL_NAME = 4096

PINNED = ("name", "title", "description", "inputSchema", "outputSchema", "annotations")
"""What a person or a model decides by, and what the definition hash is taken over."""

_SCOPE = re.compile(r"[a-z0-9_*-]+(:[a-z0-9_*-]+)*")


@dataclass
class ToolListing:
    """The tools of one server as last listed, and the definitions that were refused."""

    tools: list[Tool] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    """Name → why."""

    def refuse(self, name: str, why: str) -> None:
        """Note that a definition is left out; several of one name are told apart by a number."""
        shown = visible(name[:128].encode("utf-8", "replace").decode())
        key, number = shown, 1
        while key in self.refused:
            number += 1
            key = f"{shown} ({number})"
        self.refused[key] = why


async def list_tools(spec: ServerSpec, connection: Connection, timeout: float) -> ToolListing:
    """Ask for all pages and check every definition.

    Raises:
        UnreachableError: the server went away, or its pages never end.
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
            raise UnreachableError(f"Server {spec.id!r} answered tools/list without a list of tools.")
        definitions += found
        cursor = page.get("nextCursor")
        if len(definitions) > MAX_TOOLS:
            raise UnreachableError(f"Server {spec.id!r} lists more than {MAX_TOOLS} tools.")
        if not isinstance(cursor, str) or not cursor:
            return await asyncio.to_thread(read_definitions, spec, definitions)  # it may take a second
        if cursor in seen:  # some servers state a cursor on their last page as well: what it led to was read twice
            before = definitions[: len(definitions) - len(found)]
            definitions = before + [definition for definition in found if definition not in before]
            return await asyncio.to_thread(read_definitions, spec, definitions)
        seen.add(cursor)
        params = {"cursor": cursor}
    raise UnreachableError(f"Server {spec.id!r} lists its tools in pages that never end.")


def read_definitions(spec: ServerSpec, definitions: list[Any]) -> ToolListing:
    """Check definitions and make tools of those that may be shown, ordered by name."""
    listing = ToolListing()
    kept: dict[str, JSON] = {}
    readable: dict[str, ReadableDefinition] = {}
    for definition in definitions:
        name = definition.get("name") if isinstance(definition, dict) else None
        if not isinstance(name, str):
            why = "A tool definition has to be an object with a name that is text"
            given = definition.get("name") if isinstance(definition, dict) else definition
            listing.refuse(str(given), f"{why}; it is {type(given).__name__}. Ask the server's author to name it.")
        elif not spec.offers(name):
            continue  # its configuration hides it
        elif why := _objection(definition := _encodable(definition)):
            listing.refuse(name, why)
        elif name in kept:
            listing.refuse(name, "It is listed twice. The first of both is used.")
        elif why := (read := read_definition(definition)).never:
            listing.refuse(name, why)
        else:
            kept[name] = definition
            readable[name] = read
    names = safe_names(kept)
    resembling = _resembling(names.values())
    made = [_tool(spec, definition, readable[name], names[name], resembling) for name, definition in kept.items()]
    listing.tools = sorted(made, key=lambda tool: tool.name)
    return listing


def _encodable(definition: JSON) -> JSON:
    """A definition whose texts can be encoded; the name is left, since its server would not know another."""
    try:
        canonical(definition)
    except TypeError:
        return {**without_surrogates(definition), "name": definition["name"]}
    return definition


def _resembling(names: Collection[str]) -> dict[str, str]:
    """Name → another one of the same server for which it can be taken."""
    found: dict[str, str] = {}
    for form in (skeleton, spelling):
        groups: dict[str, list[str]] = {}
        for name in sorted(names):
            groups.setdefault(form(name), []).append(name)
        for first, *others in (same for same in groups.values() if len(same) > 1):
            found |= dict.fromkeys(others, first) | {first: others[0]}
    return found


def definition_hash(definition: JSON) -> str:
    """SHA-256 over the parts that are pinned, in canonical form."""
    return digest(pinned_parts(definition))


def pinned_parts(definition: JSON) -> JSON:
    """The parts of a definition whose change needs a person's eyes; an absent part and null are the same."""
    return {key: definition[key] for key in PINNED if definition.get(key) is not None}


def _objection(definition: JSON) -> str:
    """Why a definition is refused; empty if it is not."""
    if len(definition["name"]) > MAX_ORIGINAL_NAME:
        return f"Its name has more than {MAX_ORIGINAL_NAME:,} characters."
    if deeper_than(definition, MAX_DEFINITION_DEPTH):
        return f"Its definition is nested deeper than {MAX_DEFINITION_DEPTH} levels."
    try:
        text = canonical(definition)
    except TypeError as e:  # lone surrogates, integers beyond 64 bits
        return f"Its definition cannot be written as JSON: {e}."
    if len(text) > MAX_DEFINITION_BYTES:
        return f"Its definition has {len(text)} bytes; at most {MAX_DEFINITION_BYTES} are accepted."
    return ""


def _tool(
    spec: ServerSpec, definition: JSON, readable: ReadableDefinition, name: str, resembling: Mapping[str, str]
) -> Tool:
    original = definition["name"]
    return Tool(
        server=spec.id,
        name=name,
        title=visible(readable.title),
        description=visible(readable.description),
        input_schema=readable.input_schema,
        output_schema=readable.output_schema,
        annotations=readable.annotations,
        scopes=_scopes(spec, definition, readable.annotations),
        definition=definition,
        definition_hash=definition_hash(definition),
        repairs=readable.repairs,
        tenant=spec.tenant,
        original=None if name == original else original,
        notes=tuple(_notes(definition, name, resembling.get(name, ""))),
    )


def _notes(definition: JSON, name: str, resembles: str) -> Iterator[str]:
    """What a person should know of a tool before it is used."""
    original = definition["name"]
    if name != original:
        yield f"Its server calls it {visible(original[:200])!r}; here it is {name!r}."
    hidden = hidden_or_no_break(original)
    if hidden or original != original.strip():
        yield f"Its name has the hidden character {hidden}." if hidden else "Its name begins or ends with a blank."
    for where, text in shown_texts(definition):
        if hidden := hidden_or_no_break(text):
            yield f"Its {where} has the hidden character {hidden}."
            break
    if resembles:
        yield f"Its name resembles that of {resembles!r} on the same server."


def _scopes(spec: ServerSpec, definition: JSON, annotations: JSON) -> tuple[str, ...]:
    """What a caller must hold. Only our own servers may say so themselves: a label of a stranger could ask for less."""
    meta = definition.get("_meta")
    labels = meta.get("workbench/scopes") if isinstance(meta, dict) else None
    if spec.trust == "bundled" and isinstance(labels, list) and labels:
        if all(isinstance(s, str) and _SCOPE.fullmatch(s) for s in labels):
            return tuple(dict.fromkeys(labels))
        return ("*",)  # a label that cannot be read opens nothing
    return (f"{spec.id}:read" if annotations.get("readOnlyHint") is True else f"{spec.id}:write",)
