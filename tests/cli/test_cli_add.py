"""`workbench add` shows what would run, asks, and keeps it; `remove` forgets it; `up` offers what it finds."""

# ruff: noqa: E501 - configurations are read by their lines

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
import pytest
from click.testing import CliRunner, Result

from workbench.cli import cli
from workbench.cli.up import ask_inputs
from workbench.config import Settings
from workbench.events import MisuseError
from workbench.registry import foreign_servers
from workbench.secrets import SecretResolver

NPX = {"command": "npx", "args": ["-y", "pkg"]}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith(("WORKBENCH_", "XDG_", "CODEX_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    (tmp_path / "user").mkdir()
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "home"


def run(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["--home", str(home), *arguments], standalone_mode=False, catch_exceptions=False)


def kept(home: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((home / "mcp.json").read_text())["mcpServers"]
    return found


def client(home: Path, path: str, value: Any) -> Path:
    file = home.parent / "user" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value))
    return file


def test_the_servers_of_a_client_are_shown_and_kept(home: Path) -> None:
    env = {"API_KEY": "verysecret", "MODE": "fast", "DB": "postgres://ada:verysecret@db/x"}
    servers = {
        "a": {**NPX, "env": env},
        "files": {"url": "https://x.example/mcp", "headers": {"Authorization": "Bearer ${X_TOKEN}"}},
        "broken": {"command": 7},
        "off": {**NPX, "disabled": True},
    }
    file = client(home, ".cursor/mcp.json", {"mcpServers": servers})
    done = run(home, "add", "--from", "cursor", "--yes")
    assert "runs       npx -y pkg" in done.output
    assert str(file) in done.output
    assert "variable   MODE=fast" in done.output
    assert "gets       the variable X_TOKEN of the environment" in done.output
    assert "verysecret" not in done.output
    assert "Left out: broken: 'command' is a number" in done.output
    assert "Left out: off: 'disabled' is true" in done.output
    assert kept(home)["a"]["env"] == env
    assert kept(home)["files-2"]["headers"] == {"Authorization": "Bearer ${X_TOKEN}"}
    found = foreign_servers(Settings.load(home=home, env={}))
    assert [spec.id for spec in found.servers] == ["a"]
    assert "the variable X_TOKEN is not set" in found.excluded[0].reason


def test_nothing_is_added_unless_somebody_says_so(home: Path) -> None:
    client(home, ".cursor/mcp.json", {"mcpServers": {"a": NPX}})
    with pytest.raises(MisuseError, match="Nobody was asked"):
        run(home, "add", "--from", "cursor")
    assert not home.exists()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (["npm:@example/server-good@1.2", "--", "/data", "--flag"],
         {"good": {"command": "npx", "args": ["-y", "@example/server-good@1.2", "/data", "--flag"]}}),
        (["pypi:mcp-server-good==1.2"], {"good": {"command": "uvx", "args": ["mcp-server-good==1.2"]}}),
        (["pypi:good-mcp[http]@3"], {"good": {"command": "uvx", "args": ["--from", "good-mcp[http]==3", "good-mcp"]}}),
        (["oci:ghcr.io/example/good:1", "--env", "K=v"],
         {"good": {"command": "docker", "args": ["run", "-i", "--rm", "-e", "K", "ghcr.io/example/good:1"], "env": {"K": "v"}}}),
        (["https://mcp.good.example/mcp", "--header", "X-Key: ${K}", "--name", "Good one"],
         {"Good-one": {"url": "https://mcp.good.example/mcp", "headers": {"X-Key": "${K}"}}}),
        (["cursor://anysphere.cursor-deeplink/mcp/install?name=good&config=" + base64.b64encode(json.dumps(NPX).encode()).decode()],
         {"good": NPX}),
        (["vscode:mcp/install?" + quote(json.dumps({"name": "good", **NPX}))], {"good": NPX}),
    ],
)  # fmt: skip
def test_a_url_a_package_or_a_link_is_a_source(home: Path, source: list[str], expected: dict[str, Any]) -> None:
    done = run(home, "add", "--yes", *source)
    assert "Added" in done.output
    ((id, entry),) = kept(home).items()
    assert {id: {key: entry[key] for key in expected[id]}} == expected


def test_a_server_json_is_a_source(home: Path) -> None:
    manifest = {"name": "io.example/good", "version": "1", "packages": [
        {"registryType": "npm", "identifier": "good", "version": "1",
         "environmentVariables": [{"name": "KEY", "isRequired": True, "isSecret": True}]}]}  # fmt: skip
    (Path.cwd() / "server.json").write_text(json.dumps(manifest))
    done = run(home, "add", "server.json", "--yes")
    assert "runs       npx -y good@1" in done.output
    assert "gets       the secret KEY" in done.output
    assert kept(home)["io-example-good"]["env"] == {"KEY": "${input:KEY}"}
    assert list(foreign_servers(Settings.load(home=home, env={})).inputs) == ["KEY"]


