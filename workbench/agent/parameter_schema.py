"""JSON Schema of a tool's arguments, brought into the form that every provider takes without losing what it says.

MCP allows all of JSON Schema 2020-12 (and in practice draft 7); the providers allow an object at the root and dislike
`$schema`, `$ref` and boolean schemas in different ways. The translation only ever widens: what the tool accepts stays
expressible. The tool's own schema stays the judge of the arguments (`Arguments.check`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from workbench.events import JSON, canonical
from workbench.registry.schemas.validator import compile_schema

MAX_DEPTH = 60
"""Levels of a schema that a model is shown, below `json_values.MAX_DEPTH` of the arguments that it writes; deeper ones
are offered as "anything"."""
MAX_INLINED = 200
"""More references than this in one schema are kept as references, so that sharing cannot explode."""

PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
"""What every provider takes as the name of a parameter."""

_MAPS = ("properties", "patternProperties", "dependentSchemas")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_SINGLES = (
    "items",
    "additionalProperties",
    "contains",
    "not",
    "if",
    "then",
    "else",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
    "additionalItems",
)
_DROPPED = ("$schema", "$id", "$anchor", "$dynamicAnchor", "$comment", "$vocabulary", "$defs", "definitions")
_TYPES = ("string", "number", "integer", "boolean", "object", "array", "null")
_ANNOTATIONS = {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"}
_AT_ROOT = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "enum", "const", "dependentSchemas")
"""Keywords that OpenAI and Anthropic refuse at the root of a tool's schema, or cannot be expressed beside them."""


def normalise(schema: Any) -> JSON:
    """`schema` as an object schema that OpenAI, Anthropic, Gemini and OpenAI-compatible servers take.

    References are inlined unless they are recursive, draft 7's tuple `items` become `prefixItems`, arrays get `items`,
    and alternatives at the root are folded into one set of properties (the exact rule is then told in the description).
    Sources: MCP 2025-11-25 §Tools, JSON Schema 2020-12, and the function-calling guides of the three providers.
    """
    if not isinstance(schema, dict):
        return {"type": "object", "properties": {}}
    walk = _Walk(schema)
    root = _fold_root(walk.schema(schema, ("#",), 0))
    kind = root.pop("type", "object")
    result: JSON = {"type": "object" if kind != "object" else kind, "properties": root.pop("properties", {}), **root}
    if walk.named:
        result["$defs"] = walk.definitions()
    return result


def const_as_enum(schema: JSON) -> JSON:
    """`schema` (normalised) with each `const` as an `enum` of one value, for providers that do not read `const`."""

    def convert(node: Any) -> Any:
        if not isinstance(node, dict):
            return node
        found = _each_subschema(node, convert)
        if "const" in found and "enum" not in found:
            found["enum"] = [found.pop("const")]
        return found

    converted: JSON = convert(schema)
    if "$defs" in converted:
        converted["$defs"] = {name: convert(node) for name, node in converted["$defs"].items()}
    return converted


def rename_parameters(schema: JSON) -> tuple[JSON, dict[str, str]]:
    """`schema` with parameter names that every provider takes, and the map from those to the server's names.

    Only top-level parameters are renamed, and only where a name breaks `PARAMETER`.
    """
    properties: JSON = schema.get("properties", {})
    given: dict[str, str] = {}
    for name in properties:
        if PARAMETER.fullmatch(name):
            continue
        safe = re.sub(r"[^A-Za-z0-9_]", "_", name)
        safe = safe if PARAMETER.fullmatch(safe) and safe not in properties and safe not in given.values() else ""
        given[name] = safe or "p_" + re.sub(r"[^A-Za-z0-9_]", "_", name)[:52] + "_" + _short_hash(name)
    if not given:
        return schema, {}
    changed = {key: value for key, value in schema.items() if key not in ("dependentSchemas", "dependentRequired")}
    changed["properties"] = {given.get(name, name): value for name, value in properties.items()}
    if "required" in schema:
        changed["required"] = [given.get(name, name) for name in schema["required"]]
    return changed, {safe: name for name, safe in given.items()}


class Arguments:
    """Judges arguments by the tools' own schemas, before anything is sent to the gateway.

    Compiled validators are kept by the schema's content. References to other documents are never fetched.
    """

    def __init__(self) -> None:
        self._validators: dict[bytes, Any] = {}

    def check(self, schema: JSON, arguments: JSON) -> list[JSON]:
        """What is wrong with `arguments`, at most five: `path`, `message`, `schema_path`. Empty when nothing is.

        A schema that is itself broken judges nothing here; the gateway decides about such a tool.
        """
        key = canonical(schema)
        if key not in self._validators:
            try:
                self._validators[key] = compile_schema(schema)
            except ValueError:
                self._validators[key] = None
        validator = self._validators[key]
        if validator is None:
            return []
        wrong: list[JSON] = []
        for error in validator.iter_errors(arguments):
            path = "/".join(str(part) for part in error.instance_path)
            wrong.append({"path": path, "message": error.message, "schema_path": [str(p) for p in error.schema_path]})
            if len(wrong) == 5:
                break
        return wrong


