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

from workbench.agent.offered_tools import OfferedTools
from workbench.agent.prompt import system_prompt
from workbench.agent.provider import (
    AssistantMessage,
    Closable,
    Message,
    ProviderError,
    SystemMessage,
    TextPart,
    ToolRequest,
    TurnEnd,
    UserMessage,
)
from workbench.agent.provider_choice import Choice
from workbench.agent.run_deadline import Deadline
from workbench.agent.tool_steps import ToolSteps
from workbench.agent.toolbox import Budget, RecordEvent, Toolbox, WaitForApproval
from workbench.config import Settings
from workbench.events import (
    AnyRunEvent,
    Call,
    Caller,
    OutcomeKind,
    Record,
    RunDone,
    RunStarted,
    Source,
    TextDelta,
    TurnDone,
    Usage,
    WorkbenchError,
    now_us,
)
from workbench.json_values import joined_surrogates, replaced_surrogates

MAX_OUTPUT_TOKENS = 8192
"""Of one turn."""
MIN_OUTPUT_TOKENS = 256
"""With less left in the budget a turn is not worth starting."""

_PERHAPS_BEGUN = ("cut", "timeout")
"""Errors after which a provider may have worked for nothing, and wants to be paid."""

RunStatus = Literal["answered", "cancelled", "limit", "failed"]


class BudgetExceededError(Exception):
    """There is nothing left that a further turn could use."""


class RunRequest(Record, frozen=True, kw_only=True):
    """What is asked, by whom, and who is to answer."""

    question: str
    caller: Caller
    choice: Choice
    run: str
    """Id of the run."""
    history: Sequence[Message] = ()
    """An earlier conversation to go on with."""
    source: Source = "agent"
    """The door through which the question came."""
    instructions: str = ""
    """What a language model is told on how to use the tools."""


class AgentRun:
    """The state of one run.

    Args:
        toolbox: what its tools are called with.
        wait: asks a person; without it a call that needs an approval is simply reported to the model.
        record: takes every event before the reader gets it.
        budget: what the caller may use, beside the setting `token_budget`.
    """

    def __init__(
        self,
        request: RunRequest,
        settings: Settings,
        toolbox: Toolbox,
        *,
        wait: WaitForApproval | None = None,
        record: RecordEvent | None = None,
        budget: Budget[Any] | None = None,
    ) -> None:
        self.events: asyncio.Queue[AnyRunEvent | None] = asyncio.Queue()
        """What happened, in order; None after the last."""
        self.over = asyncio.Event()
        """Set when nothing of the run is left."""
        self._task: asyncio.Task[None] | None = None
        self._ending = False
        self._request, self._settings, self._record, self._budget = request, settings, record, budget
        self._provider = request.choice.provider
        self._began = time.monotonic_ns()
        self._deadline = Deadline(settings.run_timeout)
        self._usage = Usage()
        self._turn = 0
        self._answer = ""
        self._turn_done: TurnDone | None = None
        self._tools = OfferedTools(toolbox, request.caller)
        call = Call(caller=request.caller, tool="", run=request.run, source=request.source)
        self._started = RunStarted(
            run=request.run,
            question=request.question,
            provider=self._provider.name,
            model=self._provider.model,
            is_llm=self._provider.is_llm,
            why=request.choice.why,
            tools=len(self._tools.visible),
            trace_id=call.trace_id,
        )
        self._steps = ToolSteps(
            toolbox,
            call,
            self._emit,
            self._tools.names,
            offer=self._tools.add,
            deadline=self._deadline,
            parallel=settings.parallel_calls,
            wait=wait,
        )
        earlier = [message for message in request.history if not isinstance(message, SystemMessage)]
        prompt = SystemMessage(text=system_prompt(instructions=request.instructions))
        self._conversation: list[Message] = [prompt, *earlier]

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
        if self._request.choice.close_after and isinstance(self._provider, Closable):
            await self._provider.close()
        await self._emit(
            RunDone(
                run=self._request.run,
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
            await self._record(event, self._started, self._request.caller, self._request.source)
        self.events.put_nowait(event)

    async def _until_answered(self) -> tuple[RunStatus, str]:
        """Turns and calls, until there is an answer or a limit is reached."""
        question = self._request.question
        self._tools.add_for(question, self._conversation, everything=self._provider.wants_all_tools)
        pending = unresolved(self._conversation)
        if pending:
            self._conversation.append(await self._steps.perform(0, pending))
        if question.strip():
            self._conversation.append(UserMessage(text=question))
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
            BudgetExceededError: there are too few.
        """
        if self._budget is None or not self._provider.is_llm:
            return None, output
        # tokens of the input are not known before; no tokenizer makes more of them than there are bytes by half
        input = len(msgspec.json.encode([self._conversation, self._tools.specs])) // 2
        least = input + MIN_OUTPUT_TOKENS
        granted = await self._budget.reserve(
            self._request.caller, self._usage, min(least, input + output), input + output
        )
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
            self._tools.specs,
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
                            await self._emit(TextDelta(run=self._request.run, text=text, turn=self._turn))
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
                await asyncio.shield(self._budget.settle(self._request.caller, granted, counted))
            elapsed_us = (time.monotonic_ns() - began) // 1000
            self._turn_done = TurnDone(
                run=self._request.run, turn=self._turn, usage=usage, elapsed_us=elapsed_us, stop=stop
            )
        said = AssistantMessage(
            text=self._answer, requests=tuple(requests), provider=self._provider.name, items=end.items
        )
        return said, end


def sound(text: str) -> str:
    """`text` without halves of characters, which some servers send and nothing could store."""
    return text if text.isascii() else replaced_surrogates(joined_surrogates(text))


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
