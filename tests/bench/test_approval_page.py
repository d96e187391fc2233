"""Approvals through an MCP client: it is told where its user can decide, and the page asks there who they are."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from tests.bench.conftest import Api
from workbench.client import Workbench
from workbench.platform.platform import Platform

MODERN = "2026-07-28"
SHOWS = {"elicitation": {"url": {}}}
KEY = "workbench/approval"
NUMBER = iter(range(10, 1000))


@pytest.fixture
def asker(platform: Platform) -> str:
    return platform.access.create_key("asker", roles=["manager"])[1]


@pytest.fixture
def bob(platform: Platform) -> str:
    return platform.access.create_key("bob", roles=["manager"])[1]


@pytest.fixture
def payment() -> dict[str, str]:
    return {"payment_id": f"Y-{next(NUMBER):06}", "reason": "wrong"}


def modern(api: Api, token: str, arguments: Any, capabilities: Any = SHOWS, **more: Any) -> Any:
    params = {
        "name": "payments.refund_payment", "arguments": arguments, **more,
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": capabilities,
        },
    }  # fmt: skip
    headers = {"mcp-protocol-version": MODERN, "mcp-method": "tools/call", "mcp-name": "payments.refund_payment",
               "accept": "application/json, text/event-stream"}  # fmt: skip
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return api("POST", "/mcp", token=token, json=body, headers=headers)


def test_a_client_of_2026_is_sent_to_the_page_and_its_next_call_runs(
    api: Api, platform: Platform, asker: str, bob: str, payment: dict[str, str]
) -> None:
    told = modern(api, asker, payment).json()["result"]
    assert told["resultType"] == "input_required"
    asked = told["inputRequests"][KEY]
    assert (asked["method"], asked["params"]["mode"]) == ("elicitation/create", "url")
    id = told["_meta"]["workbench/outcome"]["approval"]
    assert asked["params"]["url"] == f"http://127.0.0.1:8800/approvals/{id}"
    api("POST", f"/api/platform/approvals/{id}", token=bob, json={"approve": True})
    done = modern(api, asker, payment, inputResponses={KEY: {"action": "accept"}}).json()["result"]
    assert done["resultType"] == "complete"
    assert done["structuredContent"]["status"] == "refunded"


def test_opening_the_page_is_no_approval_and_a_no_there_ends_the_call(
    api: Api, wb: Workbench, platform: Platform, asker: str, bob: str, payment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from workbench.gateway import approval_gate

    id = modern(api, asker, payment).json()["result"]["_meta"]["workbench/outcome"]["approval"]
    monkeypatch.setattr(approval_gate, "OPEN_TIMEOUT_S", 0.0)
    again = modern(api, asker, payment, inputResponses={KEY: {"action": "accept"}}).json()["result"]
    assert again["resultType"] == "input_required", "the client says that the page was opened, which says nothing"
    assert again["_meta"]["workbench/outcome"]["approval"] == id
    monkeypatch.setattr(approval_gate, "OPEN_TIMEOUT_S", 20.0)

    async def deny_once_it_waits() -> None:
        async with asyncio.timeout(15):
            while not platform.policy.approvals._waiting:  # noqa: ASYNC110 - nothing else tells that somebody waits
                await asyncio.sleep(0.005)
        caller = platform.access.authenticate(f"Bearer {bob}")
        await platform.decide(id, False, caller, via="page", note="not this one")

    denying = wb._loop.portal.start_task_soon(deny_once_it_waits)
    denied = modern(api, asker, payment, inputResponses={KEY: {"action": "accept"}}).json()["result"]
    denying.result()
    assert denied["isError"] is True
    assert "bob has denied this call. not this one" in denied["content"][0]["text"]


@pytest.mark.parametrize("action", ["decline", "cancel"])
def test_whoever_does_not_open_the_page_gets_nothing_done(
    api: Api, asker: str, payment: dict[str, str], action: str
) -> None:
    modern(api, asker, payment)
    refused = modern(api, asker, payment, inputResponses={KEY: {"action": action}}).json()["result"]
    assert refused["isError"] is True
    assert "was not opened" in refused["content"][0]["text"]


@pytest.mark.parametrize("capabilities", [{}, {"elicitation": {}}, {"elicitation": {"form": {}}}, {"elicitation": 1}])
def test_a_client_that_shows_no_pages_is_told_in_words(
    api: Api, asker: str, payment: dict[str, str], capabilities: Any
) -> None:
    told = modern(api, asker, payment, capabilities).json()["result"]
    assert (told["resultType"], told["isError"]) == ("complete", True)
    assert told["_meta"]["workbench/outcome"]["kind"] == "approval_required"


@pytest.mark.parametrize(("revision", "coded"), [("2025-11-25", True), ("2025-06-18", False)])
def test_a_client_of_2025_gets_the_error_that_its_revision_has_for_it(
    api: Api, asker: str, payment: dict[str, str], revision: str, coded: bool
) -> None:
    headers = {"mcp-protocol-version": revision, "accept": "application/json, text/event-stream"}
    hello = {"protocolVersion": revision, "capabilities": SHOWS, "clientInfo": {"name": "c", "version": "1"}}
    begun = api("POST", "/mcp", token=asker, headers=headers,
                json={"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello})  # fmt: skip
    headers["mcp-session-id"] = begun.headers["mcp-session-id"]
    params = {"name": "payments.refund_payment", "arguments": payment}
    answer = api("POST", "/mcp", token=asker, headers=headers,
                 json={"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params})  # fmt: skip
    message = answer.json()
    if not coded:
        assert message["result"]["isError"] is True
        return
    assert (answer.status_code, message["error"]["code"]) == (200, -32042)
    (asked,) = message["error"]["data"]["elicitations"]
    assert asked["mode"] == "url"
    assert asked["url"].endswith(f"/approvals/{asked['elicitationId']}")


# --- the page --------------------------------------------------------------------------------------


class Visitor:
    """A browser on the approval page."""

    def __init__(self, api: Api, id: str) -> None:
        self._api, self.path, self.cookie = api, f"/approvals/{id}", ""

    def open(self) -> Any:
        found = self._api("GET", self.path, token=None)
        self.cookie = found.headers["set-cookie"].split(";")[0]
        return found

    def send(self, **fields: str) -> Any:
        headers = {"content-type": "application/x-www-form-urlencoded", "origin": fields.pop("origin", ORIGIN)}
        if self.cookie:
            headers["cookie"] = self.cookie
        return self._api("POST", self.path, token=None, data=fields, headers=headers)

    def look(self, key: str) -> str:
        self.open()
        shown = self.send(key=key)
        assert shown.status_code == 200, shown.text
        return re.search(r'name="look" value="([^"]+)"', shown.text)[1]  # type: ignore[index]


ORIGIN = "http://127.0.0.1:8800"


@pytest.fixture
def waiting(api: Api, platform: Platform, asker: str, payment: dict[str, str]) -> str:
    answer = api(
        "POST", "/api/platform/call", token=asker, json={"tool": "payments.refund_payment", "arguments": payment}
    )
    return str(answer.json()["details"]["approval"])


def test_a_person_with_a_key_looks_and_decides(api: Api, platform: Platform, waiting: str, bob: str) -> None:
    visitor = Visitor(api, waiting)
    first = visitor.open()
    assert "refund" not in first.text, "nobody has shown a key yet"
    assert "frame-ancestors 'none'" in first.headers["content-security-policy"]
    assert "HttpOnly" in first.headers["set-cookie"]
    done = visitor.send(look=visitor.look(bob), decision="approve", note="fine")
    assert "Approved." in done.text
    decided = platform.policy.approvals.get(waiting)
    assert (decided.status, decided.decided_by, decided.decided_via, decided.note) == (
        "approved",
        "bob",
        "page",
        "fine",
    )


def test_the_page_says_the_same_of_what_there_is_and_what_there_is_not(
    api: Api, platform: Platform, waiting: str
) -> None:
    _, stranger = platform.access.create_key("eve", roles=["owner"], tenant="globex")
    answers = []
    for id in (waiting, "apr_" + "x" * 22):
        visitor = Visitor(api, id)
        answers.append([re.sub(r'nonce="[^"]+"', "", a.text.replace(id, "<id>")) for a in (
            visitor.open(), visitor.send(key=stranger), visitor.send(key="mk_nobody"))])  # fmt: skip
    assert answers[0] == answers[1]
    assert "Nothing of that name" in answers[0][1]


def test_whoever_may_not_decide_gets_no_further(
    api: Api, platform: Platform, waiting: str, asker: str, bob: str
) -> None:
    visitor = Visitor(api, waiting)
    visitor.open()
    employee = platform.access.create_key("max", roles=["employee"])[1]
    assert visitor.send(key=employee).status_code == 403
    assert visitor.send(key="nonsense").status_code == 403
    own = visitor.send(look=visitor.look(asker), decision="approve")
    assert own.status_code == 400
    assert "made this call" in own.text
    assert platform.policy.approvals.get(waiting).status == "pending"


def test_a_look_is_good_once_in_one_browser_for_one_call_from_our_own_page(
    api: Api, platform: Platform, waiting: str, bob: str
) -> None:
    visitor, other = Visitor(api, waiting), Visitor(api, waiting)
    other.open()
    assert other.send(look=visitor.look(bob), decision="approve").status_code == 400, "another browser"
    assert visitor.send(look=visitor.look(bob), decision="approve", origin="https://evil.example").status_code == 403
    elsewhere = visitor.look(bob)
    visitor.path = "/approvals/apr_other"
    assert visitor.send(look=elsewhere, decision="approve").status_code == 400
    visitor.path = f"/approvals/{waiting}"
    info, key = platform.access.create_key("gone", roles=["manager"])
    look = visitor.look(key)
    platform.access.revoke(info.id)
    assert visitor.send(look=look, decision="approve").status_code == 403, "the key was revoked meanwhile"
    assert platform.policy.approvals.get(waiting).status == "pending"
    look = visitor.look(bob)
    assert "Denied." in visitor.send(look=look, decision="deny").text
    assert visitor.send(look=look, decision="approve").status_code == 400
    assert platform.policy.approvals.get(waiting).status == "denied"


def test_arguments_that_changed_while_somebody_looked_are_looked_at_again(
    api: Api, platform: Platform, waiting: str, bob: str, payment: dict[str, str]
) -> None:
    visitor = Visitor(api, waiting)
    look = visitor.look(bob)
    desk = platform.policy.approvals
    desk.store.change("update approvals set approvers = 2 where id = ?", waiting)
    cat = platform.access.authenticate("Bearer " + platform.access.create_key("cat", roles=["manager"])[1])
    desk.decide(waiting, True, cat, via="cli", arguments={**payment, "reason": "other"})
    late = visitor.send(look=look, decision="approve")
    assert (late.status_code, "not those that you looked at" in late.text) == (400, True)
