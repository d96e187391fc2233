"""Forms that ask for passwords and keys reach nobody; all other questions do."""

from __future__ import annotations

from typing import Any

import pytest

from tests.interop.scripted_server import ScriptedServer
from workbench.gateway.results.sensitive_elicitation import sensitive_field

FORMS = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}, "url": {}}}}


def form(**fields: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": fields}
    return {"method": "elicitation/create", "params": {"mode": "form", "message": "?", "requestedSchema": schema}}


@pytest.mark.parametrize(
    "fields",
    [
        {"password": {"type": "string"}},
        {"user": {"type": "string"}, "userPassword": {}},
        {"API_KEY": {"type": "string"}},
        {"apikey": {"type": "string"}},
        {"x": {"type": "string", "title": "Your access token"}},
        {"field": {"type": "string", "format": "password"}},
        {"clientSecret": {"type": "string"}},
        {"credit_card_number": {"type": "string"}},
        {"CVV": {"type": "integer"}},
        {"seed-phrase": "odd"},
        {"ssn": {"type": "string"}},
    ],
)
def test_a_secret_is_found_in_a_form(fields: dict[str, Any]) -> None:
    assert sensitive_field(form(**fields)) in fields


@pytest.mark.parametrize(
    "question",
    [
        form(),
        form(city={"type": "string"}, max_tokens={"type": "integer"}, keyboard={"type": "string"}),
        form(reset_password={"type": "boolean"}, compass={"type": "string"}, pin={"type": "string"}),
        form(secretary={"type": "string", "title": "Name of the secretary"}, token_count={"type": "integer"}),
        {"method": "elicitation/create", "params": {"mode": "url", "url": "https://x.example", "message": "API key"}},
        {"method": "sampling/createMessage", "params": {"messages": []}},
        {"method": "elicitation/create", "params": {"requestedSchema": {"properties": []}}},
        {"method": "elicitation/create"},
        None,
    ],
)
def test_other_questions_pass(question: Any) -> None:
    assert sensitive_field(question) == ""


@pytest.mark.parametrize(("field", "kind"), [("accountPassword", "failed"), ("city", "")])
async def test_a_server_that_asks_for_a_secret_fails(
    furnish: Any, serve: Any, browse: Any, field: str, kind: str
) -> None:
    asks = {"resultType": "input_required", "inputRequests": {"q": form(**{field: {"type": "string"}})}}
    url = await serve(ScriptedServer([{"name": "ask"}], {"ask": asks}, modern=True))
    browser = browse(await furnish(servers={"other": f"{url}/mcp"}))
    answer = (await browser.modern("tools/call", {"name": "other.ask", "arguments": {}}, meta=FORMS)).json["result"]
    assert answer.get("isError", False) == bool(kind)
    assert ("inputRequests" in answer) == (not kind)
    assert not kind or "URL mode" in str(answer["content"])
