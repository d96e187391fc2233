"""What a policy engine is: the protocol behind `Policy.decide`, and how an engine says that it cannot decide.

The gateway asks `Policy`, and `Policy` asks the one engine that `engines.engine_table` chooses. Whatever an engine
raises, returns late or returns in another form becomes a denial there, so an engine contains no such code of its own.
How to add one: docs/contributing/policy-engine.md.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Protocol

from workbench.events import Call, Caller, Decision, Tool

if TYPE_CHECKING:
    from workbench.policy.approvals.approval import ApprovalRequirement


class EngineError(RuntimeError):
    """The engine gave no answer that may be trusted. Always a denial, and the message is its reason.

    Args:
        message: reaches callers; it must not contain values of the call or say where the engine is.
        kind: ends the name of the rule that denies, e.g. `timeout` for `opa.timeout`; empty for `default_deny`.
    """

    def __init__(self, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind


class DecisionEngine(Protocol):
    """Decides whether a caller may call a tool. Subclass it: `name`, `description`, `decide` and `visible` are needed.

    Rate limits, quotas, approvals, budgets and redaction are not the engine's: `Policy` applies them to what it
    decides. All methods are called on the event loop, except `visible` and `visibility_version`, which any thread may
    call; none of them may block.
    """

    name: str
    """What the setting `policy_engine` and `policy_engine` on the record call it."""
    description: str
    """For people, after "decided by"; with the address of an engine that is elsewhere."""
    url: str = ""
    """Address of an engine that is asked over a network; empty for one in this process."""
    needs_prefetch: bool = False
    """Whether `visible` only knows what `prefetch` asked about before."""
    timeout: float = 5.0
    """Seconds after which a decision that was not returned at once is a denial."""

    @abstractmethod
    def decide(self, call: Call, tool: Tool) -> Decision | Awaitable[Decision]:
        """Whether `call` may run `tool`. Return the decision itself where nothing has to be awaited.

        `approval=True` in an allowing decision makes `Policy` require a human's approval; an engine never sees one.
        `engine`, `revision` and `elapsed_us` are filled in.

        Raises:
            Exception: anything; the call is denied.
        """

    @abstractmethod
    def visible(self, caller: Caller, tool: Tool) -> bool:
        """Whether lists for `caller` show `tool`: the rules of a call whose arguments are not known yet."""

    async def prefetch(self, caller: Caller, tools: Sequence[Tool]) -> None:
        """Ask about `tools` before a list is made for `caller`; only awaited where `needs_prefetch` is True."""
        return

    @property
    def revision(self) -> str:
        """Version of the rules in force, for decisions that name none; another one whenever the rules change."""
        return ""

    def visibility_version(self, caller: Caller) -> str:
        """Part of the key under which lists for `caller` are kept; another one whenever `visible` may have changed."""
        return self.revision

    def quota(self, tenant: str, tool: str) -> int | None:
        """Calls per minute of a tenant to the tool of this qualified name, 0 for no quota.

        None, the default, leaves that to the rule files here (`tenant_quota.rego`).

        Raises:
            Exception: anything; the quota counts as used up.
        """
        return None

    async def approvers(self, call: Call, tool: Tool) -> ApprovalRequirement | None:
        """Whose approval a call needs that needs one; None, the default, leaves that to `approvers.rego` here.

        Raises:
            EngineError: nobody can be asked.
        """
        return None

    @property
    def problem(self) -> str:
        """Why the engine cannot decide at the moment, for `/status`; empty when all is well."""
        return ""

    async def probe(self) -> str:
        """What keeps the engine from deciding, found out now, for `workbench doctor`; empty when nothing does."""
        return self.problem

    async def close(self) -> None:
        """Close connections; deciding again opens new ones."""
        return


def denied(rule: str, reason: str) -> Decision:
    """A denial. `rule` is a stable name for programs, e.g. `allowed_tools.not_listed`; `reason` is for people."""
    return Decision(allow=False, rule=rule, reason=reason)
