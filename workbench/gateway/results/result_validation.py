"""Results beside the schema that their tool lists for them.

Clients check structured results, and fail the call when one does not fit or there is none (MCP server/tools, "Output
Schema"). A schema that the server's own results break would therefore fail every call at clients to which the server
is useful without it. So the results pass as they are, and the schema is no longer listed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from workbench.events import JSON, Tool
from workbench.registry.schemas.validator import compile_schema

if TYPE_CHECKING:
    import jsonschema_rs

MAX_LOOKED_AT: Final = 3
"""Results of one definition that are held against its schema; a server's habit shows in the first ones."""
MAX_DEFINITIONS: Final = 10_000


class ResultSchemas:
    """Looks at the first results of each tool that has an output schema.

    Args:
        withhold: called with the tool and the reason when a result breaks its schema.
    """

    def __init__(self, withhold: Callable[[Tool, str], None]) -> None:
        self._withhold = withhold
        self._left: dict[str, int] = {}
        self._compiled: dict[str, jsonschema_rs.Validator] = {}

    def look(self, tool: Tool | None, result: JSON) -> None:
        """Hold `result`, as the server gave it, against the output schema of `tool`; errors of tools are not held."""
        if tool is None or tool.output_schema is None or result.get("isError") is True:
            return
        key = tool.definition_hash
        left = self._left.get(key, MAX_LOOKED_AT)
        if not left:
            return
        if len(self._left) >= MAX_DEFINITIONS:
            self._left.clear()
        self._left[key] = left - 1
        if why := self._breach(tool, result):
            self._left[key] = 0
            self._withhold(tool, why)
        if not self._left[key]:
            self._compiled.pop(key, None)

    def _breach(self, tool: Tool, result: JSON) -> str:
        """How `result` breaks the schema; empty when it does not."""
        if result.get("structuredContent") is None:
            return "a result came without structuredContent"
        try:
            if tool.definition_hash not in self._compiled:
                self._compiled[tool.definition_hash] = compile_schema(tool.output_schema)
            error = next(self._compiled[tool.definition_hash].iter_errors(result["structuredContent"]), None)
        except ValueError:
            return ""  # no schema to hold it against, or no JSON to hold
        if error is None:
            return ""
        place = "/".join(["", *map(str, error.instance_path)])
        return f"a result did not fit it at {place or 'its root'} ({str(error.schema_path[-1])[:60]})"
