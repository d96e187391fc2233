"""The embedded engine: the Rego rules here, evaluated in this process.

What depends only on caller and tool is cached, by revision of the rules; the size of the arguments is looked at on
every call.
"""

from __future__ import annotations

from typing import Any

from workbench.config import Settings
from workbench.events import Call, Caller, Decision, Tool
from workbench.policy.decision_engine import DecisionEngine
from workbench.policy.rego import rego_engine
from workbench.policy.rego.engine_answer import EngineAnswer, document, verdict, within_size
from workbench.policy.rego.loaded_rules import LoadedRules

_MAX_CACHED = 8192


class _Cache:
    """The answers that one revision of the rules has given; replaced as a whole, so that no answer outlives it."""

    __slots__ = ("rego", "verdicts")

    def __init__(self, rego: rego_engine.RegoPolicy) -> None:
        self.rego = rego
        self.verdicts: dict[Any, EngineAnswer] = {}


class EmbeddedEngine(DecisionEngine):
    """Decides by the rules here, at once.

    Args:
        settings: not looked at.
        rules: the rules in force.
    """

    name = rego_engine.NAME
    description = "the embedded engine"

    def __init__(self, settings: Settings, rules: LoadedRules) -> None:
        self._rules = rules
        self._cache = _Cache(rules.current)

    @property
    def revision(self) -> str:
        return self._rules.revision

    def decide(self, call: Call, tool: Tool) -> Decision:
        return within_size(self._verdict(call.caller, tool), call)

    def visible(self, caller: Caller, tool: Tool) -> bool:
        return self._verdict(caller, tool).decision.allow

    def _verdict(self, caller: Caller, tool: Tool) -> EngineAnswer:
        rego, cache = self._rules.current, self._cache
        if cache.rego is not rego:
            cache = self._cache = _Cache(rego)
        key = (
            id(tool),
            tool.definition_hash,
            caller.tenant,
            caller.subject,
            caller.roles,
            caller.scopes,
            caller.method,
        )
        found = cache.verdicts.get(key)
        if found is None or found.tool is not tool:
            answer = rego.ask(rego_engine.TOOL_SCOPES, document(caller, tool))
            found = verdict(answer, caller, tool, revision=rego.revision, engine=self.name)
            if len(cache.verdicts) >= _MAX_CACHED:
                cache.verdicts.clear()
            cache.verdicts[key] = found
        return found
