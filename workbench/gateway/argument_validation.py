"""Arguments against the tool's schema: which path, given what, expected what."""

from __future__ import annotations

from typing import Any, Final

import jsonschema_rs
import orjson

from workbench.display_text import shortened
from workbench.events import JSON, Tool
from workbench.registry.schemas.validator import compile_schema
from workbench.suggestions import close_names

_MAX_SCHEMAS: Final = 10_000
_MAX_ERRORS: Final = 5
_SHOWN: Final = 120

_MISSING: Final = "nothing"


class BrokenSchemaError(Exception):
    """The tool's own schema cannot be used, so no arguments can be called valid."""


class SchemaValidators:
    """Compiled schemas, one per tool definition.

    References to other documents are refused rather than fetched (server/tools: "MUST NOT auto-dereference").
    """

    def __init__(self) -> None:
        self._compiled: dict[str, jsonschema_rs.Validator | BrokenSchemaError] = {}

    def problems(self, tool: Tool, arguments: JSON) -> list[JSON]:
        """What is wrong with `arguments`, at most five things, each with `path`, `given`, `expected`, `hint`.

        Raises:
            BrokenSchema: the schema itself does not compile.
        """
        validator = self._compiled.get(tool.definition_hash) or self._compile(tool)
        if isinstance(validator, BrokenSchemaError):
            raise validator
        try:
            if validator.is_valid(arguments):
                return []
            errors = validator.iter_errors(arguments)
            return [_explain(error, tool.input_schema) for error, _ in zip(errors, range(_MAX_ERRORS), strict=False)]
        except ValueError as e:  # a value that JSON has no form for; other doors than the wire can pass one
            return [_problem("", "a value that is not JSON", "JSON values only", str(e))]

    def _compile(self, tool: Tool) -> jsonschema_rs.Validator | BrokenSchemaError:
        if len(self._compiled) >= _MAX_SCHEMAS:
            self._compiled.clear()
        made: jsonschema_rs.Validator | BrokenSchemaError
        try:
            made = compile_schema(tool.input_schema)
        except ValueError as e:
            made = BrokenSchemaError(f"The schema of {tool.qualified} cannot be used: {_short(str(e))}")
        if tool.definition_hash:
            self._compiled[tool.definition_hash] = made
        return made


def _explain(error: jsonschema_rs.ValidationError, schema: JSON) -> JSON:
    path = [str(part) for part in error.instance_path]
    keyword = str(error.schema_path[-1]) if error.schema_path else ""
    rule = _at(schema, error.schema_path)
    if keyword == "required":
        name = str(getattr(error.kind, "property", ""))
        known = _at(schema, [*list(error.schema_path)[:-1], "properties"])
        described = _at(known, [name])
        hint = "It is required." + _unknown_beside(name, error.instance, known)
        return _problem(".".join([*path, name]), _MISSING, _type_of(described), hint)
    if keyword in ("additionalProperties", "unevaluatedProperties"):
        unexpected = [str(name) for name in getattr(error.kind, "unexpected", ())]
        known = list(_at(schema, [*list(error.schema_path)[:-1], "properties"]) or {})
        close = close_names(unexpected[0][:_SHOWN], known, 1) if unexpected else ()
        expected = f"only {', '.join(known) or 'no arguments'}"
        hint = f"Did you mean {close[0]!r}?" if close else "There is no such argument."
        return _problem(".".join([*path, *unexpected[:1]]), ", ".join(unexpected) or "more", expected, hint)
    expected = _type_of({keyword: rule}) if keyword in ("type", "enum", "const") else f"{keyword} {_show(rule)}"
    return _problem(".".join(path), _show(error.instance), expected, _short(error.message))


def _unknown_beside(missing: str, given: Any, known: Any) -> str:
    """Which arguments were given that the schema does not know: one may be the missing one, misspelt."""
    if not isinstance(given, dict) or not isinstance(known, dict):
        return ""
    unknown = [str(name)[:_SHOWN] for name in given if name not in known]
    if close := close_names(missing, unknown, 1):
        return f" It has no argument {close[0]!r}: was that meant?"
    return f" It has no argument {unknown[0]!r}." if unknown else ""


def _problem(path: str, given: str, expected: str, hint: str) -> JSON:
    return {"path": path, "given": given, "expected": expected, "hint": hint}


def _at(schema: Any, path: Any) -> Any:
    """What lies at `path`, as far as it can be followed without references."""
    for part in path:
        if isinstance(schema, dict):
            schema = schema.get(part)
        elif isinstance(schema, list) and isinstance(part, int) and part < len(schema):
            schema = schema[part]
        else:
            return None
    return schema


def _type_of(described: Any) -> str:
    """A schema's type in words."""
    if not isinstance(described, dict):
        return "a value"
    if isinstance(choices := described.get("enum"), list):
        return "one of " + ", ".join(_show(choice) for choice in choices[:20])
    if "const" in described:
        return _show(described["const"])
    kind = described.get("type")
    if isinstance(kind, list):
        return " or ".join(str(one) for one in kind)
    return str(kind) if kind else "a value"


def _show(value: Any) -> str:
    try:
        return _short(orjson.dumps(value).decode())
    except TypeError:
        return _short(repr(value))


def _short(text: str) -> str:
    return shortened(text, _SHOWN)
