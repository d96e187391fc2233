"""Attach to two gateways by URL and token, as to gateways on other machines, and compare their records.

With `WORKBENCH_DATABASE_URL` set to a Postgres, both share keys and approvals; docs/deployment.md says what else
gateways can share.
"""

import tempfile

from gateway_process import gateway

import workbench

with (
    tempfile.TemporaryDirectory() as first_home,
    tempfile.TemporaryDirectory() as second_home,
    gateway(first_home, servers="crm") as (_, first),
    gateway(second_home, servers="payments") as (_, second),
    workbench.open(url=first.url, token=first.token) as customers,
    workbench.open(url=second.url, token=second.token) as payments,
):
    found = customers.call("crm.search_customers", query="john.smith@acme.com")
    print("customer:", found.data)
    print("invoices:", payments.call("payments.list_invoices", customer_id="C-01409", limit=1).ok)
    for name, wb in {"first": customers, "second": payments}.items():
        print(name, "recorded", wb.sql("select server, tool, outcome from tool_calls").to_dict("records"))
