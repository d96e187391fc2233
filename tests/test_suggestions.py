"""Which known name an unknown one was probably meant to be."""

from __future__ import annotations

from workbench.suggestions import close_names


def test_suggestions() -> None:
    known = ["crm.get_customer", "crm.search_customers", "files.read"]
    assert close_names("crm.get_custommer", known)[0] == "crm.get_customer"
    assert close_names("CRM.GET_CUSTOMER", known)[0] == "crm.get_customer"
    assert close_names("read", known) == ("files.read",)
    assert close_names("tickets.read", known) == ("files.read",)
    assert close_names("zzzz", known) == ()
