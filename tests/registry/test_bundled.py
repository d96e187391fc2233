"""The servers that come with the workbench are found and launched as the settings say."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

from workbench import server_manifests
from workbench.config import Settings
from workbench.events import MisuseError
from workbench.registry import ServerDownError, ServerSpec, ServerState, UnknownToolError, bundled, bundled_specs
from workbench.server_manifests import LaunchOptions, ServerManifest, default_servers, servers_folder


def test_every_bundled_server_has_its_program(settings: Settings) -> None:
    specs = bundled_specs(settings)
    assert [s.id for s in specs] == list(default_servers())
    for spec in specs:
        assert (spec.kind, spec.trust, spec.stdio) == ("bundled", "bundled", False)
        assert spec.command[0] == sys.executable
        assert Path(spec.command[1]).is_file()
        assert spec.env["WORKBENCH_SERVER_STATE"] == str(settings.home / "servers")


def test_settings_become_flags(settings: Settings, tmp_path: Path) -> None:
    changed = dataclasses.replace(
        settings, servers=("knowledge", "files"), data=tmp_path, data_null_values=("NA", "-"),
        knowledge=(tmp_path, tmp_path), files_root=tmp_path,
    )  # fmt: skip
    knowledge, files, tables = bundled_specs(changed)
    assert knowledge.command[2:] == ("--folder", str(tmp_path), "--folder", str(tmp_path))
    assert files.command[2:] == ("--root", str(tmp_path))
    assert (tables.id, tables.kind, tables.trust) == ("tables", "tables", "bundled")
    assert tables.command[2:] == ("--folder", str(tmp_path), "--null", "NA", "--null", "-")


@pytest.mark.parametrize("name", ["data", "files_root"])
def test_a_folder_that_is_not_there_is_refused(settings: Settings, tmp_path: Path, name: str) -> None:
    changed = dataclasses.replace(settings, **{name: tmp_path / "nowhere"})
    with pytest.raises(MisuseError, match=f"Setting {name} is '.*nowhere', which is no folder"):
        bundled_specs(changed)


def test_a_manifest_that_names_an_unknown_setting_is_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = ServerManifest(id="w", command=("w.py",), launch=LaunchOptions(setting="wether"))
    monkeypatch.setattr(bundled, "bundled_manifests", lambda: (wrong,))
    with pytest.raises(MisuseError, match="bundled server 'w' names 'wether', which is no setting"):
        bundled_specs(dataclasses.replace(settings, servers=()))


def test_an_installed_package_brings_its_servers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "site-packages" / "workbench"
    package.mkdir(parents=True)
    monkeypatch.setattr(server_manifests, "__file__", str(package / "server_manifests.py"))
    with pytest.raises(MisuseError, match="bundled servers are missing"):
        servers_folder()
    (package / "_shipped" / "servers").mkdir(parents=True)
    assert servers_folder() == package / "_shipped" / "servers"


def test_what_is_shown_of_a_server_holds_no_secret() -> None:
    spec = ServerSpec(id="a", kind="command", command=("x", "-y"), env={"KEY": "hush"}, headers={"X": "hush"})
    assert repr(spec) == "ServerSpec('a', command, 'x -y', source='')"
    assert spec.public()["env"] == ["KEY"]
    assert "hush" not in str(spec.public())


def test_errors_say_what_to_do_next() -> None:
    assert str(UnknownToolError("x.y")) == "There is no tool 'x.y'. See `workbench tools` for all tools."
    down = ServerDownError(ServerState(id="crm", kind="bundled", status="down", last_error="It burns."))
    assert down.exit_code == 4
    assert str(down).startswith("Server 'crm' is down: It burns")
    assert "restarted by itself" in str(down)
    assert "restarted" not in str(ServerDownError(ServerState(id="crm", kind="bundled", status="stopped")))