WRONG = {
    "nothing": ([], "Nothing was said to be added"),
    "both": (["x.json", "--from", "cursor"], "Both SOURCE and --from"),
    "a client that is not here": (["--from", "windsurf"], "windsurf keeps no servers here"),
    "no such client": (["--from", "windsrf"], "No client 'windsrf' is known"),
    "a client in place of a file": (["cursor"], "There is no file 'cursor'"),
    "no such file": (["none.json"], "cannot be read"),
    "a switch for a package": (["npm:--evil"], "is no package"),
    "a path for a package": (["pypi:../x"], "is no package"),
    "arguments for a URL": (["https://x.example/mcp", "x"], "is reached, not started"),
    "headers for a package": (["npm:x", "--header", "A: b"], "is started, not reached"),
    "a variable without a value": (["npm:x", "--env", "A"], "has no '='"),
    "a name for a file": (["here.json", "--name", "x"], "says itself what its servers are called"),
    "a link of something else": (["vscode:mcp/install?{"], "is no link to install a server"),
    "a server that is not in it": (["here.json", "--only", "b"], "There is no server 'b' in it"),
    "nothing that could run": (["broken.json"], "There is no server in it that could run"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_added_is_said(home: Path, name: str) -> None:
    arguments, why = WRONG[name]
    (Path.cwd() / "here.json").write_text(json.dumps({"mcpServers": {"a": NPX}}))
    (Path.cwd() / "broken.json").write_text(json.dumps({"mcpServers": {"a": {"command": "C:\\x.exe"}}}))
    with pytest.raises(MisuseError) as refused:
        run(home, "add", "--yes", *arguments)
    assert why in str(refused.value)
    assert not home.exists()


def test_adding_again_replaces_and_another_of_that_name_does_not(home: Path) -> None:
    run(home, "add", "npm:good", "--yes")
    done = run(home, "add", "npm:good@2", "--yes")
    assert "replaces the one of that name" in done.output
    assert [entry["args"][1] for entry in kept(home).values()] == ["good@2"]
    (Path.cwd() / "two.json").write_text(json.dumps([{"name": "x y", **NPX}, {"name": "x/y", **NPX}]))
    run(home, "add", "two.json", "--yes")
    assert list(kept(home)) == ["good", "x-y", "x-y-2"]


def test_removing_forgets_and_says_what_there_is(home: Path) -> None:
    run(home, "add", "npm:good", "--yes")
    with pytest.raises(MisuseError, match="Did you mean good"):
        run(home, "remove", "goood")
    run(home, "remove", "good")
    assert kept(home) == {}


def test_what_is_found_is_offered_with_the_command_that_adds_it(home: Path) -> None:
    file = client(home, ".codeium/windsurf/mcp_config.json", {"mcpServers": {"a": NPX, "b": NPX}})
    with pytest.raises(MisuseError):
        run(home, "add")
    done = CliRunner().invoke(cli, ["--home", str(home), "add"])
    assert f"2 servers in {file}" in done.output
    assert "add --from windsurf" in done.output


def test_inputs_are_asked_for_once_and_kept_from_sight(settings: Settings, tmp_path: Path) -> None:
    asked = [{"id": "api-key", "description": "API key\x1b[2J", "password": True}, {"id": "city", "type": "pickString", "options": ["Bern", "Chur"]},
             {"id": "skipped"}]  # fmt: skip
    env = {"K": "${input:api-key}", "C": "${input:city}"}
    servers = {"a": {**NPX, "env": env}, "b": {**NPX, "env": {"S": "${input:skipped}"}}}
    (tmp_path / "mcp.json").write_text(json.dumps({"inputs": asked, "servers": servers}))
    settings = settings.replace(mcp_config=tmp_path / "mcp.json")

    @click.command()
    def asking() -> None:
        ask_inputs(settings)

    done = CliRunner().invoke(asking, input="key-of-ada\nBern\n\n", catch_exceptions=False)
    assert "key-of-ada" not in done.output
    assert "\x1b" not in done.output
    assert "city (Bern, Chur)" in done.output
    found = foreign_servers(settings)
    assert [spec.id for spec in found.servers] == ["a"]
    assert "the input 'skipped' was not given" in found.excluded[0].reason
    assert SecretResolver.of(settings).read("secret:api-key") == "key-of-ada"
