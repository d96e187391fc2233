"""The SDK's server, made strict: an argument that a tool does not have is refused."""

from __future__ import annotations

import types
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.utilities.func_metadata import ArgModelBase
from mcp_types import Icon, ToolAnnotations
from pydantic import ConfigDict

T = TypeVar("T")


class ToolServer(MCPServer[T]):
    """A server whose tools publish `additionalProperties: false` and hold to it.

    The SDK ignores arguments that it does not know: a filter that is misspelt would return everything. Clients and
    gateways read the schema and can say which argument was meant; the server refuses by itself too.
    """

    def with_context(self, context: T, *, title: str | None = None) -> ToolServer[T]:
        """This server over something that its tools need, such as a folder that is known once options are read.

        Args:
            context: what tools and resources find as `context.request_context.lifespan_context`.
            title: instead of this server's own.
        """

        @asynccontextmanager
        async def lifespan(server: MCPServer[T]) -> AsyncIterator[T]:
            yield context

        over = ToolServer(
            self.name,
            title=title or self.title,
            description=self.description,
            instructions=self.instructions,
            version=self.version or "",
            log_level="WARNING",
            lifespan=lifespan,
        )
        # the SDK has no public way to hand tools, resources and prompts on from one server to another
        over._tool_manager = self._tool_manager
        over._resource_manager = self._resource_manager
        over._prompt_manager = self._prompt_manager
        return over

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
