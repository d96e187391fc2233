"""OpenAI, by the Responses API.

Nothing is stored at the provider (`store=False`); therefore reasoning comes back encrypted and is echoed. Every output
item goes back as it came. Source: platform.openai.com/docs/guides/reasoning, /function-calling, and the installed SDK.
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

ROW = PROVIDERS["openai"]
KEY = ROW.keys[0]


def build(model: str, env: Mapping[str, str]) -> OpenAI:
    """The adapter for one run. `OPENAI_BASE_URL` moves it to another address."""
    return OpenAI(model, key=ROW.key(env), base_url=ROW.base_url(env))


class OpenAI(RemoteProvider):
    """One connection pool to the Responses API."""

    row = ROW
    default_host = "api.openai.com"

    def __init__(self, model: str, *, key: str, base_url: str | None) -> None:
        super().__init__(model, key=key, base_url=base_url)
        self._encrypted = True

    def connect(self) -> Any:
        """See `RemoteProvider.connect`."""
        from openai import AsyncOpenAI

        return AsyncOpenAI(api_key=self.key, base_url=self.base_url, max_retries=MAX_RETRIES)

    def error_class(self) -> type[Exception]:
        """See `RemoteProvider.error_class`."""
        from openai import OpenAIError

        return OpenAIError

    def request(
        self, conversation: Sequence[Message], tools: Sequence[ToolSpec], *, max_output_tokens: int, timeout: float
    ) -> JSON:
        """The arguments of `responses.create`."""
        from openai import omit

        return {
            "model": self.model,
            "instructions": system_text(conversation) or omit,
            "input": _items(conversation),
            "tools": [_tool(spec) for spec in tools],
            "max_output_tokens": max_output_tokens,
            "store": False,
            "stream": True,
            "timeout": http_timeout(timeout),
        }

    @asynccontextmanager
    async def stream(self, request: JSON, *, timeout: float) -> AsyncIterator[Any]:
        """See `RemoteProvider.stream`."""
        async with await self._open(request) as events:
            yield events

    async def _open(self, request: JSON) -> Any:
        """Begin the stream. Models that do not reason refuse to encrypt their reasoning; then it is not asked for."""
        from openai import BadRequestError

        if self._encrypted:
            try:
                return await self.client.responses.create(include=["reasoning.encrypted_content"], **request)
            except BadRequestError as error:
                if "encrypted content is not supported" not in str(error).lower():
                    raise
                self._encrypted = False
        return await self.client.responses.create(**request)

    def new_answer(self) -> StreamedAnswer:
        """See `RemoteProvider.new_answer`."""
        return _StreamedResponse()


class _StreamedResponse(StreamedAnswer):
    """One response on its way: output items and refusal as far as they have come, and the response once complete."""

    def __init__(self) -> None:
        self.items: list[JSON] = []
        self.refusal = ""
        self.final: Any = None

    def take(self, event: Any) -> Iterable[str]:
        """See `StreamedAnswer.take`."""
        match getattr(event, "type", ""):
            case "response.output_text.delta":
                return (event.delta,)
            case "response.refusal.delta":
                self.refusal += event.delta
                return (event.delta,)
            case "response.output_item.done":
                self.items.append(_echo(event.item))
            case "response.completed" | "response.incomplete" | "response.failed":
                self.final = event.response
            case "error":
                raise fault_of_status(500, ROW.name, event.message, code=str(event.code or ""), key=KEY)
        return ()

    def finish(self) -> list[Part]:
        """See `StreamedAnswer.finish`."""
        final = self.final
        if final is None:
            raise fault("cut", ROW.name, "the stream ended without response.completed.")
        if final.status == "failed":
            error = final.error
            code, message = (error.code, error.message) if error else ("", "the response failed")
            status = 429 if code == "rate_limit_exceeded" else 500 if code in ("server_error", "") else 400
            failed = fault_of_status(status, ROW.name, message, code=str(code), key=KEY)
            failed.again = status == 500
            raise failed
        stop = str(final.status or "completed")
        reason = str(getattr(final.incomplete_details, "reason", "") or "")
        if reason == "content_filter":
            raise fault("refused", ROW.name, "a filter held the answer back.")
        if reason:
            return [TurnEnd(usage=self._usage(), stop=reason, truncated=True)]
        items = self.items
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
        end = TurnEnd(usage=self._usage(), stop="refusal" if self.refusal else stop, items=tuple(items))
        return [*calls, end]

    def _usage(self) -> Usage:
        """The provider's count; its input already includes cached tokens. Any part of it may be missing."""
        counted = self.final.usage
        if counted is None:
            return Usage()
        details = counted.input_tokens_details
        self.cache_write_tokens = count(getattr(details, "cache_write_tokens", None))
        return Usage(
            input_tokens=count(counted.input_tokens),
            output_tokens=count(counted.output_tokens),
            cached_tokens=count(getattr(details, "cached_tokens", None)),
        )


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
                own = message.provider == ROW.name and bool(message.items)
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
