"""What an attached workbench says when the platform it talks to is broken rather than gone."""

from __future__ import annotations

import pytest

from workbench.client.attached import _document, _error
from workbench.events import InternalError, MisuseError

URL = "http://127.0.0.1:8800"


@pytest.mark.parametrize(("status", "body"), [(500, b"Internal Server Error"), (502, b"<html>"), (500, b"[]")])
def test_an_answer_that_is_no_document_is_a_fault_of_the_platform(status: int, body: bytes) -> None:
    with pytest.raises(InternalError, match=f"fault of the platform.*{status}"):
        _document(status, body)


def test_outcomes_and_errors_with_a_status_are_documents() -> None:
    assert _document(404, b'{"kind": "not_found"}') == {"kind": "not_found"}
    found = _document(500, b'{"error": {"kind": "Bug", "message": "A fault of the platform (id 1).", "hint": ""}}')
    assert isinstance(_error(found["error"], URL), InternalError)
    found = _error({"kind": "Misuse", "message": "x", "hint": "See /docs."}, URL)
    assert isinstance(found, MisuseError)
    assert found.hint == f"See {URL}/docs."
