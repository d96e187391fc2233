"""The SDK's server, made strict: an argument that a tool does not have is refused."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any, cast

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.utilities.func_metadata import ArgModelBase
from mcp_types import Icon, ToolAnnotations
from pydantic import ConfigDict


class ToolServer(MCPServer[None]):
    """A server whose tools publish `additionalProperties: false` and hold to it.

    The SDK ignores arguments that it does not know: a filter that is misspelt would return everything. Clients and
    gateways read the schema and can say which argument was meant; the server refuses by itself too.
    """

    def add_tool(
        self,
        fn: Callable[..., Any],
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        annotations: ToolAnnotations | None = None,
        icons: list[Icon] | None = None,
        meta: dict[str, Any] | None = None,
        structured_output: bool | None = None,
    ) -> None:
        """As the SDK's, with the arguments closed."""
        super().add_tool(fn, name, title, description, annotations, icons, meta, structured_output)
        # the SDK hands out definitions only; the fields of its tool are documented to be read at every call
        tool = self._tool_manager.get_tool(name or fn.__name__)
        assert tool is not None
        closed = _closed(tool.fn_metadata.arg_model)
        tool.fn_metadata.arg_model = closed
        tool.parameters = closed.model_json_schema(by_alias=True)


def _closed(arguments: type[ArgModelBase]) -> type[ArgModelBase]:
    """The model of a tool's arguments, under the same name, that forbids all others."""
    config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
    closed = types.new_class(arguments.__name__, (arguments,), exec_body=lambda body: body.update(model_config=config))
    closed.__module__ = arguments.__module__
    return cast("type[ArgModelBase]", closed)
