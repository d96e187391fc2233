"""What all servers have in common: honest labels, described arguments, ids of one form, manifests that are true."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from servers.manifest import NAMES, OURS, load, manifest

WRITES = {"tickets.add_comment", "tickets.close_ticket", "payments.refund_payment", "calendar.cancel_meeting"}
ADDS = {"tickets.add_comment"}


async def tools_of(name: str) -> list[Any]:
    from mcp import Client

    async with Client(load(name)) as client:
        return list((await client.list_tools()).tools)


@pytest.mark.parametrize("name", NAMES)
async def test_every_tool_is_described_labelled_and_structured(name: str) -> None:
    for tool in await tools_of(name):
        assert tool.title, tool.name
        assert tool.description, tool.name
        assert tool.output_schema, tool.name
        assert re.fullmatch(r"[a-z_]{3,40}", tool.name)
        scopes = tool.meta["workbench/scopes"]
        assert scopes, tool.name
        assert all(re.fullmatch(r"[a-z]+:(read|write)", s) for s in scopes), tool.name
        for argument, schema in tool.input_schema.get("properties", {}).items():
            assert schema.get("description"), f"{name}.{tool.name}({argument})"


@pytest.mark.parametrize("name", NAMES)
async def test_annotations_are_honest(name: str) -> None:
    for tool in await tools_of(name):
        qualified = f"{name}.{tool.name}"
        hints = tool.annotations
        assert hints.read_only_hint is (qualified not in WRITES), qualified
        assert hints.destructive_hint is (qualified in WRITES - ADDS), qualified
        assert tool.meta["workbench/scopes"][0].endswith(":write") is (qualified in WRITES), qualified


@pytest.mark.parametrize("name", NAMES)
async def test_an_id_has_the_same_form_wherever_it_occurs(name: str) -> None:
    forms = {
        "customer_id": r"^C-\d{5}$",
        "product_id": r"^P-\d{4}$",
        "order_id": r"^O-\d{6}$",
        "subscription_id": r"^S-\d{5}$",
        "invoice_id": r"^I-\d{6}$",
        "payment_id": r"^Y-\d{6}$",
        "ticket_id": r"^T-\d{5}$",
        "meeting_id": r"^M-\d{5}$",
    }

    def patterns(schema: Any) -> list[tuple[str, str]]:
        found = []
        if isinstance(schema, dict):
            for key, value in schema.items():
                if key in forms and isinstance(value, dict):
                    found += [(key, match) for match in re.findall(r'"pattern": "(.*?)"', json.dumps(value))]
                found += patterns(value)
        elif isinstance(schema, list):
            found = [p for item in schema for p in patterns(item)]
        return found

    for tool in await tools_of(name):
        for key, pattern in patterns(tool.input_schema) + patterns(tool.output_schema):
            assert json.loads(f'"{pattern}"') == forms[key], f"{tool.name}: {key}"


@pytest.mark.parametrize("name", NAMES)
async def test_the_manifest_says_what_the_server_says(name: str, root: Path) -> None:
    written = json.loads((root / "servers" / name / "server.json").read_text())
    assert written == await manifest(name), "write it again with `python -m servers.manifest`"
    assert re.fullmatch(r"[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+", written["name"])
    assert 0 < len(written["description"]) <= 100
    assert written["_meta"][OURS]["workbench/tools"]


def test_servers_import_nothing_of_the_package(root: Path) -> None:
    for file in (root / "servers").rglob("*.py"):
        assert not re.search(r"^\s*(from|import) workbench\b", file.read_text(), re.M), file


@pytest.mark.parametrize("name", NAMES)
async def test_an_argument_that_a_tool_does_not_have_is_refused(name: str) -> None:
    from mcp import Client

    async with Client(load(name)) as client:
        for tool in (await client.list_tools()).tools:
            schema = tool.input_schema
            assert schema["additionalProperties"] is False, tool.name
            nested = [s for s in schema.get("$defs", {}).values() if s.get("type") == "object"]
            assert all(s["additionalProperties"] is False for s in nested), tool.name
            if tool.annotations.read_only_hint:
                result = await client.call_tool(tool.name, {"quer": "smith"})
                assert result.is_error, tool.name
                assert "Extra inputs are not permitted" in result.content[0].text, tool.name
