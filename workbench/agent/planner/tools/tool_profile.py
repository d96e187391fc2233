"""What a tool's definition says about it: its verb and nouns, what each parameter takes, and what comes back."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from workbench.agent.planner.language.lexicon import listed, split, stem, terms
from workbench.agent.planner.planner_data import lexicon
from workbench.events import JSON, Tool

Role = Literal[
    "email", "id", "query", "limit", "offset", "start", "end", "day", "time", "timezone", "choice", "flag",
    "min", "max", "path", "url", "name", "country", "number", "collection", "filters", "group", "metrics",
    "order", "sql", "fields", "text", "other",
]  # fmt: skip
Effect = Literal["read", "write", "destroy", "unknown"]

_DATA = lexicon().tools
_READ = frozenset(map(stem, listed(_DATA.read)))
_WRITE = frozenset(map(stem, listed(_DATA.write)))
_DESTROY = frozenset(map(stem, listed(_DATA.destroy)))


@dataclass(frozen=True)
class Parameter:
    """One argument of a tool."""

    name: str
    schema: JSON
    required: bool
    role: Role
    terms: tuple[str, ...]

    @property
    def type(self) -> str:
        """JSON type, null left out; empty when the schema names none."""
        kind = self.schema.get("type")
        if isinstance(kind, list):
            kind = next((k for k in kind if k != "null"), "string")
        return kind if isinstance(kind, str) else ""

    @property
    def choices(self) -> tuple[Any, ...]:
        """The values it may take, when the schema (or its items) says so."""
        source = self.schema.get("items") if self.type == "array" else self.schema
        found = source.get("enum") if isinstance(source, dict) else None
        if found is None and isinstance(source, dict) and "const" in source:
            found = [source["const"]]
        return tuple(found) if isinstance(found, list) else ()

    @property
    def description(self) -> str:
        """What the server says of it."""
        return str(self.schema.get("description") or "")

    @property
    def concept(self) -> tuple[str, ...]:
        """What an id identifies: `customer` for `customer_id`; empty for plain `id`."""
        return tuple(t for t in self.terms if t not in ("id", "uuid", "key", "identifi", "number", "ref", "code"))


@dataclass(frozen=True)
class ToolProfile:
    """A tool as the planner sees it."""

    tool: Tool
    name: str
    """The name under which the tool is offered."""
    parameters: tuple[Parameter, ...]
    nouns: tuple[str, ...]
    verbs: tuple[str, ...]
    effect: Effect
    returns: tuple[str, ...]
    """Keys of the output schema, at any depth."""

    @property
    def required(self) -> tuple[Parameter, ...]:
        """Parameters without which a call is refused."""
        return tuple(p for p in self.parameters if p.required)

    def takes(self, *roles: Role) -> tuple[Parameter, ...]:
        """Parameters of these roles, required ones first."""
        return tuple(sorted((p for p in self.parameters if p.role in roles), key=lambda p: not p.required))


def shape(tool: Tool, name: str = "", schema: Mapping[str, Any] | None = None) -> ToolProfile:
    """Read a definition. Never raises: what cannot be understood is left out.

    Args:
        tool: the tool as listed.
        name: the name it is offered under; default its qualified name.
        schema: the offered argument schema; default the tool's own.
    """
    source: Mapping[str, Any] = schema if isinstance(schema, Mapping) else tool.input_schema
    words = [stem(w) for w in split(tool.name)]
    verbs = tuple(w for w in words if w in _READ | _WRITE)
    nouns = tuple(t for t in terms(re.sub(r"[_\-.]", " ", tool.name)) if t not in verbs) or tuple(terms(tool.server))
    return ToolProfile(
        tool,
        name or tool.qualified,
        tuple(_parameters(source, tool)),
        nouns,
        verbs,
        _effect(tool, words),
        tuple(dict.fromkeys(_keys(tool.output_schema or {}, tool.output_schema or {}, 0))),
    )


def _effect(tool: Tool, words: list[str]) -> Effect:
    """Whether a call may change something. The server's word counts first, then the verbs."""
    if tool.read_only:
        return "read"
    if tool.destructive:
        return "destroy"
    said = tool.annotations.get("readOnlyHint")
    destroys, writes = any(w in _DESTROY for w in words), any(w in _WRITE for w in words)
    if said is False:
        return "destroy" if destroys and tool.annotations.get("destructiveHint") is not False else "write"
    if destroys:
        return "destroy"
    first = next((w for w in words if w in _READ | _WRITE), "")
    if first in _READ and not (writes and first in ("check", "head")):
        return "read"
    if writes:
        return "write"
    text = [stem(w) for w in split(tool.description)[:4]]
    if any(w in _READ or w in ("return", "provide") for w in text[:3]):
        return "read"
    return "write" if any(w in _WRITE for w in text[:3]) else "unknown"


def _parameters(schema: Mapping[str, Any], tool: Tool) -> Iterator[Parameter]:
    properties = schema.get("properties")
    needed = schema.get("required")
    if not isinstance(properties, Mapping):
        return
    required = set(map(str, needed)) if isinstance(needed, (list, tuple)) else set()
    for name, declared in properties.items():
        resolved = _plain(declared, schema, 0)
        items = _plain(resolved.get("items"), schema, 0)
        if items:
            inner = items.get("properties")
            if isinstance(inner, Mapping):
                items["properties"] = {k: _plain(v, schema, 0) for k, v in inner.items()}
            resolved["items"] = items
        yield Parameter(str(name), resolved, str(name) in required, _role(str(name), resolved, tool), terms(str(name)))


