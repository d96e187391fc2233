"""What manifests of bundled servers say is read strictly, and is all that says it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from workbench.client.example_questions import examples
from workbench.config import names
from workbench.events import MisuseError
from workbench.registry import ServerState
from workbench.server_manifests import (
    PUBLISHER,
    bundled_manifests,
    default_servers,
    read_manifest,
    selectable_servers,
    servers_folder,
)

SAMPLE_COMPANY = ("products", "crm", "tickets", "payments", "analytics")


def write(folder: Path, name: str = "local.mcp-workbench/weather", **published: Any) -> Path:
    """A manifest in a folder of its own."""
    added = {"workbench/command": ["python", "server.py"], "workbench/launch": {}, "workbench/examples": []}
    for key, value in published.items():
        added[f"workbench/{key}"] = value
    path = folder / "weather" / "server.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"name": name, "_meta": {PUBLISHER: added}}))
    return path


def asked_of(*ids: str) -> tuple[str, ...]:
    return examples([ServerState(id=id, kind="bundled") for id in ids])


def test_every_folder_with_a_manifest_is_a_server_in_the_order_that_manifests_give() -> None:
    found = bundled_manifests()
    assert {m.id for m in found} == {path.parent.name for path in servers_folder().glob("*/server.json")}
    assert [m.launch.order for m in found] == sorted(m.launch.order for m in found)
    assert selectable_servers() == tuple(m.id for m in found if m.id != "tables")
    assert set(default_servers()) <= set(selectable_servers())


def test_manifests_name_settings_and_servers_that_exist() -> None:
    ids = {manifest.id for manifest in bundled_manifests()}
    for manifest in bundled_manifests():
        assert set(manifest.launch.flags.values()) | {manifest.launch.setting} - {""} <= set(names())
        assert Path(manifest.command[0]).is_file()
        for example in manifest.examples:
            assert set(example.servers) < ids


def test_defaults_of_a_new_manifest_put_the_server_behind_all_others(tmp_path: Path) -> None:
    manifest = read_manifest(write(tmp_path, command=["python", "server.py", "--hidden"]))
    assert (manifest.id, manifest.launch.default, manifest.launch.kind) == ("weather", True, "bundled")
    assert manifest.command == (str(tmp_path / "weather" / "server.py"), "--hidden")
    assert manifest.launch.order >= max(m.launch.order for m in bundled_manifests())


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"name": "local.mcp-workbench/wether"}, "its name ends in 'wether', and its folder is called 'weather'"),
        ({"launch": {"ordr": 1}}, "unknown field `ordr`"),
        ({"launch": {"order": "first"}}, "Expected `int`, got `str`"),
        ({"examples": [{"order": 1}]}, "missing required field `question`"),
        ({"command": ["node", "server.js"]}, "expected python, a file, and options"),
    ],
)
def test_a_manifest_that_is_wrong_is_named_with_the_reason(tmp_path: Path, wrong: dict[str, Any], why: str) -> None:
    path = write(tmp_path, **wrong)
    with pytest.raises(MisuseError) as caught:
        read_manifest(path)
    assert str(path) in str(caught.value)
    assert why in str(caught.value)


def test_a_manifest_that_is_not_json_or_says_nothing_of_the_launch_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path)
    for text in ("{", "[]", '{"name": "x/weather"}', '{"name": "x/weather", "_meta": []}'):
        path.write_text(text)
        with pytest.raises(MisuseError, match="cannot be used"):
            read_manifest(path)


def test_questions_are_offered_when_all_servers_that_answer_them_are_there() -> None:
    [tables] = asked_of("tables")
    assert "tables" in tables
    first, second, third = asked_of(*SAMPLE_COMPANY)
    assert "john.smith@acme.com" in first
    assert "revenue" in second
    assert "tickets" in third
    assert asked_of("tables", *SAMPLE_COMPANY) == (tables, first, second, third)
    for missing in SAMPLE_COMPANY:
        assert asked_of(*{*SAMPLE_COMPANY} - {missing}) == ()
