"""Errors of the management API quote what was sent, and yet hold nobody's data."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bench.conftest import Api
from workbench.platform.platform import Platform

EMAIL = "ada.canary@leak.example"
CARD = "5105105105105100"
KEY = "ghp_" + "a1B2" * 9
SAID = f"told: {EMAIL}, {CARD}, {KEY}"

REQUESTS: dict[str, tuple[str, str, Any]] = {
    "an unknown tool": ("POST", "/api/platform/call", {"tool": f"crm.{SAID}", "arguments": {"a": SAID}}),
    "a tool that is nearly another": ("POST", "/api/platform/call", {"tool": f"crm.get_customer {EMAIL}"}),
    "wrong arguments": (
        "POST",
        "/api/platform/call",
        {"tool": "crm.get_customer", "arguments": {"customer_id": [SAID]}},
    ),
    "a body of another form": ("POST", "/api/platform/call", {"tool": [SAID]}),
    "an unknown server": ("POST", f"/api/platform/servers/{EMAIL} {CARD}/restart", None),
    "an unknown path": ("GET", f"/api/{EMAIL}/{CARD}", None),
    "an unknown profile": ("GET", f"/api/platform/tools?profile={EMAIL}", None),
    "a statement that is none": ("POST", "/api/platform/sql", {"sql": f"selekt '{SAID}'"}),
    "an unknown approval": ("POST", f"/api/platform/approvals/{EMAIL}", {"approve": True}),
}


@pytest.mark.parametrize("kind", REQUESTS)
def test_no_error_holds_what_it_quotes(api: Api, platform: Platform, presidio: None, kind: str) -> None:
    method, path, body = REQUESTS[kind]
    token = platform.access.create_key(
        "eve", roles=(), scopes=("crm:read", "servers:manage", "servers:read", "audit:read")
    )[1]
    answer = api(method, path, token=token, **({} if body is None else {"json": body}))
    assert answer.status_code >= 400 or answer.json().get("kind") != "ok"
    for canary in (EMAIL, "ada.canary", CARD, KEY):
        assert canary not in answer.text, answer.text
