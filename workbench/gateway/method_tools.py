"""Methods of servers beside `tools/call`, as tools of their own: one path, one set of rules, one record for all.

`crm.resources/read` is a tool of the server `crm` whose name is a method. No listed tool can be called like that,
because a slash is no letter of tool names. Who reads, needs the scope `<server>:read`. Methods of extensions are tools
in the same way; see `extensions`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from workbench.events import JSON, Tool, digest
from workbench.gateway.extensions import is_extension

_TEXT: Final[JSON] = {"type": "string", "maxLength": 8192}
_ANYTHING: Final[JSON] = {"type": "object"}
_TEXTS: Final[JSON] = {"type": "object", "additionalProperties": {"type": "string"}}


def _object(required: tuple[str, ...], **properties: Any) -> JSON:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


_COMPLETION: Final = _object(
    ("ref", "argument"),
    ref={"type": "object", "required": ["type"]},
    argument={"type": "object", "required": ["name", "value"], "properties": {"name": _TEXT, "value": _TEXT}},
    context={"type": "object"},
)

SCHEMAS: Final[dict[str, JSON]] = {
    "resources/read": _object(("uri",), uri=_TEXT),
    "prompts/get": _object(("name",), name=_TEXT, arguments=_TEXTS),
    "completion/complete": _COMPLETION,
    "resources/subscribe": _object(("uri",), uri=_TEXT),
    "tasks/get": _object(("taskId",), taskId=_TEXT),
    "tasks/update": _object(("taskId", "inputResponses"), taskId=_TEXT, inputResponses={"type": "object"}),
    "tasks/cancel": _object(("taskId",), taskId=_TEXT),
}
"""What each method takes; whatever else a client sends travels on beside it."""


def is_method(tool: str) -> bool:
    """Whether a qualified name names a method rather than a listed tool."""
    if "/" not in tool:
        return False
    method = tool.partition(".")[2]
    return method in SCHEMAS or is_extension(method)


@lru_cache(4096)
def method_tool(server: str, method: str, scopes: tuple[str, ...] = ()) -> Tool:
    """The method of that server as a tool; with the scopes that it needs, when they are not those of reading."""
    schema, core = SCHEMAS.get(method, _ANYTHING), method in SCHEMAS
    return Tool(
        server=server,
        name=method,
        description=f"The method {method} of the server {server}.",
        input_schema=schema,
        annotations={"readOnlyHint": True} if core else {},
        scopes=scopes or (f"{server}:read",),
        definition_hash=digest({"name": f"{server}.{method}", "inputSchema": schema, "scopes": scopes}),
    )


def split(params: JSON, method: str) -> tuple[JSON, JSON]:
    """The arguments of a method, and everything beside them, `_meta` left out."""
    if method not in SCHEMAS:
        return {key: value for key, value in params.items() if key != "_meta"}, {}
    known = SCHEMAS[method]["properties"]
    arguments = {key: value for key, value in params.items() if key in known}
    return arguments, {key: value for key, value in params.items() if key not in known and key != "_meta"}
