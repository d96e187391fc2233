"""Names that every provider takes for tools, and the way back: one to one, or refused."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable

from workbench.agent.parameter_schema import normalise, rename_parameters
from workbench.agent.provider import ToolSpec
from workbench.display_text import shortened
from workbench.events import MisuseError, Tool
from workbench.registry.definitions.tool_names import LONG_HASH_DIGITS, MAX_WIRE_NAME, wire_name, without_hash
from workbench.suggestions import close_names

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
"""OpenAI takes `[A-Za-z0-9_-]{1,64}`, Anthropic the same up to 128, Gemini wants a letter or `_` first."""

MAX_DESCRIPTION = 1024
"""Characters; OpenAI's limit."""


def safe_name(tool: Tool) -> str:
    """The name of `tool` on the wire (`registry.tool_names.wire_name`), after a `_` where a provider needs one."""
    name = wire_name(tool.server, tool.name)
    if NAME.fullmatch(name):
        return name
    return f"_{wire_name(tool.server, tool.name, limit=MAX_WIRE_NAME - 1)}"


def _hashed(name: str, tool: Tool) -> str:
    digits = hashlib.sha256(tool.qualified.encode("utf-8", "surrogatepass")).hexdigest()[:LONG_HASH_DIGITS]
    return f"{name[: MAX_WIRE_NAME - LONG_HASH_DIGITS - 2]}__{digits}"


class NameMap:
    """Tools by the name that providers see. Names that would collide all get a longer hash, whatever the order.

    Raises:
        MisuseError: two tools cannot be told apart.
    """

    def __init__(self, tools: Iterable[Tool], *, reserved: Iterable[Tool] = ()) -> None:
        kept = list(reserved)
        every = [*kept, *tools]
        times = Counter(safe_name(tool) for tool in every)
        self._specs: dict[str, ToolSpec] = {}
        self._names: dict[str, str] = {}
        for tool in every:
            own = safe_name(tool)
            if times[own] > 1 and tool not in kept:
                own = _hashed(own, tool)
            if own in self._specs or tool.qualified in self._names:
                raise MisuseError(
                    f"Two tools are called {tool.qualified!r}.",
                    hint="Give the servers different names in mcp.json.",
                )
            self._specs[own] = _spec(own, tool)
            self._names[tool.qualified] = own
        short = Counter(without_hash(own) for own in self._specs)
        self._short = {without_hash(own): own for own in self._specs if short[without_hash(own)] == 1}

    def spec(self, tool: Tool) -> ToolSpec:
        """How `tool` is offered."""
        return self._specs[self._names[tool.qualified]]

    def find(self, name: str) -> ToolSpec | None:
        """The tool that a provider means by `name`; our own `server.tool` counts too.

        So does a name whose hash a model left out, where that leaves no doubt.
        """
        found = self._specs.get(name) or self._specs.get(self._names.get(name, ""))
        return found or self._specs.get(self._short.get(name, ""))

    def suggestions(self, name: str) -> list[str]:
        """Offered names that may have been meant: the same tool without its server, then close spellings."""
        bare = re.sub(r"[^A-Za-z0-9_-]", "_", name)
        same = [own for own in self._specs if own.endswith(f"__{bare}") or own.split("__", 1)[-1] == bare]
        starts = [own for own in self._specs if bare and own.startswith(bare)]
        short = {own.split("__", 1)[-1]: own for own in self._specs}
        close = close_names(bare, self._specs)
        # Without their servers names are short and share words like "get": a higher similarity.
        near = [short[found] for found in close_names(bare.split("__")[-1], short, similarity=0.7)]
        return list(dict.fromkeys([*same, *close, *near, *starts]))[:3]


def _spec(name: str, tool: Tool) -> ToolSpec:
    schema, renamed = rename_parameters(normalise(tool.input_schema))
    text = shortened(tool.description or tool.title or tool.name, MAX_DESCRIPTION)
    return ToolSpec(name=name, tool=tool, description=text, schema=schema, renamed=renamed)
