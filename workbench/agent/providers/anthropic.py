"""Anthropic, by the Messages API.

The stream is put together here, event by event, rather than by the SDK: the SDK hands out a message whose stream was
cut, with half of a tool's input in it, and passes over what it cannot read. Thinking blocks go back with their
signatures. Sampling parameters no longer exist in this API (version 2026-10-21). Source: platform.claude.com/docs, and
the installed SDK.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from workbench.agent.provider import (
    AssistantMessage,
    Message,
    Part,
    ToolRequest,
    ToolResults,
    ToolSpec,
    TurnEnd,
    UserMessage,
)
from workbench.agent.providers.provider_errors import fault, fault_of_status
from workbench.agent.providers.remote_provider import (
    MAX_RETRIES,
    RemoteProvider,
    StreamedAnswer,
    http_timeout,
    system_text,
)
from workbench.agent.providers.tool_call_arguments import count, requested, safe_id, safe_tool_name
from workbench.events import JSON, Usage
from workbench.provider_table import PROVIDERS

ROW = PROVIDERS["anthropic"]
KEY = ROW.keys[0]
STATUS = {"overloaded_error": 529, "rate_limit_error": 429, "invalid_request_error": 400, "timeout_error": 504}
"""What an error that comes inside a stream would have been as an answer; 500 for all others."""


def build(model: str, env: Mapping[str, str]) -> Anthropic:
    """The adapter for one run. `ANTHROPIC_BASE_URL` moves it to another address."""
    return Anthropic(model, key=ROW.key(env), base_url=ROW.base_url(env))


class Anthropic(RemoteProvider):
    """One connection pool to the Messages API."""

    row = ROW
    default_host = "api.anthropic.com"

    def connect(self) -> Any:
        """See `RemoteProvider.connect`."""
        from anthropic import AsyncAnthropic

        # Tracing is the workbench's own; with the SDK's every call would be told twice.
        return AsyncAnthropic(api_key=self.key, base_url=self.base_url, max_retries=MAX_RETRIES, open_telemetry=False)

    def error_class(self) -> type[Exception]:
        """See `RemoteProvider.error_class`."""
        from anthropic import AnthropicError

        return AnthropicError

    def request(
        self, conversation: Sequence[Message], tools: Sequence[ToolSpec], *, max_output_tokens: int, timeout: float
    ) -> JSON:
        """The arguments of `messages.create`."""
        from anthropic import omit

        return {
            "model": self.model,
            "system": system_text(conversation) or omit,
            "messages": _messages(conversation),
            "tools": [
                {"name": spec.name, "description": spec.description, "input_schema": spec.schema} for spec in tools
            ],
            "max_tokens": max_output_tokens,
            "cache_control": {"type": "ephemeral"},
            "stream": True,
            "timeout": http_timeout(timeout),
        }

    @asynccontextmanager
    async def stream(self, request: JSON, *, timeout: float) -> AsyncIterator[Any]:
        """See `RemoteProvider.stream`."""
        from anthropic import AsyncStream

        async with self.client.messages.with_streaming_response.create(**request) as response:
            yield AsyncStream.raw_events(response.http_response)

    def new_answer(self) -> StreamedAnswer:
        """See `RemoteProvider.new_answer`."""
        return _StreamedMessage()


class _StreamedMessage(StreamedAnswer):
    """One message on its way: blocks, usage and stop reason as far as they have come."""

    def __init__(self) -> None:
        self.blocks: dict[int, JSON] = {}
        self.inputs: dict[int, str] = {}
        self.usage: JSON = {}
        self.stop = ""

    def take(self, event: Any) -> Iterable[str]:
        """See `StreamedAnswer.take`."""
        text = self._add(event.json()) if event.data else ""
        return (text,) if text else ()

    def _add(self, event: JSON) -> str:
        match event["type"]:
            case "error":
                error = event.get("error") or {}
                kind = str(error.get("type", ""))
                raise fault_of_status(STATUS.get(kind, 500), ROW.name, error.get("message", ""), code=kind, key=KEY)
            case "message_start":
                self.usage.update(event["message"].get("usage", {}))
            case "message_delta":
                self.stop = str(event["delta"].get("stop_reason") or self.stop)
                self.usage.update(event.get("usage") or {})
            case "content_block_start":
                self.blocks[event["index"]] = event["content_block"]
                self.inputs[event["index"]] = ""
                return str(event["content_block"].get("text", ""))
            case "content_block_delta":
                return self._grow(event["index"], event["delta"])
        return ""

    def _grow(self, index: int, delta: JSON) -> str:
        block = self.blocks[index]
        match delta["type"]:
            case "text_delta":
                block["text"] = block.get("text", "") + delta["text"]
                return str(delta["text"])
            case "input_json_delta":
                self.inputs[index] += delta["partial_json"]
            case "thinking_delta":
                block["thinking"] = block.get("thinking", "") + delta["thinking"]
            case "signature_delta":
                block["signature"] = delta["signature"]
            case "citations_delta":
                block.setdefault("citations", []).append(delta["citation"])
        return ""

    def finish(self) -> list[Part]:
        """See `StreamedAnswer.finish`."""
        usage = self._usage()
        match self.stop:
            case "":
                raise fault("cut", ROW.name, "the stream ended without a stop reason.")
            case "refusal":
                raise fault("refused", ROW.name, "the model declined to answer.")
            case "model_context_window_exceeded":
                raise fault("context", ROW.name, "the conversation is longer than the model can read.")
            case "max_tokens":
                return [TurnEnd(usage=usage, stop=self.stop, truncated=True)]
        calls, blocks = self._complete()
        return [*calls, TurnEnd(usage=usage, stop=self.stop, items=tuple(blocks))]

    def _usage(self) -> Usage:
        """Anthropic counts cached tokens apart from the input; `Usage` includes them."""
        read = count(self.usage.get("cache_read_input_tokens"))
        self.cache_write_tokens = count(self.usage.get("cache_creation_input_tokens"))
        return Usage(
            input_tokens=count(self.usage.get("input_tokens")) + read + self.cache_write_tokens,
            output_tokens=count(self.usage.get("output_tokens")),
            cached_tokens=read,
        )

    def _complete(self) -> tuple[list[ToolRequest], list[JSON]]:
        """The requests, and the blocks as they go back. Empty text would be refused there."""
        calls: list[ToolRequest] = []
        blocks: list[JSON] = []
        for index, block in sorted(self.blocks.items()):
            if block["type"] == "tool_use":
                call = requested(block["id"], block["name"], self.inputs[index] or block.get("input"))
                calls.append(call)
                block["input"] = call.arguments
            if block["type"] != "text" or block.get("text"):
                blocks.append(block)
        return calls, blocks


def _messages(conversation: Sequence[Message]) -> list[JSON]:
    """The conversation as messages."""
    messages: list[JSON] = []
    own = False
    for message in conversation:
        match message:
            case UserMessage():
                messages.append({"role": "user", "content": message.text})
            case AssistantMessage():
                own = message.provider == ROW.name and bool(message.items)
                content = list(message.items) if own else _said(message)
                if content:
                    messages.append({"role": "assistant", "content": content})
            case ToolResults():
                results = [
                    {
                        "type": "tool_result",
                        "tool_use_id": result.id if own else safe_id(result.id),
                        "content": result.text,
                        "is_error": not result.ok,
                    }
                    for result in message.results
                ]
                messages.append({"role": "user", "content": results})
    return messages


def _said(message: AssistantMessage) -> list[JSON]:
    """What another provider said, in the words of this one."""
    text: list[JSON] = [{"type": "text", "text": message.text.rstrip()}] if message.text.strip() else []
    return [
        *text,
        *(
            {
                "type": "tool_use",
                "id": safe_id(request.id),
                "name": safe_tool_name(request.name),
                "input": request.arguments,
            }
            for request in message.requests
        ),
    ]
