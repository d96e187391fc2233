"""The question of the README, through the real gateway to the bundled servers, answered over an independent wire."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.agent.desk import QUESTION
from tests.agent.stand_ins import aimock
from workbench.config import Settings
from workbench.events import AnyRunEvent, Call, Caller, RunDone, RunStarted, ToolAsked, ToolDone
from workbench.platform.record_access import RecordDesk
from workbench.server_manifests import default_servers

pytestmark = [
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    # aimock ends a turn of calls with a finish reason that Gemini does not have, and Gemini's SDK warns of it
    pytest.mark.filterwarnings("ignore:FUNCTION_CALL is not a valid FinishReason"),
]

EMAIL = "john.smith@acme.com"


async def data_of(platform: Any, caller: Caller, tool: str, **arguments: Any) -> Any:
    outcome = await platform.gateway.call(Call(caller=caller, tool=tool, arguments=arguments))
    assert outcome.ok, outcome.message
    return outcome.data


def fixtures(customer: str, answer: str) -> list[dict[str, Any]]:
    """What a model would do: look the person up, then ask for the rest at once, then answer.

    Each turn is only played when the result of the one before really came back.
    """

    def turn(index: int, response: dict[str, Any], **match: Any) -> dict[str, Any]:
        matched = {"userMessage": "subscription renewal failed", "turnIndex": index, **match}
        return {"match": matched, "response": response}

    lookup = [{"name": "crm__search_customers", "arguments": {"query": EMAIL}}]
    rest = [
        {"name": "tickets__list_tickets", "arguments": {"customer_id": customer, "status": "open"}},
        {"name": "payments__payment_history", "arguments": {"customer_id": customer}},
    ]
    return [
        turn(0, {"content": "Let me look the customer up.", "toolCalls": lookup}),
        turn(1, {"toolCalls": rest}, toolResultContains=customer),
        turn(2, {"content": answer}, toolResultContains="failure_reasons"),
    ]


@pytest.mark.parametrize(
    ("provider", "servers"),
    [
        ("openai", ("crm", "tickets", "payments")),
        ("anthropic", ("crm", "tickets", "payments")),
        ("gemini", default_servers()),  # more tools than are offered at once
    ],
)
async def test_the_question_is_answered_from_the_data_and_every_call_is_on_the_record(
    provider: str, servers: tuple[str, ...], settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = pytest.importorskip("workbench.platform.platform")
    platform = await bench.Platform.open(settings.replace(servers=servers))
    try:
        caller = platform.access.local_caller()
        (customer,) = (await data_of(platform, caller, "crm.search_customers", query=EMAIL))["customers"]
        id = customer["customer_id"]
        (ticket,) = (await data_of(platform, caller, "tickets.list_tickets", customer_id=id, status="open"))["tickets"]
        paid = await data_of(platform, caller, "payments.payment_history", customer_id=id)
        answer = f"{customer['status']}; {ticket['ticket_id']}; {paid['failed']} failed; owed {paid['owed']}"
        with aimock(tmp_path, fixtures(id, answer)) as url:
            for name, value in at(url, provider).items():
                monkeypatch.setenv(name, value)
            events: list[AnyRunEvent] = [event async for event in platform.ask(QUESTION, caller)]
        started, done = events[0], events[-1]
        assert isinstance(started, RunStarted)
        assert isinstance(done, RunDone)
        assert (started.provider, started.is_llm) == (provider, True)
        assert (done.status, done.answer) == ("answered", answer), done.message
        asked = [event.tool for event in events if isinstance(event, ToolAsked)]
        assert asked == ["crm.search_customers", "tickets.list_tickets", "payments.payment_history"]
        outcomes = {event.tool: event.outcome for event in events if isinstance(event, ToolDone)}
        assert all(outcome.ok for outcome in outcomes.values())
        assert outcomes["payments.payment_history"].data == paid
        rows = await RecordDesk(platform).calls(caller, user=None, since=None, until=None, limit=100)
        recorded = {row["request_id"]: row for row in rows if row["run_id"] == done.run}
        assert recorded.keys() == {outcome.call for outcome in outcomes.values()}
    finally:
        await platform.close()


def at(url: str, provider: str) -> dict[str, str]:
    return {
        "openai": {"OPENAI_API_KEY": "test", "OPENAI_BASE_URL": f"{url}/v1"},
        "anthropic": {"ANTHROPIC_API_KEY": "test", "ANTHROPIC_BASE_URL": url},
        "gemini": {"GEMINI_API_KEY": "test", "GOOGLE_BASE_URL": url, "GEMINI_API_VERSION": "v1beta"},
    }[provider]
