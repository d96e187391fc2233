"""Which known name an unknown one was probably meant to be."""

from __future__ import annotations

from pathlib import Path

import workbench
from workbench.suggestions import MAX_GUESSED, close_names


def test_a_tool_is_suggested_for_a_misspelling_other_case_and_a_wrong_or_missing_server() -> None:
    known = ["crm.get_customer", "crm.search_customers", "files.read"]
    assert close_names("crm.get_custommer", known)[0] == "crm.get_customer"
    assert close_names("CRM.GET_CUSTOMER", known)[0] == "crm.get_customer"
    assert close_names("read", known) == ("files.read",)
    assert close_names("tickets.read", known) == ("files.read",)
    assert close_names("zzzz", known) == ()


def test_a_higher_similarity_suggests_less() -> None:
    assert close_names("get_time", ["get_items"]) == ("get_items",)
    assert close_names("get_time", ["get_items"], similarity=0.9) == ()


def test_names_too_long_to_be_guessed_are_not_compared() -> None:
    long = "a" * MAX_GUESSED
    assert close_names(long, [long + "b", long]) == (long,)
    assert close_names(long + "b", [long, long + "b"]) == ()


def test_no_other_module_compares_spellings_itself() -> None:
    package = Path(workbench.__file__).parent
    found = [path.name for path in package.rglob("*.py") if "get_close_matches" in path.read_text(encoding="utf-8")]
    assert found == ["suggestions.py"]
