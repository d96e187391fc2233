"""Open a workbench, find a tool by words, call it, and read the record of the call."""

import tempfile

import workbench

with (
    tempfile.TemporaryDirectory() as home,
    workbench.open(home=home, attach=False, servers="payments") as wb,
):
    for tool in wb.tools("invoices of a customer", limit=3):
        print("found", tool.qualified)

    result = wb.call("payments.list_invoices", customer_id="C-01409", limit=2)
    print("invoices:", result.data)

    # A refusal or a failure of the tool is a value, not an exception.
    refused = wb.call("payments.list_invoices", customer="C-01409")
    print("ok:", refused.ok, "because", refused.message)

    for row in wb.sql("select tool, outcome from tool_calls order by ts").itertuples():
        print("recorded", row.tool, row.outcome)
