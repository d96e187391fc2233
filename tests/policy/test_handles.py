"""Addresses that hold personal data: listed in a form that is of no use but for reading by it."""

from __future__ import annotations

import pytest

from workbench.config import Settings
from workbench.policy import Redactor

ADDRESSES = [
    "crm://customers/ann@acme.example",
    "crm://customers/ann@acme.example/cards/4111-1111-1111-1111?full=1",
    "postgres://bob:hunter2@db.acme.example/shop",
    "file:///keys/ghp_a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2a1B2",
    "crm://customers/ann@acme.example/{part}",
]


@pytest.fixture
def redactor(settings: Settings, presidio: None) -> Redactor:
    return Redactor(settings.home)


@pytest.mark.parametrize("uri", ADDRESSES)
def test_a_sealed_address_can_be_turned_back_and_shows_nothing(redactor: Redactor, uri: str) -> None:
    sealed, count = redactor.address(uri, "acme")
    assert count
    for secret in ("ann@", "4111", "hunter2", "ghp_"):
        assert secret not in sealed
    assert redactor.opened(sealed, "acme") == uri
    assert redactor.address(uri, "acme")[0] == sealed, "lists must not change by themselves"
    assert redactor.opened(sealed, "other") == sealed, "a handle is of no use to another tenant"
    assert redactor.address(sealed, "acme") == (sealed, 0)


def test_the_expressions_of_a_template_stay(redactor: Redactor) -> None:
    sealed, _ = redactor.address(ADDRESSES[-1], "acme")
    assert sealed.endswith("/{part}")
    assert redactor.opened(sealed.replace("{part}", "name"), "acme") == "crm://customers/ann@acme.example/name"


@pytest.mark.parametrize("uri", ["crm://customers/C-1", "file:///tmp/report.txt", "https://example.org/a?b=c#d", "x:"])
def test_other_addresses_stay_as_they_are(redactor: Redactor, uri: str) -> None:
    assert redactor.address(uri, "acme") == (uri, 0)
    assert redactor.opened(uri, "acme") == uri


def test_addresses_in_results_are_sealed_and_other_texts_get_tokens(redactor: Redactor) -> None:
    result = {
        "content": [
            {"type": "resource_link", "uri": ADDRESSES[0], "name": "of ann@acme.example"},
            {"type": "resource", "resource": {"uri": ADDRESSES[0], "text": "ann@acme.example"}},
        ]
    }
    seen, count = redactor.result(result, ("email",), "acme")
    assert "ann@" not in str(seen)
    assert count == 4
    assert redactor.opened(seen["content"][0]["uri"], "acme") == ADDRESSES[0]
    assert seen["content"][0]["name"].startswith("of <EMAIL:")


@pytest.mark.parametrize("uri", ["sealed-", "sealed-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "x/sealed-" + "_" * 4001])
def test_what_was_not_sealed_here_stays(redactor: Redactor, uri: str) -> None:
    assert redactor.opened(uri, "acme") == uri


def test_names_of_fields_in_a_schema_are_no_columns(redactor: Redactor) -> None:
    schema = {"properties": {"email": {"type": "string", "description": "e.g. ann@acme.example"}}}
    seen, count = redactor.prose(schema, "acme", "result")
    assert count == 1
    assert seen["properties"]["email"]["type"] == "string"
    assert seen["properties"]["email"]["description"].startswith("e.g. <EMAIL:")
