"""The tool calls of one run: from what a provider asked for to results it can read.

Whatever a model says, it gets a result it can mend: an unknown name, text that is no JSON, arguments that do not fit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from workbench.agent.parameter_schema import Arguments
from workbench.agent.provider import ToolRequest, ToolResult, ToolResults, ToolSpec
from workbench.agent.result_text import text_for_model
from workbench.agent.run_deadline import Deadline
from workbench.agent.toolbox import Toolbox, WaitForApproval
from workbench.agent.wire_tool_names import NameMap
from workbench.events import (
    JSON,
    AnyRunEvent,
    ApprovalWaiting,
    Call,
    Outcome,
    OutcomeKind,
    Tool,
    ToolAsked,
    ToolDone,
    new_id,
    new_span_id,
    now_us,
)

SEARCH = Tool(
    server="workbench",
    name="search_tools",
    title="Search for more tools",
    description=(
        "Find further tools by what they do. Not every tool is offered from the start; whatever this finds can be "
        "called from the next turn on."
    ),
    input_schema={
        "type": "object",
        "properties": {
            "query": {"type": "string", "description": "What the tool should do, in a few words.", "minLength": 1},
            "limit": {"type": "integer", "minimum": 1, "maximum": 20, "default": 10},
        },
        "required": ["query"],
        "additionalProperties": False,
    },
    annotations={"readOnlyHint": True},
)
"""Built in: it lists what the caller may use, and touches no server."""

APPROVAL_TIMEOUT_S = 900.0
"""How long a person is waited for when the approval does not say when it expires."""


class ToolStep(msgspec.Struct, kw_only=True):
    """One request on its way: where it stands in the run and which tool is meant."""

    id: str
    turn: int
    request: ToolRequest
    spec: ToolSpec | None
    arguments: JSON
    done: bool = False

    @property
    def tool(self) -> str:
        """The qualified name, or what the provider said when there is no such tool."""
        return self.spec.tool.qualified if self.spec else self.request.name


class ToolSteps:
    """Runs the calls of one run through the toolbox and says each with its events.

    Args:
        call: what all calls of the run have in common (caller, run, trace…); tool, arguments and step are filled in.
        emit: takes every event.
        names: all visible tools.
        offer: called with what a search found, so that the next turn offers it.
        parallel: most calls at once; only turns of read-only calls run in parallel.
        wait: asks a person and waits; None means that nobody can be asked.
    """

    def __init__(
        self,
        toolbox: Toolbox,
        call: Call,
        emit: Callable[[AnyRunEvent], Awaitable[None]],
        names: NameMap,
        *,
        offer: Callable[[Sequence[Tool]], None],
        deadline: Deadline,
        parallel: int,
        wait: WaitForApproval | None,
    ) -> None:
        self._toolbox = toolbox
        self._call = call
        self._emit = emit
        self._names = names
        self._offer = offer
        self._deadline = deadline
        self._at_once = asyncio.Semaphore(parallel)
        self._wait = wait
        self._arguments = Arguments()
        self._open: dict[str, ToolStep] = {}
        self.count = 0

    async def perform(self, turn: int, requests: Sequence[ToolRequest]) -> ToolResults:
        """Call what was requested; one result for each request, in their order."""
        steps = [self._step(turn, number, request) for number, request in enumerate(requests, 1)]
        if len(steps) > 1 and all(step.spec is None or step.spec.tool.read_only for step in steps):
            try:
                async with asyncio.TaskGroup() as group:
                    running = [group.create_task(self._one(step)) for step in steps]
            except ExceptionGroup as several:  # the first one is why the others were cancelled
                raise several.exceptions[0] from several
            return ToolResults(results=tuple(task.result() for task in running))
        return ToolResults(results=tuple([await self._one(step) for step in steps]))

    async def abandon(self, kind: OutcomeKind, message: str) -> None:
        """Say of every call that is still open how it ended, so that each `ToolAsked` has its `ToolDone`."""
        for step in list(self._open.values()):
            await self._finish(step, _outcome(kind, step, message))

    def _step(self, turn: int, number: int, request: ToolRequest) -> ToolStep:
        spec = self._names.find(request.name)
        renamed = spec.renamed if spec else {}
        arguments = {renamed.get(name, name): value for name, value in request.arguments.items()}
        return ToolStep(id=f"{turn}.{number}", turn=turn, request=request, spec=spec, arguments=arguments)

    async def _one(self, step: ToolStep) -> ToolResult:
        async with self._at_once:
            self.count += 1
            self._open[step.id] = step
            run = self._call.run
            await self._emit(
                ToolAsked(
                    run=run,
                    step=step.id,
                    tool=step.tool,
                    arguments=step.arguments,
                    turn=step.turn,
                    why=step.request.why,
                )
            )
            outcome = self._unusable(step) or await self._answer(step)
            await self._finish(step, outcome)
        return ToolResult(
            id=step.request.id,
            name=step.request.name,
            text=text_for_model(outcome),
            outcome=outcome,
            tool=step.spec.tool.qualified if step.spec else "",
            arguments=step.arguments,
        )

    async def _finish(self, step: ToolStep, outcome: Outcome) -> None:
        self._open.pop(step.id, None)
        await self._emit(ToolDone(run=self._call.run, step=step.id, tool=step.tool, outcome=outcome))

    def _unusable(self, step: ToolStep) -> Outcome | None:
        """Why the request cannot become a call, as a result that tells the model how to mend it."""
        if step.spec is None:
            near = self._names.suggestions(step.request.name)
            also = f"Did you mean {' or '.join(near)}?" if near else "Use a tool that is offered."
            return _outcome("not_found", step, f"There is no tool {step.request.name!r}. {also}", suggestions=near)
        if step.request.malformed:
            message = (
                f"The arguments are no JSON object: {step.request.malformed[:200]!r}. "
                "Expected an object that fits the tool's schema; send the call again."
            )
            return _outcome("invalid", step, message, schema=step.spec.schema)
        wrong = self._arguments.check(step.spec.tool.input_schema, step.arguments)
        if not wrong:
            return None
        told = "; ".join(f"at {error['path'] or 'the root'}: {error['message']}" for error in wrong)
        message = (
            f"The arguments do not fit the schema of {step.request.name}: {told}. Mend them and send the call again."
        )
        return _outcome("invalid", step, message, errors=wrong)

    async def _answer(self, step: ToolStep) -> Outcome:
        if step.tool == SEARCH.qualified:
            return self._search(step)
        outcome = await self._toolbox.call(self._as_call(step))
        approval, expires_us = _approval(outcome)
        if outcome.kind != "approval_required" or not approval or self._wait is None:
            return outcome
        await self._emit(
            ApprovalWaiting(run=self._call.run, step=step.id, tool=step.tool, approval=approval, expires_us=expires_us)
        )
        seconds = max((expires_us - now_us()) / 1e6, 0.0) if expires_us else APPROVAL_TIMEOUT_S
        with self._deadline.paused():
            approved = await self._wait(approval, seconds)
        if approved:
            return await self._toolbox.call(self._as_call(step))
        message = f"A person did not approve this call of {step.tool}. Do not repeat it; say what could not be done."
        return _outcome("denied", step, message, approval=approval)

    def _as_call(self, step: ToolStep) -> Call:
        """The call, new on every try: the record knows each by its own id."""
        return msgspec.structs.replace(
            self._call,
            id=new_id(),
            tool=step.tool,
            arguments=step.arguments,
            step=step.id,
            span_id=new_span_id(),
            received_us=now_us(),
            timeout_s=self._deadline.left or 0.001,
        )

    def _search(self, step: ToolStep) -> Outcome:
        query, limit = str(step.arguments["query"]), int(step.arguments.get("limit", 10))
        found = [tool for tool, _ in self._toolbox.search(self._call.caller, query, limit=limit)]
        self._offer(found)
        listed = [
            {"name": (spec := self._names.spec(tool)).name, "description": spec.description}
            for tool in found
            if self._names.find(tool.qualified)
        ]
        result: JSON = {"content": [], "structuredContent": {"tools": listed}}
        return Outcome(kind="ok", call=new_id(), tool=SEARCH.qualified, server=SEARCH.server, result=result)


def _outcome(kind: OutcomeKind, step: ToolStep, message: str, **details: object) -> Outcome:
    server = step.spec.tool.server if step.spec else ""
    return Outcome(kind=kind, call=new_id(), tool=step.tool, server=server, message=message, details=details)


def _approval(outcome: Outcome) -> tuple[str, int]:
    """Id and expiry (µs, 0 unknown) of the approval that `outcome` asks for."""
    found = outcome.details.get("approval")
    if isinstance(found, dict):
        return str(found.get("id") or ""), int(found.get("expires_us") or 0)
    return str(found or ""), int(outcome.details.get("expires_us") or 0)