class _Walk:
    """Rewrites one schema document; keeps what has to stay a reference."""

    def __init__(self, document: JSON) -> None:
        self.document = document
        self.named: dict[str, str] = {}
        self.inlined = 0

    def schema(self, node: Any, inside: tuple[str, ...], depth: int) -> JSON:
        """`node` rewritten; `inside` holds the references that are being inlined around it."""
        if node is False:
            return {"not": {}}
        if not isinstance(node, dict) or depth > MAX_DEPTH:
            return {}
        if isinstance(node.get("$ref"), str):
            return self._reference(node, inside, depth)
        kept = {key: value for key, value in node.items() if key not in _DROPPED}
        if isinstance(kept.get("items"), list):  # draft 7: a tuple, and what may follow it
            kept["prefixItems"] = kept.pop("items")
            if "additionalItems" in kept:
                kept["items"] = kept.pop("additionalItems")
        _split_dependencies(kept)
        _mend(kept)

        def rewrite(child: Any) -> Any:
            return child if isinstance(child, bool) else self.schema(child, inside, depth + 1)

        done = _each_subschema(kept, rewrite)
        for key in _MAPS:
            if key in done:  # a boolean is no schema to any provider, except for additionalProperties and the like
                done[key] = {name: _as_object(child) for name, child in done[key].items()}
        for key in (*_LISTS, "items"):
            if key in done:
                value = done[key]
                done[key] = [_as_object(child) for child in value] if isinstance(value, list) else _as_object(value)
        kind = done.get("type")
        if (kind == "array" or (isinstance(kind, list) and "array" in kind)) and "prefixItems" not in done:
            done.setdefault("items", {})
        return done

    def _reference(self, node: JSON, inside: tuple[str, ...], depth: int) -> JSON:
        pointer = node["$ref"]
        siblings = {key: value for key, value in node.items() if key != "$ref" and key not in _DROPPED}
        target = self._resolve(pointer)
        if target is None:  # outside this document: nobody fetches it, so it says nothing
            return self.schema(siblings, inside, depth + 1)
        if pointer in inside or pointer in self.named or self.inlined >= MAX_INLINED:
            self.named.setdefault(pointer, _definition_name(pointer, self.named))
            body: JSON = {"$ref": f"#/$defs/{self.named[pointer]}"}
        else:
            self.inlined += 1
            body = self.schema(target, (*inside, pointer), depth + 1)
        if not siblings:
            return body
        if "$ref" not in body and siblings.keys() <= _ANNOTATIONS:
            return {**body, **siblings}
        return {"allOf": [body, self.schema(siblings, inside, depth + 1)]}

    def _resolve(self, pointer: str) -> Any:
        """The subschema that a local reference means, or None."""
        if pointer in ("#", ""):
            return self.document
        if not pointer.startswith("#/"):
            return _find_anchor(self.document, pointer[1:], 0) if pointer.startswith("#") else None
        node: Any = self.document
        for part in pointer[2:].split("/"):
            key = part.replace("~1", "/").replace("~0", "~").replace("%25", "%").replace("%24", "$")
            if isinstance(node, dict) and key in node:
                node = node[key]
            elif isinstance(node, list) and key.isdigit() and int(key) < len(node):
                node = node[int(key)]
            else:
                return None
        return node if isinstance(node, dict | bool) else None

    def definitions(self) -> JSON:
        """What the kept references mean. Rewriting a definition may name further ones."""
        done: JSON = {}
        while missing := [pointer for pointer in self.named if self.named[pointer] not in done]:
            for pointer in missing:
                done[self.named[pointer]] = self.schema(self._resolve(pointer), (pointer,), 0)
        return done


def _each_subschema(node: JSON, rewrite: Any) -> JSON:
    """A copy of `node` with `rewrite` applied to every direct subschema. Data (`enum`, `default`…) stays as it is."""
    done: JSON = {}
    for key, value in node.items():
        if key in _MAPS and isinstance(value, dict):
            done[key] = {name: rewrite(child) for name, child in value.items()}
        elif key in _LISTS and isinstance(value, list):
            done[key] = [rewrite(child) for child in value]
        elif key in _SINGLES and isinstance(value, dict | bool):
            done[key] = rewrite(value)
        elif key in _MAPS or key in _LISTS or key in _SINGLES:
            continue  # not a schema at all; it could only be refused
        else:
            done[key] = value
    return done


