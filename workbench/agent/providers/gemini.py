"""Gemini, by generateContent.

Parts go back verbatim, thought signatures included; the API refuses a function call whose signature is missing. The SDK
neither calls tools here nor speaks MCP: its own translation of tools loses schemas. It does not retry by itself, and
its retry option does not read Retry-After; therefore the retries are here. Source: ai.google.dev/gemini-api/docs
(function-calling, thought-signatures), and the installed SDK.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

from workbench.agent.parameter_schema import const_as_enum
from workbench.agent.provider import (
    AssistantMessage,
    Message,
    Part,
    ToolRequest,
    ToolResult,
    ToolResults,
    ToolSpec,
    TurnEnd,
    UserMessage,
)
from workbench.agent.providers.provider_errors import fault
from workbench.agent.providers.remote_provider import SILENCE_TIMEOUT_S, RemoteProvider, StreamedAnswer, system_text
from workbench.agent.providers.tool_call_arguments import MADE, count, requested, safe_tool_name
from workbench.events import JSON, Usage
from workbench.provider_table import PROVIDERS

ROW = PROVIDERS["gemini"]
MAX_ATTEMPTS = 3
RETRIED = (408, 429, 500, 502, 503, 504)
MAX_PAUSE_S = 60.0
"""Seconds; a provider that asks for more is not waited for."""

FOREIGN_SIGNATURE = b"skip_thought_signature_validator"
"""The documented stand-in for the signature of a call that Gemini did not make itself."""

_DECLINED = {
    "SAFETY",
    "RECITATION",
    "LANGUAGE",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "MODEL_ARMOR",
    "IMAGE_SAFETY",
}
_BROKEN = {"MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MALFORMED_RESPONSE", "TOO_MANY_TOOL_CALLS"}


def build(model: str, env: Mapping[str, str]) -> Gemini:
    """The adapter for one run. `GOOGLE_BASE_URL` moves it; `GEMINI_API_VERSION` is v1 (the SDK's default) or v1beta."""
    return Gemini(
        model,
        key=ROW.key(env),
        base_url=ROW.base_url(env),
        version=env.get("GEMINI_API_VERSION") or None,
    )


class Gemini(RemoteProvider):
    """One connection pool to the Gemini API."""

    row = ROW
    default_host = "generativelanguage.googleapis.com"

    def __init__(self, model: str, *, key: str, base_url: str | None, version: str | None = None) -> None:
        super().__init__(model, key=key, base_url=base_url)
        self._version = version
        self._http: Any = None

    def connect(self) -> Any:
        """See `RemoteProvider.connect`."""
        import httpx2
        from google.genai import Client, types

        # The transport is ours, as with the other SDKs; by itself this SDK would take whichever library it finds.
        self._http = httpx2.AsyncClient(timeout=SILENCE_TIMEOUT_S, follow_redirects=True)
        options = types.HttpOptions(
            base_url=self.base_url,
            api_version=self._version,
            httpx_async_client=self._http,
            retry_options=types.HttpRetryOptions(attempts=1),
        )
        return Client(api_key=self.key, vertexai=False, http_options=options)

    def error_class(self) -> type[Exception]:
        """See `RemoteProvider.error_class`."""
        from google.genai.errors import APIError

        return APIError

    def request(
        self, conversation: Sequence[Message], tools: Sequence[ToolSpec], *, max_output_tokens: int, timeout: float
    ) -> JSON:
        """The arguments of `generate_content_stream`."""
        from google.genai import types

        return {
            "model": self.model,
            "contents": _contents(conversation, types),
            "config": self._config(types, conversation, tools, max_output_tokens, timeout),
        }

    def _config(
        self,
        types: Any,
        conversation: Sequence[Message],
        tools: Sequence[ToolSpec],
        max_output_tokens: int,
        timeout: float,
    ) -> Any:
        # `const` is not in the subset that is documented for `parametersJsonSchema`.
        declared = [
            types.FunctionDeclaration(
                name=spec.name, description=spec.description, parameters_json_schema=const_as_enum(spec.schema)
            )
            for spec in tools
        ]
        return types.GenerateContentConfig(
            system_instruction=system_text(conversation) or None,
            tools=[types.Tool(function_declarations=declared)] if declared else None,
            max_output_tokens=max_output_tokens,
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
            http_options=types.HttpOptions(
                timeout=max(int(min(timeout, SILENCE_TIMEOUT_S) * 1000), 1),
                retry_options=types.HttpRetryOptions(attempts=1),
            ),
        )

    @asynccontextmanager
    async def stream(self, request: JSON, *, timeout: float) -> AsyncIterator[Any]:
        """See `RemoteProvider.stream`."""
        first, rest = await self._open(request, time.monotonic() + timeout)
        async with aclosing(rest), aclosing(_chunks(first, rest)) as chunks:
            yield chunks

    async def _open(self, request: JSON, until: float) -> tuple[Any, Any]:
        """The first chunk and the rest of the stream. The request is only sent when the first chunk is asked for."""
        import httpx2

        for attempt in range(1, MAX_ATTEMPTS + 1):
            chunks = await self.client.aio.models.generate_content_stream(**request)
            try:
                return await anext(chunks, None), chunks
            except (self.error_class(), httpx2.ConnectError, httpx2.RemoteProtocolError) as error:
                pause = _pause(error, attempt)
                if pause is None or attempt == MAX_ATTEMPTS or time.monotonic() + pause > until:
                    raise
            await asyncio.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def new_answer(self) -> StreamedAnswer:
        """See `RemoteProvider.new_answer`."""
        return _StreamedContent()

    async def disconnect(self) -> None:
        """See `RemoteProvider.disconnect`."""
        await self.client.aio.aclose()
        self.client.close()
        await self._http.aclose()


class _StreamedContent(StreamedAnswer):
    """One content on its way: parts, requests, usage and finish reason as far as they have come."""

    def __init__(self) -> None:
        self.parts: list[JSON] = []
        self.calls: list[ToolRequest] = []
        self.usage: Any = None
        self.stop = ""
        self.blocked = ""

    def take(self, chunk: Any) -> Iterable[str]:
        """See `StreamedAnswer.take`."""
        self.usage = chunk.usage_metadata or self.usage
        if chunk.prompt_feedback is not None and chunk.prompt_feedback.block_reason:
            self.blocked = _word(chunk.prompt_feedback.block_reason)
        if not chunk.candidates:
            return []
        candidate = chunk.candidates[0]
        if candidate.finish_reason:
            self.stop = _word(candidate.finish_reason)
        parts = candidate.content.parts if candidate.content else None
        texts: list[str] = []
        for part in parts or []:
            self._keep(part.model_dump(mode="json", exclude_none=True))
            if part.function_call is not None:
                self.calls.append(requested(part.function_call.id, part.function_call.name, part.function_call.args))
            elif part.text and not part.thought:
                texts.append(part.text)
        return texts

    def _keep(self, part: JSON) -> None:
        """Keep a part for the echo. Plain text grows the part before it; a part with a signature stays by itself."""
        last = self.parts[-1] if self.parts else {}
        if part.keys() == {"text"} and last.keys() == {"text"}:
            last["text"] += part["text"]
        elif part and part != {"text": ""}:
            self.parts.append(part)

    def finish(self) -> list[Part]:
        """See `StreamedAnswer.finish`."""
        usage = self._counted()
        if self.blocked:
            raise fault("refused", ROW.name, f"the question was blocked ({self.blocked}).")
        if not self.stop:
            raise fault("cut", ROW.name, "the stream ended without a finish reason.")
        if self.stop in _DECLINED:
            raise fault("refused", ROW.name, f"the answer was held back ({self.stop}).")
        if self.stop in _BROKEN:
            raise fault("cut", ROW.name, f"the model wrote a call that nobody can read ({self.stop}).")
        if self.stop == "MAX_TOKENS":
            return [TurnEnd(usage=usage, stop=self.stop, truncated=True)]
        content = {"role": "model", "parts": self.parts}
        return [*self.calls, TurnEnd(usage=usage, stop=self.stop, items=(content,) if self.parts else ())]

    def _counted(self) -> Usage:
        """Gemini's input includes cached tokens; its output does not include thoughts. Any count may be missing."""
        counted = self.usage
        if counted is None:
            return Usage()
        return Usage(
            input_tokens=count(counted.prompt_token_count) + count(counted.tool_use_prompt_token_count),
            output_tokens=count(counted.candidates_token_count) + count(counted.thoughts_token_count),
            cached_tokens=count(counted.cached_content_token_count),
        )


async def _chunks(first: Any, rest: Any) -> AsyncGenerator[Any, None]:
    while first is not None:
        yield first
        first = await anext(rest, None)


def _word(value: Any) -> str:
    return str(getattr(value, "value", value))


def _pause(error: Exception, attempt: int) -> float | None:
    """Seconds until the next attempt, or None when there should be none. The provider's own wish counts."""
    status = getattr(error, "code", None)
    if status is not None and status not in RETRIED:
        return None
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    wished = _seconds(headers.get("retry-after", "")) or _retry_info(getattr(error, "details", None))
    if wished:
        return wished if wished <= MAX_PAUSE_S else None
    return float(min(0.5 * 2 ** (attempt - 1), 8.0) * random.uniform(0.75, 1.25))  # noqa: S311  jitter


def _seconds(text: str) -> float:
    """A delay like `2`, `1.5` or `17s`; 0 for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)s?", text.strip())
    return float(found[1]) if found else 0.0


def _retry_info(details: Any) -> float:
    """The delay in a `google.rpc.RetryInfo` among the error's details; 0 without one."""
    error = details.get("error", details) if isinstance(details, dict) else {}
    listed = error.get("details") if isinstance(error, dict) else None
    for detail in listed if isinstance(listed, list) else []:
        if isinstance(detail, dict) and str(detail.get("@type", "")).endswith("RetryInfo"):
            return _seconds(str(detail.get("retryDelay", "")))
    return 0.0


def _contents(conversation: Sequence[Message], types: Any) -> list[Any]:
    """The conversation as contents."""
    contents: list[Any] = []
    for message in conversation:
        match message:
            case UserMessage():
                contents.append(types.Content(role="user", parts=[types.Part(text=message.text)]))
            case AssistantMessage():
                if message.provider == ROW.name and message.items:
                    contents += [types.Content.model_validate(item) for item in message.items]
                elif parts := _said(message, types):
                    contents.append(types.Content(role="model", parts=parts))
            case ToolResults():
                parts = [_result(result, types) for result in message.results]
                contents.append(types.Content(role="user", parts=parts))
    return contents


def _result(result: ToolResult, types: Any) -> Any:
    response = types.FunctionResponse(
        id=None if result.id.startswith(MADE) else result.id,
        name=safe_tool_name(result.name),
        response={"result" if result.ok else "error": result.text},
    )
    return types.Part(function_response=response)


def _said(message: AssistantMessage, types: Any) -> list[Any]:
    """What another provider said, in the words of this one."""
    parts = [types.Part(text=message.text)] if message.text else []
    for number, request in enumerate(message.requests):
        call = types.FunctionCall(
            id=None if request.id.startswith(MADE) else request.id,
            name=safe_tool_name(request.name),
            args=request.arguments,
        )
        parts.append(types.Part(function_call=call, thought_signature=None if number else FOREIGN_SIGNATURE))
    return parts
