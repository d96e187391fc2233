"""OpenAI, by the Responses API.

Nothing is stored at the provider (`store=False`); therefore reasoning comes back encrypted and is echoed. Every output
item goes back as it came. Source: platform.openai.com/docs/guides/reasoning, /function-calling, and the installed SDK.
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

ROW = PROVIDERS["openai"]
KEY = ROW.keys[0]
MAX_RETRIES = 2
"""The SDK's own: on 408, 409, 429, 5xx and lost connections, with the provider's Retry-After."""
SILENCE_TIMEOUT_S = 120.0
"""Longest time without a byte."""


def build(model: str, env: Mapping[str, str]) -> OpenAI:
    """The adapter for one run. `OPENAI_BASE_URL` moves it to another address."""
    return OpenAI(model, key=ROW.key(env), base_url=ROW.base_url(env) or None)


class OpenAI:
    """One connection pool to the Responses API."""

    name = ROW.name
    is_llm = True
    wants_all_tools = False

    def __init__(self, model: str, *, key: str, base_url: str | None) -> None:
        self.model = model
        self._key = key
        self._base_url = base_url
        self._client: Any = None
        self._encrypted = True

    def __repr__(self) -> str:
        return f"<OpenAI {self.model} at {self._base_url or 'api.openai.com'}>"

    async def turn(
        self,
        conversation: Sequence[Message],
        tools: Sequence[ToolSpec],
        *,
        max_output_tokens: int,
        timeout: float,
    ) -> AsyncIterator[Part]:
        """One streamed response. See `Provider.turn`."""
        if not self._key:
            raise fault("no_key", self.name, f"{KEY} is not set.", key=KEY)
        sdk: Any = await asyncio.to_thread(self._connect)
        request = {
            "model": self.model,
            "instructions": "\n".join(m.text for m in conversation if isinstance(m, SystemMessage)) or sdk.omit,
            "input": _items(conversation),
            "tools": [_tool(spec) for spec in tools],
            "max_output_tokens": max_output_tokens,
            "store": False,
            "stream": True,
            "timeout": sdk.Timeout(min(timeout, SILENCE_TIMEOUT_S), connect=min(timeout, 10.0)),
        }
        final: Any = None
        items: list[JSON] = []
        refusal = ""
        with ProviderErrorTranslator(self.name, key=KEY, sdk=sdk.OpenAIError) as faults:
            stream = await self._open(sdk, request)
            faults.streaming = True
            async with stream:
                async for event in stream:
                    match getattr(event, "type", ""):
                        case "response.output_text.delta":
                            yield piece(event.delta)
                        case "response.refusal.delta":
                            refusal += event.delta
                            yield piece(event.delta)
                        case "response.output_item.done":
                            items.append(_echo(event.item))
                        case "response.completed" | "response.incomplete" | "response.failed":
                            final = event.response
                        case "error":
                            raise fault_of_status(500, self.name, event.message, code=str(event.code or ""), key=KEY)
            ending = self._finish(final, items, refusal)
        for part in ending:
            yield part

    def _connect(self) -> Any:
        """The SDK, with a client of it made. Takes up to a second the first time; not for the event loop."""
        import genai_prices  # noqa: F401 - needed when the turn ends
        import openai as sdk

        if self._client is None:
            self._client = sdk.AsyncOpenAI(api_key=self._key, base_url=self._base_url, max_retries=MAX_RETRIES)
        return sdk

    async def _open(self, sdk: Any, request: JSON) -> Any:
        """Begin the stream. Models that do not reason refuse to encrypt their reasoning; then it is not asked for."""
        if self._encrypted:
            try:
                return await self._client.responses.create(include=["reasoning.encrypted_content"], **request)
            except sdk.BadRequestError as error:
                if "encrypted content is not supported" not in str(error).lower():
                    raise
                self._encrypted = False
        return await self._client.responses.create(**request)

    def _finish(self, final: Any, items: list[JSON], refusal: str) -> list[Part]:
        """The requests and the end of the turn, once the response is complete.

        Raises:
            ProviderError: it is not, or it failed.
        """
        if final is None:
            raise fault("cut", self.name, "the stream ended without response.completed.")
        if final.status == "failed":
            error = final.error
            code, message = (error.code, error.message) if error else ("", "the response failed")
            status = 429 if code == "rate_limit_exceeded" else 500 if code in ("server_error", "") else 400
            failed = fault_of_status(status, self.name, message, code=str(code), key=KEY)
            failed.again = status == 500
            raise failed
        stop = str(final.status or "completed")
        reason = str(getattr(final.incomplete_details, "reason", "") or "")
        if reason == "content_filter":
            raise fault("refused", self.name, "a filter held the answer back.")
        if reason:
            return [TurnEnd(usage=self._usage(final.usage), stop=reason, truncated=True)]
        if final.output:  # what is in the completed response counts; some servers only stream the items
            items = [_echo(item) for item in final.output]
        items = [item for item in items if item["type"] != "reasoning" or item.get("encrypted_content")]
        calls: list[Part] = []
        for item in items:
            if item["type"] == "function_call":
                call = requested(item["call_id"], item["name"], item["arguments"])
                calls.append(call)
                if call.malformed:  # what nobody can parse does not go back
                    item["arguments"] = "{}"
        end = TurnEnd(usage=self._usage(final.usage), stop="refusal" if refusal else stop, items=tuple(items))
        return [*calls, end]

    def _usage(self, counted: Any) -> Usage:
        """The provider's count; its input already includes cached tokens. Any part of it may be missing."""
        if counted is None:
            return Usage()
        details = counted.input_tokens_details
        usage = Usage(
            input_tokens=count(counted.input_tokens),
            output_tokens=count(counted.output_tokens),
            cached_tokens=count(getattr(details, "cached_tokens", None)),
        )
        written = count(getattr(details, "cache_write_tokens", None))
        return priced(self.name, self.model, usage, cache_write_tokens=written)

    async def close(self) -> None:
        """Let go of the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None


def _tool(spec: ToolSpec) -> JSON:
    # Strict mode would make optional parameters required, and the model invent values for them.
    return {
        "type": "function",
        "name": spec.name,
        "description": spec.description,
        "parameters": spec.schema,
        "strict": False,
    }


def _echo(item: Any) -> JSON:
    """An output item as it goes back. The SDK adds `parsed_arguments`, which the API refuses."""
    dumped: JSON = item.model_dump(mode="json", exclude_none=True, warnings=False)
    return {key: value for key, value in dumped.items() if key != "parsed_arguments"}


def _items(conversation: Sequence[Message]) -> list[JSON]:
    """The conversation as input items."""
    items: list[JSON] = []
    own = False
    for message in conversation:
        match message:
            case UserMessage():
                items.append({"role": "user", "content": message.text})
            case AssistantMessage():
                own = message.provider == OpenAI.name and bool(message.items)
                items += message.items if own else _said(message)
            case ToolResults():
                items += [
                    {
                        "type": "function_call_output",
                        "call_id": result.id if own else safe_id(result.id),
                        "output": result.text,
                    }
                    for result in message.results
                ]
    return items


def _said(message: AssistantMessage) -> list[JSON]:
    """What another provider said, in the words of this one."""
    text: list[JSON] = [{"role": "assistant", "content": message.text}] if message.text else []
    return [*text, *(_call(request) for request in message.requests)]


def _call(request: ToolRequest) -> JSON:
    import orjson

    return {
        "type": "function_call",
        "call_id": safe_id(request.id),
        "name": safe_tool_name(request.name),
        "arguments": orjson.dumps(request.arguments).decode(),
    }
