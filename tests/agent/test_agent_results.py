"""What a language model reads of an outcome."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.agent.result_text import text_for_model
from workbench.events import Outcome


def ok(**result: Any) -> Outcome:
    return Outcome(kind="ok", call="1", result=result)


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


@pytest.mark.parametrize(
    ("outcome", "reads"),
    [
        (ok(content=[text("four"), text("five")]), "four\nfive"),
        (ok(content=[text('{"a": 1}')], structuredContent={"a": 1}), '{"a": 1}'),
        (ok(content=[text('{"a": 1}'), text('{"a": 2}')], structuredContent={"result": []}), '{"a": 1}\n{"a": 2}'),
        (ok(content=[text("Two rows.")], structuredContent={"rows": [1, 2]}), 'Two rows.\n{"rows":[1,2]}'),
        (ok(content=[text("yes")], structuredContent={"answer": "yes"}), '{"answer":"yes"}'),
        (ok(structuredContent={"a": 1}), '{"a":1}'),
        (ok(content=[]), "The call completed and returned no content."),
        (Outcome(kind="ok", call="1"), "The call completed and returned no content."),
        (
            ok(content=[{"type": "image", "mimeType": "image/png", "data": "QUJD"}]),
            "[image image/png, 4 characters of base64]",
        ),
        (ok(content=[{"type": "resource", "resource": {"uri": "file:///a", "text": "body"}}]), "body"),
        (ok(content=[{"type": "resource", "resource": {"uri": "file:///a", "blob": "QQ=="}}]), "[resource file:///a ]"),
        (ok(content=[{"type": "resource_link", "uri": "file:///a", "name": "A"}]), "[link to file:///a: A]"),
        (ok(content="no list"), "The call completed and returned no content."),
        (
            Outcome(kind="tool_error", call="1", result={"content": [text("no such id")], "isError": True}),
            "The tool reported an error: no such id",
        ),
        (Outcome(kind="timeout", call="1", message="Too slow."), "timeout: Too slow."),
        (Outcome(kind="failed", call="1"), "failed: The call did not complete."),
        (
            Outcome(kind="denied", call="1", message="No.", details={"missing_scopes": ["crm:read"]}),
            'denied: No.\n{"missing_scopes":["crm:read"]}',
        ),
    ],
)
def test_an_outcome_reads_as_what_happened(outcome: Outcome, reads: str) -> None:
    assert text_for_model(outcome) == reads


def test_a_cut_is_said_with_what_to_do() -> None:
    cut = text_for_model(ok(content=[text("x" * 50)]), limit=10)
    assert cut.startswith("x" * 10 + "\n[Cut: the first 10 of 50 characters")
    assert "filter" in cut


@given(st.text(max_size=200), st.integers(1, 100))
def test_no_text_is_longer_than_the_limit_by_more_than_the_pointer(body: str, limit: int) -> None:
    assert len(text_for_model(ok(content=[text(body)]), limit=limit)) <= limit + 250