def _as_object(child: Any) -> Any:
    if child is True:
        return {}
    return {"not": {}} if child is False else child


def _split_dependencies(node: JSON) -> None:
    """Draft 7's `dependencies` in the words of 2020-12."""
    found = node.pop("dependencies", None)
    if not isinstance(found, dict):
        return
    names = {key: value for key, value in found.items() if isinstance(value, list)}
    schemas = {key: value for key, value in found.items() if isinstance(value, dict | bool)}
    if names:
        node["dependentRequired"] = {**names, **node.get("dependentRequired", {})}
    if schemas:
        node["dependentSchemas"] = {**schemas, **node.get("dependentSchemas", {})}


def _mend(node: JSON) -> None:
    """Bring what real servers publish although 2020-12 does not know it into its words, or leave it out."""
    for exclusive, inclusive in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        # draft 4: a flag beside the bound
        if isinstance(node.get(exclusive), bool) and node.pop(exclusive) and inclusive in node:
            node[exclusive] = node.pop(inclusive)
    if "type" in node:
        named = node["type"] if isinstance(node["type"], list) else [node["type"]]
        known = list(dict.fromkeys(name for name in named if name in _TYPES))
        if len(known) < len(named):
            node.pop("type")
        if known and len(known) < len(named):
            node["type"] = known if len(known) > 1 else known[0]
    if "required" in node:
        listed = node.pop("required")
        names = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
        if names:
            node["required"] = list(dict.fromkeys(names))
    if not isinstance(node.get("enum", [None]), list) or node.get("enum") == []:
        del node["enum"]


def _fold_root(root: JSON) -> JSON:
    """`root` without alternatives: their properties side by side, only what all of them require still required."""
    told = {key: root[key] for key in _AT_ROOT if key in root}
    if not told:
        return root
    folded = {key: value for key, value in root.items() if key not in told}
    properties = dict(folded.get("properties", {}))
    required = list(folded.get("required", []))
    for part in map(_fold_root, told.get("allOf", [])):
        _add_properties(properties, part.get("properties", {}))
        required += [name for name in part.get("required", []) if name not in required]
        for key in ("title", "description"):
            if key in part:
                folded.setdefault(key, part[key])
    for keyword in ("anyOf", "oneOf"):
        branches = [_fold_root(branch) for branch in told.get(keyword, [])]
        _add_properties(properties, _any_of([branch.get("properties", {}) for branch in branches]))
        common = list(branches[0].get("required", [])) if branches else []
        for name in common:
            if name not in required and all(name in branch.get("required", []) for branch in branches):
                required.append(name)
    if len(properties) > len(folded.get("properties", {})):
        folded.pop("additionalProperties", None)
        folded.pop("unevaluatedProperties", None)
    folded["properties"] = properties
    if required:
        folded["required"] = required
    exact = canonical(told).decode()
    if len(exact) <= 2000:
        folded["description"] = f"{folded.get('description', '')} The arguments must also satisfy {exact}".strip()
    return folded


def _add_properties(into: JSON, more: Mapping[str, Any]) -> None:
    for name, schema in more.items():
        present = into.get(name)
        if present is None or present == {}:
            into[name] = schema
        elif schema not in (present, {}):  # both hold; either is as much as can be said side by side
            into[name] = {"anyOf": [present, schema]}


def _any_of(branches: Sequence[Mapping[str, Any]]) -> JSON:
    """The properties of alternatives; one that takes anything in some branch takes anything."""
    union: JSON = {}
    for name in dict.fromkeys(name for branch in branches for name in branch):
        schemas = [branch[name] for branch in branches if name in branch]
        distinct = [schema for n, schema in enumerate(schemas) if schema not in schemas[:n]]
        union[name] = {} if {} in distinct else distinct[0] if len(distinct) == 1 else {"anyOf": distinct}
    return union


def _find_anchor(node: Any, anchor: str, depth: int) -> Any:
    """The subschema with that `$anchor`, or None."""
    if depth > MAX_DEPTH:
        return None
    children: Sequence[Any] = ()
    if isinstance(node, dict):
        if node.get("$anchor") == anchor:
            return node
        children = list(node.values())
    elif isinstance(node, list):
        children = node
    for child in children:
        found = _find_anchor(child, anchor, depth + 1)
        if found is not None:
            return found
    return None


def _definition_name(pointer: str, taken: Mapping[str, str]) -> str:
    name = re.sub(r"[^A-Za-z0-9_]", "_", pointer.rsplit("/", 1)[-1]).strip("_") or "root"
    return name if name not in taken.values() else f"{name}_{_short_hash(pointer)}"


def _short_hash(text: str) -> str:
    return hashlib.sha1(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()[:8]
