"""Makes the sample company: one coherent set of tables, the same on every machine.

Every part draws from its own seeded `random.Random`, so that a change in one part leaves the others as they are.
Nothing is read from the network or the clock: the sample's "today" is `AS_OF`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data.generator import articles, catalogue, crm, meetings, sales, support
from data.generator.timeline import AS_OF

Row = dict[str, Any]

COMPANY = "Larkfield Instruments"


def build() -> dict[str, list[Row]]:
    """All tables of the sample company by name, each a list of rows with the same columns."""
    products, stock = catalogue.build()
    employees = crm.build_employees()
    customers = crm.build_customers(employees)
    contacts = crm.build_contacts(customers)
    sold = sales.build(customers, products)
    tickets, messages = support.build(customers, contacts, products, employees, sold)
    crm.settle_status(customers, sold, tickets)
    interactions = crm.build_interactions(customers, contacts, employees)
    meeting_rows, attendees = meetings.build(customers, employees)
    return {
        "company": [{"name": COMPANY, "as_of": AS_OF, "currency": "USD"}],
        "products": products,
        "stock": stock,
        "employees": employees,
        "customers": customers,
        "contacts": contacts,
        "interactions": interactions,
        "orders": sold.orders,
        "order_items": sold.order_items,
        "subscriptions": sold.subscriptions,
        "invoices": sold.invoices,
        "payments": sold.payments,
        "tickets": tickets,
        "ticket_messages": messages,
        "meetings": meeting_rows,
        "attendees": attendees,
        "articles": articles.build(products),
    }


def write(folder: Path) -> dict[str, int]:
    """Write every table to `folder` as `<table>.parquet`; returns the number of rows of each.

    Args:
        folder: made when it does not exist; files of the same names are replaced.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    counts = {}
    for name, rows in build().items():
        columns = {key: [row[key] for row in rows] for key in rows[0]}
        table = pa.table(columns)
        for i, field in enumerate(table.schema):
            if pa.types.is_timestamp(field.type):
                table = table.set_column(i, field.name, table.column(i).cast(pa.timestamp("ms")))
        pq.write_table(table, folder / f"{name}.parquet", compression="zstd", compression_level=12)
        counts[name] = len(rows)
    return counts
