"""A provider of these tests alone, as a module of a new provider is written: it asks its address, with its key."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from workbench.agent import Message, Part, TextPart, ToolSpec, TurnEnd, UserMessage
from workbench.agent.prices import priced
from workbench.events import Usage
from workbench.provider_table import ProviderRow

ROW = ProviderRow(
    name="extra",
    module="tests.agent.extra_provider",
    place=15,
    chosen_by="key",
    keys=("EXTRA_API_KEY", "EXTRA_TOKEN"),
    base_urls=("EXTRA_BASE_URL",),
    sdk="httpx2",
    price_id="anthropic",
    telemetry_name="extra.inference",
)


def build(model: str, env: Mapping[str, str]) -> Extra:
    """The adapter for one run."""
    return Extra(model, key=ROW.key(env), base_url=ROW.base_url(env))


class Extra:
    """Puts the last question to its address."""

    name = ROW.name
    is_llm = True
    wants_all_tools = False

    def __init__(self, model: str, *, key: str, base_url: str) -> None:
        self.model = model
        self._key = key
        self._base_url = base_url

    async def turn(
        self, conversation: Sequence[Message], tools: Sequence[ToolSpec], *, max_output_tokens: int, timeout: float
    ) -> AsyncIterator[Part]:
        import httpx2

        question = next(m.text for m in reversed(conversation) if isinstance(m, UserMessage))
        async with httpx2.AsyncClient(timeout=timeout, trust_env=False) as client:
            headers = {"authorization": f"Bearer {self._key}"}
            response = await client.post(self._base_url, json={"model": self.model, "ask": question}, headers=headers)
        told = response.json()
        usage = Usage(input_tokens=told["input"], output_tokens=told["output"])
        yield TextPart(text=told["text"])
        yield TurnEnd(stop="end", usage=priced(self.name, self.model, usage))
