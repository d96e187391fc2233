"""Anthropic, by the Messages API.

The stream is put together here, event by event, rather than by the SDK: the SDK hands out a message whose stream was
cut, with half of a tool's input in it, and passes over what it cannot read. Thinking blocks go back with their
signatures. Sampling parameters no longer exist in this API (version 2026-10-21). Source: platform.claude.com/docs, and
the installed SDK.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from workbench.agent.prices import priced
from workbench.agent.provider import (
    AssistantMessage,
    Message,
    Part,
    SystemMessage,
    ToolRequest,
    ToolResults,
    ToolSpec,
    TurnEnd,
    UserMessage,
)
from workbench.agent.providers.provider_errors import ProviderErrorTranslator, fault, fault_of_status
from workbench.agent.providers.tool_call_arguments import count, piece, requested, safe_id, safe_tool_name
from workbench.events import JSON, Usage
from workbench.provider_table import PROVIDERS

ROW = PROVIDERS["anthropic"]
KEY = ROW.keys[0]
MAX_RETRIES = 2
STATUS = {"overloaded_error": 529, "rate_limit_error": 429, "invalid_request_error": 400, "timeout_error": 504}
"""What an error that comes inside a stream would have been as an answer; 500 for all others."""
SILENCE_TIMEOUT_S = 120.0


def build(model: str, env: Mapping[str, str]) -> Anthropic:
    """The adapter for one run. `ANTHROPIC_BASE_URL` moves it to another address."""
    return Anthropic(model, key=ROW.key(env), base_url=ROW.base_url(env) or None)


class Anthropic:
    """One connection pool to the Messages API."""

    name = ROW.name
    is_llm = True
    wants_all_tools = False

    def __init__(self, model: str, *, key: str, base_url: str | None) -> None:
        self.model = model
        self._key = key
        self._base_url = base_url
        self._client: Any = None

    def __repr__(self) -> str:
        return f"<Anthropic {self.model} at {self._base_url or 'api.anthropic.com'}>"

    async def turn(
        self,
        conversation: Sequence[Message],
        tools: Sequence[ToolSpec],
        *,
        max_output_tokens: int,
        timeout: float,
    ) -> AsyncIterator[Part]:
        """One streamed message. See `Provider.turn`."""
        if not self._key:
            raise fault("no_key", self.name, f"{KEY} is not set.", key=KEY)
        sdk: Any = await asyncio.to_thread(self._connect)
        request = {
            "model": self.model,
            "system": "\n".join(m.text for m in conversation if isinstance(m, SystemMessage)) or sdk.omit,
            "messages": _messages(conversation),
            "tools": [
                {"name": spec.name, "description": spec.description, "input_schema": spec.schema} for spec in tools
            ],
            "max_tokens": max_output_tokens,
            "cache_control": {"type": "ephemeral"},
            "stream": True,
            "timeout": sdk.Timeout(min(timeout, SILENCE_TIMEOUT_S), connect=min(timeout, 10.0)),
        }
        message = _StreamedMessage()
        with ProviderErrorTranslator(self.name, key=KEY, sdk=sdk.AnthropicError) as faults:
            async with self._client.messages.with_streaming_response.create(**request) as response:
                faults.streaming = True
                async for event in sdk.AsyncStream.raw_events(response.http_response):
                    if event.data and (text := message.take(event.json())):
                        yield piece(text)
            ending = self._finish(message)
        for part in ending:
            yield part

    def _connect(self) -> Any:
        """The SDK, with a client of it made. Takes seconds the first time; not for the event loop."""
        import anthropic as sdk
        import genai_prices  # noqa: F401 - needed when the turn ends

        if self._client is None:
            # Tracing is the workbench's own; with the SDK's every call would be told twice.
            self._client = sdk.AsyncAnthropic(
                api_key=self._key, base_url=self._base_url, max_retries=MAX_RETRIES, open_telemetry=False
            )
        return sdk

    def _finish(self, message: _StreamedMessage) -> list[Part]:
        """The requests and the end of the turn, once the message is complete.

        Raises:
            ProviderError: it is not, or the model declined.
        """
        usage = self._usage(message.usage)
        match message.stop:
            case "":
                raise fault("cut", self.name, "the stream ended without a stop reason.")
            case "refusal":
                raise fault("refused", self.name, "the model declined to answer.")
            case "model_context_window_exceeded":
                raise fault("context", self.name, "the conversation is longer than the model can read.")
            case "max_tokens":
                return [TurnEnd(usage=usage, stop=message.stop, truncated=True)]
        calls, blocks = message.complete()
        return [*calls, TurnEnd(usage=usage, stop=message.stop, items=tuple(blocks))]

    def _usage(self, counted: JSON) -> Usage:
        """Anthropic counts cached tokens apart from the input; `Usage` includes them."""
        read = count(counted.get("cache_read_input_tokens"))
        written = count(counted.get("cache_creation_input_tokens"))
        usage = Usage(
            input_tokens=count(counted.get("input_tokens")) + read + written,
            output_tokens=count(counted.get("output_tokens")),
            cached_tokens=read,
        )
        return priced(self.name, self.model, usage, cache_write_tokens=written)

    async def close(self) -> None:
        """Let go of the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None


class _StreamedMessage:
    """One message on its way: blocks, usage and stop reason as far as they have come."""

    def __init__(self) -> None:
        self.blocks: dict[int, JSON] = {}
        self.inputs: dict[int, str] = {}
        self.usage: JSON = {}
        self.stop = ""

    def take(self, event: JSON) -> str:
        """Add one event; the text that it brings, if it does."""
        match event["type"]:
            case "error":
                error = event.get("error") or {}
                kind = str(error.get("type", ""))
                raise fault_of_status(
                    STATUS.get(kind, 500), Anthropic.name, error.get("message", ""), code=kind, key=KEY
                )
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

    def complete(self) -> tuple[list[ToolRequest], list[JSON]]:
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
                own = message.provider == Anthropic.name and bool(message.items)
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