def _plain(declared: Any, root: Mapping[str, Any], depth: int) -> JSON:
    """A parameter's schema without `$ref` and without the null branch of `anyOf`; `{}` when it is no object."""
    if not isinstance(declared, Mapping) or depth > 6:
        return {}
    found = dict(declared)
    reference = found.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/"):
        target: Any = root
        for step in reference[2:].split("/"):
            target = target.get(step) if isinstance(target, Mapping) else None
        found = {**_plain(target, root, depth + 1), **{k: v for k, v in found.items() if k != "$ref"}}
    for key in ("anyOf", "oneOf", "allOf"):
        branches = found.get(key)
        if isinstance(branches, list):
            kept = [b for b in (_plain(b, root, depth + 1) for b in branches) if b and b.get("type") != "null"]
            if kept:
                outer = {k: v for k, v in found.items() if k != key and v is not None}
                found = {**kept[0], **outer}
    return found


def _keys(node: Any, root: Mapping[str, Any], depth: int) -> Iterator[str]:
    """Property names of an output schema, nested ones too."""
    if not isinstance(node, Mapping) or depth > 8:
        return
    node = _plain(node, root, 0)
    properties = node.get("properties")
    if isinstance(properties, Mapping):
        for name, inner in properties.items():
            yield str(name)
            yield from _keys(inner, root, depth + 1)
    yield from _keys(node.get("items"), root, depth + 1)
    yield from _keys(node.get("additionalProperties"), root, depth + 1)


_BY_FORMAT: dict[str, Role] = {
    "email": "email",
    "uri": "url",
    "url": "url",
    "uuid": "id",
    "date": "day",
    "date-time": "day",
    "time": "time",
}


_METRICS = frozenset(listed(_DATA.metrics))
_IDS = frozenset(listed(_DATA.ids))
_TEXTS = frozenset(listed(_DATA.texts))
_NAMED = frozenset(listed(_DATA.named))


@functools.lru_cache(maxsize=4_000)
def _word_role(name: str) -> Role:
    """The role that a parameter's name alone suggests."""
    w = split(name)
    s = set(w)
    last = w[-1] if w else ""
    limits = bool(s & {"limit", "count", "top", "n", "k", "size"}) and not s & {"min", "image"}
    tests: tuple[tuple[bool, Role], ...] = (
        (bool(s & {"email", "mail"}), "email"),
        (bool(s & {"timezone", "tz"}), "timezone"),
        ("sql" in s, "sql"),
        (bool(s) and s <= {"filter", "filters", "where", "conditions", "criteria"}, "filters"),
        (bool(s & {"group", "groupby", "dimension", "dimensions", "breakdown"}), "group"),
        (bool(s & _METRICS), "metrics"),
        (bool(s & {"sort", "order"}) and not s & {"id", "number", "status"}, "order"),
        (bool(s & {"columns", "fields", "select"}), "fields"),
        (last in _IDS or name.endswith(("Id", "ID")), "id"),
        (limits or s == {"max"} or ("max" in s and bool(s & {"results", "count", "rows", "items"})), "limit"),
        (bool(s & {"offset", "skip", "page", "cursor"}), "offset"),
        (bool(s & {"start", "since", "from", "after", "begin", "earliest"}), "start"),
        (bool(s & {"end", "until", "to", "before", "till", "latest"}), "end"),
        (bool(s & {"min", "minimum", "least"}), "min"),
        (bool(s & {"max", "maximum", "most"}), "max"),
        (bool(s & {"date", "day"}), "day"),
        (last == "time", "time"),
        (bool(s & {"path", "file", "filename", "directory", "folder", "filepath", "repo", "root"}), "path"),
        (bool(s & {"url", "uri", "link"}), "url"),
        (bool(s & {"table", "dataset", "collection", "sheet", "database", "view"}), "collection"),
        (bool(s & _TEXTS), "query"),
        (bool(s & {"country", "nation"}), "country"),
        (bool(s & _NAMED), "name"),
    )  # fmt: skip
    return next((role for hit, role in tests if hit), "other")


def _role(name: str, schema: JSON, tool: Tool) -> Role:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((k for k in kind if k != "null"), "")
    guess = _word_role(name)
    described = str(schema.get("description") or "").lower()
    if kind == "boolean":
        return "flag"
    items = schema.get("items")
    if kind == "array" and isinstance(items, Mapping) and guess in ("filters", "metrics", "group", "order", "fields"):
        return guess
    if schema.get("enum") or (kind == "array" and isinstance(items, Mapping) and items.get("enum")):
        return guess if guess in ("group", "metrics", "order") else "choice"
    if schema.get("format") in _BY_FORMAT and guess not in ("start", "end"):
        return _BY_FORMAT[str(schema["format"])]
    if (
        "sql" in described
        and guess in ("query", "other", "text")
        and re.search(r"\bsql\b.*\b(query|statement|select)|\bselect\b", described)
    ):
        return "sql"
    if guess in ("start", "end") and (kind in ("integer", "number", "boolean") or "timezone" in described):
        return "number" if kind in ("integer", "number") else "timezone"
    if (
        "timezone" in described
        and guess in ("other", "time", "name")
        and "iana" in described
        and kind != "boolean"
        and guess != "time"
    ):
        return "timezone"
    if guess == "other" and kind in ("integer", "number"):
        return "number"
    if guess in ("other", "name") and "email" in described and kind == "string" and "query" not in name:
        return "email" if re.match(r"\W*(the\s+)?(\w+'?s?\s+)?e-?mail", described) else guess
    if kind in ("integer", "number") and guess in ("name", "query", "path", "collection", "email"):
        return "number"
    return guess
