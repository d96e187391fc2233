"""One question: ask the provider for a turn, call the tools it wants, give it the results, until it answers.

A run is a task that puts events into a queue, so that it can be stopped from outside and still say how it ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from workbench.agent.prompt import system_prompt
from workbench.agent.provider import (
    AssistantMessage,
    Closable,
    Message,
    ProviderError,
    SystemMessage,
    TextPart,
    ToolRequest,
    ToolSpec,
    TurnEnd,
    UserMessage,
)
from workbench.agent.provider_choice import Choice
from workbench.agent.run_deadline import Deadline
from workbench.agent.tool_steps import SEARCH, ToolSteps
from workbench.agent.toolbox import Budget, RecordEvent, Toolbox, WaitForApproval
from workbench.agent.wire_tool_names import NameMap
from workbench.config import Settings
from workbench.events import (
    AnyRunEvent,
    Call,
    Caller,
    OutcomeKind,
    RunDone,
    RunStarted,
    Source,
    TextDelta,
    Tool,
    TurnDone,
    Usage,
    WorkbenchError,
    now_us,
)

OFFERED_WHOLE = 40
"""Up to so many tools are all offered; of more, those that the search finds for the question."""
OFFERED_FOUND = 20
MAX_OUTPUT_TOKENS = 8192
"""Of one turn."""
MIN_OUTPUT_TOKENS = 256
"""With less left in the budget a turn is not worth starting."""

_PERHAPS_BEGUN = ("cut", "timeout")
"""Errors after which a provider may have worked for nothing, and wants to be paid."""

RunStatus = Literal["answered", "cancelled", "limit", "failed"]


class BudgetExceededError(Exception):
    """There is nothing left that a further turn could use."""


class AgentRun:
    """The state of one run."""

    def __init__(
        self,
        settings: Settings,
        toolbox: Toolbox,
        chosen: Choice,
        caller: Caller,
        question: str,
        *,
        run: str,
        history: Sequence[Message],
        source: Source,
        wait: WaitForApproval | None,
        record: RecordEvent | None,
        budget: Budget[Any] | None = None,
        instructions: str = "",
    ) -> None:
        self.events: asyncio.Queue[AnyRunEvent | None] = asyncio.Queue()
        """What happened, in order; None after the last."""
        self.over = asyncio.Event()
        """Set when nothing of the run is left."""
        self._task: asyncio.Task[None] | None = None
        self._ending = False
        self._settings, self._toolbox, self._record, self._budget = settings, toolbox, record, budget
        self._run, self._question, self._caller, self._source = run, question, caller, source
        self._chosen, self._provider = chosen, chosen.provider
        self._began = time.monotonic_ns()
        self._deadline = Deadline(self._settings.run_timeout)
        self._usage = Usage()
        self._turn = 0
        self._answer = ""
        self._turn_done: TurnDone | None = None
        self._visible = self._toolbox.tools(caller)
        self._names = NameMap(self._visible, reserved=(SEARCH,))
        self._offered: dict[str, ToolSpec] = {}
        call = Call(caller=caller, tool="", run=run, source=source)
        self._started = RunStarted(
            run=run,
            question=question,
            provider=self._provider.name,
            model=self._provider.model,
            is_llm=self._provider.is_llm,
            why=chosen.why,
            tools=len(self._visible),
            trace_id=call.trace_id,
        )
        self._steps = ToolSteps(
            self._toolbox,
            call,
            self._emit,
            self._names,
            offer=self._offer,
            deadline=self._deadline,
            parallel=self._settings.parallel_calls,
            wait=wait,
        )
        earlier = [message for message in history if not isinstance(message, SystemMessage)]
        self._conversation: list[Message] = [SystemMessage(text=system_prompt(instructions=instructions)), *earlier]

    async def go(self) -> None:
        """The whole run; says its end in `RunDone`, whatever happens."""
        status: RunStatus = "failed"
        message = "The run ended by a fault of this program."
        self._task = asyncio.current_task()
        try:
            await self._emit(self._started)
            async with self._deadline.running():
                status, message = await self._until_answered()
        except asyncio.CancelledError:
            status, message = "cancelled", "The run was stopped."
            if not self._ending:  # not by `stop`: whoever cancelled the task wants it to end as cancelled
                raise
        except TimeoutError:
            if not self._deadline.expired:
                raise
            status = "limit"
            message = f"The run took longer than {self._deadline.seconds:g} s (setting run_timeout)."
        except WorkbenchError as error:
            status, message = "failed", str(error)
        finally:
            self._ending = True
            try:
                await self._end(status, message)
            finally:
                self.events.put_nowait(None)

    @property
    def begun(self) -> bool:
        return self._task is not None

    def stop(self) -> bool:
        """End the run in order, once; False when it has not begun or is ending already."""
        if self._task is None or self._ending:
            return False
        self._ending = True
        return self._task.cancel()

    async def _end(self, status: RunStatus, message: str) -> None:
        ends: dict[RunStatus, OutcomeKind] = {"cancelled": "cancelled", "limit": "timeout"}
        await self._steps.abandon(ends.get(status, "failed"), message or "The run ended.")
        await self._close_turn()
        if self._chosen.close_after and isinstance(self._provider, Closable):
            await self._provider.close()
        await self._emit(
            RunDone(
                run=self._run,
                status=status,
                answer=self._answer,
                turns=self._turn,
                calls=self._steps.count,
                usage=self._usage,
                elapsed_us=(time.monotonic_ns() - self._began) // 1000,
                message=message,
            )
        )

    async def _emit(self, event: AnyRunEvent) -> None:
        if self._record is not None:
            await self._record(event, self._started, self._caller, self._source)
        self.events.put_nowait(event)

    def _offer(self, tools: Sequence[Tool]) -> None:
        for tool in tools:
            if self._names.find(tool.qualified):
                spec = self._names.spec(tool)
                self._offered.setdefault(spec.name, spec)

    def _first_offer(self) -> None:
        if self._provider.wants_all_tools or len(self._visible) <= OFFERED_WHOLE:
            self._offer(self._visible)
            return
        # "And his tickets?" only finds its tools together with what was asked before.
        asked = [message.text for message in self._conversation if isinstance(message, UserMessage)]
        used = [
            spec.tool
            for message in self._conversation
            if isinstance(message, AssistantMessage)
            for request in message.requests
            if (spec := self._names.find(request.name))
        ]
        query = "\n".join([*asked[-2:], self._question])
        found = self._toolbox.search(self._caller, query, limit=OFFERED_FOUND)
        self._offer([SEARCH, *used, *(tool for tool, _ in found)])

    async def _until_answered(self) -> tuple[RunStatus, str]:
        """Turns and calls, until there is an answer or a limit is reached."""
        self._first_offer()
        pending = unresolved(self._conversation)
        if pending:
            self._conversation.append(await self._steps.perform(0, pending))
        if self._question.strip():
            self._conversation.append(UserMessage(text=self._question))
        while True:
            if self._turn >= self._settings.max_turns:
                return "limit", f"No answer within {self._turn} turns (setting max_turns)."
            left = self._settings.token_budget - self._usage.input_tokens - self._usage.output_tokens
            if left < MIN_OUTPUT_TOKENS and self._provider.is_llm:
                return "limit", f"The budget of {self._settings.token_budget} tokens is used up (setting token_budget)."
            try:
                said, end = await self._whole_turn(min(MAX_OUTPUT_TOKENS, left) if self._provider.is_llm else left)
            except BudgetExceededError as used:
                return "limit", str(used)
            self._conversation.append(said)
            if said.requests:
                self._conversation.append(await self._steps.perform(self._turn, said.requests))
            await self._close_turn()
            if not said.requests:
                return self._judge(said, end)

    async def _close_turn(self) -> None:
        """Say that the turn is over, its calls included. `elapsed_us` is the provider's part of it."""
        done, self._turn_done = self._turn_done, None
        if done is not None:
            await self._emit(msgspec.structs.replace(done, ts=now_us()))

    def _judge(self, said: AssistantMessage, end: TurnEnd) -> tuple[RunStatus, str]:
        if end.truncated:
            return "limit", "The answer was cut off at the most tokens of one turn."
        if not said.text.strip():
            return "failed", f"{self._provider.name} ended without an answer ({end.stop or 'no reason given'})."
        return "answered", ""

    async def _whole_turn(self, max_output_tokens: int) -> tuple[AssistantMessage, TurnEnd]:
        """One turn; one that breaks off in the middle is asked for once more, as a turn of its own."""
        try:
            return await self._one_turn(max_output_tokens)
        except ProviderError as error:
            if not error.again or self._turn >= self._settings.max_turns:
                raise
            await self._close_turn()
            return await self._one_turn(max_output_tokens)

    async def _set_aside(self, output: int) -> tuple[Any, int]:
        """Tokens of the caller's budget for one turn, and how many of them are for its output.

        Raises:
            UsedUp: there are too few.
        """
        if self._budget is None or not self._provider.is_llm:
            return None, output
        # tokens of the input are not known before; no tokenizer makes more of them than there are bytes by half
        input = len(msgspec.json.encode([self._conversation, list(self._offered.values())])) // 2
        least = input + MIN_OUTPUT_TOKENS
        granted = await self._budget.reserve(self._caller, self._usage, min(least, input + output), input + output)
        if not granted.tokens:
            raise BudgetExceededError(granted.why)
        return granted, min(output, granted.tokens - input)

    def _dearest(self, tokens: int, output: int) -> Usage:
        """What counts for a turn that nobody heard the end of, for only the end says what it has used: all that was
        set aside. Else whoever stops each run before it ends would use nothing."""
        from workbench.agent.prices import priced

        most = Usage(input_tokens=max(0, tokens - output), output_tokens=output)
        return priced(self._provider.name, self._provider.model, most)

    async def _one_turn(self, max_output_tokens: int) -> tuple[AssistantMessage, TurnEnd]:
        """One turn of the provider, streamed."""
        await asyncio.sleep(0)  # a stop takes effect here, even with a provider that never waits
        granted, max_output_tokens = await self._set_aside(max_output_tokens)
        self._turn += 1
        began = time.monotonic_ns()
        requests: list[ToolRequest] = []
        end: TurnEnd | None = None
        self._answer = ""
        stream = self._provider.turn(
            tuple(self._conversation),
            tuple(self._offered.values()),
            max_output_tokens=max_output_tokens,
            timeout=self._deadline.left,
        )
        stop, free = "cancelled", False
        try:
            async with contextlib.AsyncExitStack() as stack:
                if hasattr(stream, "aclose"):
                    stack.push_async_callback(stream.aclose)
                async for part in stream:
                    match part:
                        case TextPart():
                            text = sound(part.text)
                            self._answer += text
                            await self._emit(TextDelta(run=self._run, text=text, turn=self._turn))
                        case ToolRequest():
                            requests.append(_sound_request(part))
                        case TurnEnd():
                            end = part
            if end is None:
                raise ProviderError("cut", f"{self._provider.name} ended its turn in the middle.", hint="Ask again.")
            stop = end.stop
        except ProviderError as error:
            stop = error.kind
            free = not (self._answer or requests) and stop not in _PERHAPS_BEGUN
            raise
        finally:
            usage = end.usage if end else Usage()
            self._usage += usage
            if granted is not None and self._budget is not None:
                counted = usage if end or free else self._dearest(granted.tokens, max_output_tokens)
                # shielded: a run that is stopped has used what it has used
                await asyncio.shield(self._budget.settle(self._caller, granted, counted))
            elapsed_us = (time.monotonic_ns() - began) // 1000
            self._turn_done = TurnDone(run=self._run, turn=self._turn, usage=usage, elapsed_us=elapsed_us, stop=stop)
        said = AssistantMessage(
            text=self._answer, requests=tuple(requests), provider=self._provider.name, items=end.items
        )
        return said, end


def sound(text: str) -> str:
    """`text` without halves of characters, which some servers send and nothing could store."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _sound_request(request: ToolRequest) -> ToolRequest:
    try:
        msgspec.json.encode(request)
    except UnicodeEncodeError:
        malformed = request.malformed or "text that is no Unicode"
        return ToolRequest(id=sound(request.id), name=sound(request.name), malformed=sound(malformed))
    return request


def unresolved(conversation: Sequence[Message]) -> tuple[ToolRequest, ...]:
    """The requests at the end of a conversation that nobody has answered."""
    last = conversation[-1] if conversation else None
    return last.requests if isinstance(last, AssistantMessage) else ()
