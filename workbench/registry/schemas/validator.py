"""The validator behind every schema of a tool: no document is fetched for it, and no pattern runs without a bound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import jsonschema_rs

MAX_BACKTRACKS: Final = 100_000
"""Steps that a regular expression of a schema may take; patterns come from servers and texts from callers."""


def compile_schema(schema: Any) -> jsonschema_rs.Validator:
    """A validator for `schema`, in the dialect that it names, else in that of 2020-12.

    References to other documents are refused rather than fetched (MCP server/tools: "MUST NOT auto-dereference").

    Args:
        schema: an object or a boolean.

    Raises:
        ValueError: it is no JSON Schema, or refers to another document. Always of this one type.
    """
    import jsonschema_rs

    try:
        return jsonschema_rs.validator_for(schema, retriever=_refuse, pattern_options=_pattern_options())
    except (jsonschema_rs.ReferencingError, TypeError) as e:
        raise ValueError(str(e)) from e


def unsatisfiable_parts(schema: Any) -> list[str]:
    """JSON pointers of the parts that contradict themselves, when for that reason no value at all fits `schema`.

    Args:
        schema: one that `compile_schema` takes, small: the analysis can take exponential time.

    Returns:
        The innermost parts first; empty when something fits or nobody can tell.
    """
    import jsonschema_rs
    from jsonschema_rs import canonical

    try:
        form = jsonschema_rs.canonicalize(schema, retriever=_refuse, pattern_options=_pattern_options())
        if form.satisfiability() is not canonical.Satisfiability.NO:
            return []
        found = canonical.find_unsatisfiable(schema)
    except (jsonschema_rs.ReferencingError, ValueError, TypeError):
        return []
    return sorted(found, key=lambda pointer: -pointer.count("/")) or [""]


def _pattern_options() -> jsonschema_rs.FancyRegexOptions:
    import jsonschema_rs

    return jsonschema_rs.FancyRegexOptions(backtrack_limit=MAX_BACKTRACKS)


def _refuse(uri: str) -> Any:
    raise ValueError(f"{uri} lies outside of the schema and is not fetched")
