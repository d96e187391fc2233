"""The embedded model as a `Provider`: one small decision per turn, then an answer from the results.

The question is taken apart by the planner's rules; for each part the model is offered the few tools that fit and
decides which to call, with which arguments, or that the results suffice. Its replies are held to JSON by a grammar. The
answer is the model's own text, part by part; under each part the program quotes the records it rests on (lines that
begin with `>`). Temperature is zero.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from workbench.agent.embedded import prompts
from workbench.agent.embedded.choices import ToolOffer, learning, offers, served, settled, suggestion
from workbench.agent.embedded.model_process import ModelProcess, collect, delta
from workbench.agent.embedded.weights import MODEL
from workbench.agent.planner.language.question_parser import Need, ParsedQuestion, understand
from workbench.agent.planner.planner_conversation import finished_steps, last_question
from workbench.agent.planner.tools.tool_profile import ToolProfile, shape
from workbench.agent.planner.tools.tool_records import FinishedCall
from workbench.agent.provider import (
    AssistantMessage,
    Message,
    Part,
    ProviderError,
    TextPart,
    ToolRequest,
    ToolSpec,
    TurnEnd,
    UserMessage,
)
from workbench.events import JSON, Usage, canonical

MAX_CALLS_PER_PART = 3
MAX_CALLS = 10
MAX_ANSWER_TOKENS = 400


@dataclass
class _Spent:
    """What the model calls of one turn took."""

    usage: Usage = field(default_factory=Usage)
    first_token: float = 0.0
    began: float = field(default_factory=time.monotonic)

    def token(self) -> None:
        self.first_token = self.first_token or time.monotonic() - self.began

    def add(self, end: JSON) -> None:
        told = end.get("usage") or {}
        cached = (told.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
        self.usage = self.usage + Usage(
            input_tokens=int(told.get("prompt_tokens", 0)),
            output_tokens=int(told.get("completion_tokens", 0)),
            cached_tokens=int(cached or 0),
        )

    def stop(self, word: str) -> str:
        """The reason, with the latency a person would feel."""
        return f"{word}; first token after {self.first_token:.1f} s"


class EmbeddedProvider:
    """A `Provider` on the weights in this machine."""

    name = "embedded"
    is_llm = True
    wants_all_tools = True
    model = MODEL

    def __init__(self, weights: Path, *, engine: ModelProcess | None = None, today: date | None = None) -> None:
        """Args:
        weights: the model file.
        engine: for tests; default a process over `weights`.
        today: the day that relative dates count from; None means the day of the turn.
        """
        self._engine = engine or ModelProcess(weights)
        self._today = today

    async def close(self) -> None:
        """End the model's process."""
        await self._engine.close()

    async def turn(
        self, conversation: Sequence[Message], tools: Sequence[ToolSpec], *, max_output_tokens: int, timeout: float
    ) -> AsyncIterator[Part]:
        """One call, or the answer. See `Provider.turn`.

        Raises:
            ProviderError: the model's process failed, or the time was up.
        """
        spent = _Spent()
        try:
            async with asyncio.timeout(timeout):
                text, earlier = last_question(conversation)
                parts = parts_of(conversation)
                question, shapes, steps = await asyncio.to_thread(self._read, conversation, tools, text, earlier)
                request, part = await self._decide(question, shapes, steps, parts, spent)
                if request is not None:
                    yield request
                    yield TurnEnd(usage=spent.usage, stop=spent.stop("tool call"), items=({"part": part},))
                    return
                most = min(max_output_tokens, MAX_ANSWER_TOKENS)
                async with aclosing(self._answer(question, steps, parts, most, spent)) as pieces:
                    async for piece in pieces:
                        yield piece
        except TimeoutError:
            raise ProviderError(
                "timeout",
                f"The embedded model did not finish its turn within {timeout:g} s.",
                hint="Give it more time, or a provider with a key.",
            ) from None

    def _read(
        self, conversation: Sequence[Message], tools: Sequence[ToolSpec], text: str, earlier: tuple[str, ...]
    ) -> tuple[ParsedQuestion, list[ToolProfile], list[FinishedCall]]:
        question = understand(text, self._today or date.today(), earlier)
        shapes = [shape(t.tool, t.name, t.schema) for t in tools]
        steps = finished_steps(conversation, shapes)
        return question, shapes, steps

    async def _decide(
        self,
        question: ParsedQuestion,
        shapes: list[ToolProfile],
        steps: list[FinishedCall],
        parts: list[int],
        spent: _Spent,
    ) -> tuple[ToolRequest | None, int]:
        """The next call and the part it is for; None when the model wants no more."""
        part = parts[-1] if parts else 0
        needs = asked(question)
        while part < len(needs) and len(steps) < MAX_CALLS:
            need = needs[part]
            own = [s for s, at in zip(steps, parts, strict=False) if at == part]
            options: list[ToolOffer] = []
            if len(own) - len(learning(shapes, own)) < MAX_CALLS_PER_PART and not await asyncio.to_thread(
                served, question, need, shapes, own
            ):
                options = await asyncio.to_thread(offers, question, need, shapes, steps)
            done = {(s.tool, canonical(s.arguments)) for s in steps}
            options = [o for o in options if (o.shape.tool.qualified, canonical(settled(o.schema))) not in done]
            if options:
                tool, arguments = await self._choose(question, need, options, shapes, steps, spent)
                picked = next((o for o in options if o.shape.tool.qualified == tool), None)
                if picked is not None and (tool, canonical(arguments)) not in done:
                    number, why = f"call-{len(steps) + 1}", f"for “{need.text[:80]}”"
                    return ToolRequest(id=number, name=picked.shape.name, arguments=arguments, why=why), part
            part += 1
        return None, part

    async def _choose(
        self,
        question: ParsedQuestion,
        need: Need,
        options: list[ToolOffer],
        shapes: list[ToolProfile],
        steps: list[FinishedCall],
        spent: _Spent,
    ) -> tuple[str, JSON]:
        """The model's decision among the options."""
        messages: list[JSON] = [
            {"role": "system", "content": prompts.SYSTEM},
            {"role": "user", "content": prompts.opening(question)},
        ]
        for done in steps:
            messages.append({"role": "assistant", "content": prompts.call_text(done)})
            messages.append({"role": "user", "content": prompts.result_text(done)})
        # to know the columns of a table is no answer yet
        may_stop = len(steps) > len(learning(shapes, steps))
        hint = await asyncio.to_thread(suggestion, question, need, shapes, steps)
        messages.append({"role": "user", "content": prompts.asking(need, options, may_stop, hint)})
        schema = prompts.decision_schema(options, may_stop=may_stop)
        request: JSON = {
            "messages": messages, "temperature": 0, "max_tokens": 200, "cache_prompt": True,
            "stream_options": {"include_usage": True},
            "response_format": {"type": "json_schema", "json_schema": {"name": "call", "schema": schema}},
        }  # fmt: skip
        for _ in range(2):
            text, end = await collect(self._engine, request, spent.token)
            spent.add(end)
            try:
                reply = json.loads(text)
                if isinstance(reply, dict) and isinstance(reply.get("arguments"), dict):
                    return str(reply.get("tool")), reply["arguments"]
            except json.JSONDecodeError:
                pass
            # only a reply that hit the token limit is no JSON: ask for a shorter one
            request = {
                **request,
                "messages": [*messages, {"role": "user", "content": "Reply again, shorter, valid JSON only."}],
            }
        return prompts.NEXT, {}

    async def _answer(
        self, question: ParsedQuestion, steps: list[FinishedCall], parts: list[int], most: int, spent: _Spent
    ) -> AsyncGenerator[Part, None]:
        """The answer, part by part, each from the results of its own calls."""
        finish = ""
        needs = asked(question)
        for number, need in enumerate(needs):
            own = [s for s, part in zip(steps, parts, strict=False) if part == number and s.ok] or steps[-3:]
            request: JSON = {
                "messages": prompts.answering(question, need, own[-3:]), "temperature": 0, "repeat_penalty": 1.1,
                "max_tokens": max(40, most // len(needs)), "cache_prompt": True,
                "stream_options": {"include_usage": True},
            }  # fmt: skip
            if number:
                yield TextPart(text="\n\n")
            async with aclosing(self._engine.chat(request)) as chunks:
                async for chunk in chunks:
                    if text := delta(chunk):
                        spent.token()
                        yield TextPart(text=text)
                    spent.add(chunk)
                    ended = [c["finish_reason"] for c in chunk.get("choices") or [] if c.get("finish_reason")]
                    finish = "length" if "length" in (finish, *ended) else (ended or [finish])[0]
            if quoted := prompts.records(question, need, own):
                yield TextPart(text=quoted)
        yield TurnEnd(usage=spent.usage, stop=spent.stop(finish or "stop"), truncated=finish == "length")


def asked(question: ParsedQuestion) -> list[Need]:
    """The parts that want something; what is only told is left to the answer."""
    return [n for n in question.needs if n.kind != "tell"] or list(question.needs)


def parts_of(conversation: Sequence[Message]) -> list[int]:
    """The part that each call since the last question was made for."""
    asked_at = max((n for n, m in enumerate(conversation) if isinstance(m, UserMessage)), default=0)
    return [
        item["part"]
        for m in conversation[asked_at:] if isinstance(m, AssistantMessage) and m.provider in ("", "embedded")
        for item in m.items if isinstance(item.get("part"), int)
    ]  # fmt: skip
