"""What an approval is bound to beside the arguments, and that approvals of before still hold."""

from __future__ import annotations

import sqlite3

import pytest

from workbench.config import Settings, open_control, prepare_home
from workbench.events import Call, Caller, Tool, digest
from workbench.policy import Approvals, Redactor
from workbench.policy.approvals.bound_params import bound_params, kept_params, params_hash

BEFORE = """
create table approvals (
  id text primary key, tenant text not null, subject text not null, tool text not null,
  args_hash text not null, definition_hash text not null, binding text not null, arguments text not null, clear text,
  source text not null, call text not null, run text not null, status text not null,
  created_us integer not null, expires_us integer not null,
  decided_by text not null default '', decided_via text not null default '', decided_us integer not null default 0,
  note text not null default '', used_us integer not null default 0,
  approvers integer not null default 1, roles text not null default '[]', votes text not null default '[]',
  asked_hash text not null default '', asked_binding text not null default '', edited_by text not null default ''
) strict
"""


def test_an_approval_from_before_params_were_bound_is_still_good(
    settings: Settings, employee: Caller, delete: Tool
) -> None:
    call = Call(caller=employee, tool=delete.qualified, arguments={"id": 7})
    args = digest(call.arguments)
    whole = digest([employee.tenant, employee.subject, delete.qualified, args, delete.definition_hash])
    prepare_home(settings.home)
    db: sqlite3.Connection = open_control(settings.home)
    db.execute(BEFORE)
    db.execute(
        "insert into approvals (id, tenant, subject, tool, args_hash, definition_hash, binding, arguments, clear, "
        "source, call, run, status, created_us, expires_us) values ('apr_old', ?, ?, ?, ?, ?, ?, '{}', ?, 'mcp', 'c', "
        "'', 'approved', 1, ?)",
        (employee.tenant, employee.subject, delete.qualified, args, delete.definition_hash, whole, '{"id":7}', 2**60),
    )
    db.close()
    desk = Approvals(settings.home, Redactor(settings.home))
    try:
        carrying = Call(caller=employee, tool=delete.qualified, arguments={"id": 7}, meta={"task": {"ttl": 5}})
        assert desk.redeem("apr_old", carrying, delete) is None
        used = desk.redeem("apr_old", call, delete)
        assert used is not None
        assert (used.params, used.params_hash) == ({}, "")
    finally:
        desk.close()


@pytest.mark.parametrize(
    "meta", [{}, {"_meta": {}}, {"_meta": {"progressToken": 1, "traceparent": "00-a-b-01"}}, {"_meta": None}]
)
def test_a_call_that_carries_nothing_is_bound_as_ever(employee: Caller, meta: dict[str, object]) -> None:
    call = Call(caller=employee, tool="crm.delete", arguments={}, meta=meta)
    assert params_hash(bound_params(call)) == ""


def test_what_every_client_says_of_itself_is_neither_bound_nor_recorded(employee: Caller) -> None:
    client = {
        "io.modelcontextprotocol/clientInfo": {"name": "c"},
        "io.modelcontextprotocol/clientCapabilities": {"roots": {}},
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    }
    call = Call(caller=employee, tool="crm.delete", arguments={}, meta={"_meta": client})
    assert bound_params(call) == {}
    more = Call(caller=employee, tool="crm.delete", arguments={}, meta={"_meta": {**client, "x/y": 1}, "task": {}})
    assert kept_params(bound_params(more)) == {"_meta": {"x/y": 1}, "task": {}}
