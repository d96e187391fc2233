"""Files of configurations: their formats, where clients keep them, what may be named in them, what is kept of them."""

# ruff: noqa: E501 - tables are read by their rows

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.config import Settings
from workbench.events import MisuseError
from workbench.registry import foreign_servers, read_configuration
from workbench.registry.configuration.added_servers import AddedServers, portable
from workbench.registry.configuration.client_layouts import find_servers
from workbench.registry.configuration.file_syntax import parse_document
from workbench.registry.configuration.identifiers import readable_id
from workbench.registry.configuration.locations import CLIENTS, installed, places_of
from workbench.registry.configuration.mcp_json import entry_of
from workbench.registry.configuration.variables import MAX_FILE_BYTES, ConfigurationSource, read_env_file
from workbench.registry.definitions.name_checks import SERVER_ID, confusable
from workbench.secrets import SecretResolver, hide

NPX = {"command": "npx", "args": ["-y", "pkg"]}


def write(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


# --- formats


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.toml", '[mcp_servers.a]\ncommand = "x"\nsince = 2026-01-01\n'),
        ("a.yaml", "mcpServers: {a: {command: x, since: 2026-01-01, 1: 2, on: y}}"),
        ("a.yml", "mcpServers:\n  a:\n    command: x\n"),
        ("a.conf", '[mcp_servers.a]\ncommand = "x"\n'),
        ("a", "mcpServers:\n  a:\n    command: x\n"),
    ],
)
def test_toml_and_yaml_are_read(tmp_path: Path, name: str, text: str) -> None:
    assert [spec.command for spec in read_configuration(write(tmp_path / name, text)).servers] == [("x",)]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
def test_marked_encodings_are_read(tmp_path: Path, encoding: str) -> None:
    text = json.dumps({"mcpServers": {"ä": NPX}}, ensure_ascii=False)
    mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
    (tmp_path / "a.json").write_bytes(mark + text.encode(encoding))
    assert [spec.id for spec in read_configuration(tmp_path / "a.json").servers] == ["a"]


@pytest.mark.parametrize(
    ("name", "text", "where"),
    [
        ("a.toml", "a = 1\nb = = 2\n", "line 2, column 5"),
        ("a.yaml", "a: 1\nb: [1\n", "line 3, column 1"),
        ("a.json", '{"a": 1,\n "b" 2}', "line 2, column 6"),
        ("a.conf", "{{{ nothing that anybody reads", "line 1, column 2"),
        ("a.yaml", "a: 2026-99-99", "not YAML that can be read"),
        ("a.yaml", "[" * 2000, "a.yaml"),
        ("a.toml", "a = " + "[" * 2000, "a.toml"),
    ],
)
def test_what_cannot_be_parsed_is_refused_with_its_place(tmp_path: Path, name: str, text: str, where: str) -> None:
    with pytest.raises(MisuseError, match=where):
        read_configuration(write(tmp_path / name, text))


def test_a_few_lines_of_yaml_do_not_become_billions_of_values() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    with pytest.raises(MisuseError, match="more than 200000 values"):
        parse_document("\n".join(lines).encode(), Path("a.yaml"))


# --- ids


@given(names=st.lists(st.text(max_size=70), max_size=6))
def test_ids_are_ascii_free_and_the_same_every_time(names: list[str]) -> None:
    taken: list[str] = ["crm"]
    for name in names:
        id = readable_id(name, taken)
        assert SERVER_ID.fullmatch(id)
        assert not confusable(id, taken)
        assert readable_id(name, taken) == id
        taken.append(id)


# --- what a configuration may name


@pytest.mark.parametrize("named", ["home/key", "home/../home/key", "link", "/proc/self/environ", "/dev/zero"])
def test_no_file_of_the_state_folder_or_of_the_kernel_reaches_a_server(tmp_path: Path, named: str) -> None:
    write(tmp_path / "home" / "key", "A=1")
    (tmp_path / "link").symlink_to(tmp_path / "home" / "key")
    entries = {
        "a": {**NPX, "envFile": named},
        "b": {"url": "https://x.example", "headers": {"X": f"${{file:{named}}}"}},
    }
    path = write(tmp_path / "mcp.json", {"mcpServers": entries})
    found = read_configuration(path, closed=[tmp_path / "home"])
    assert found.servers == ()
    assert ["may not be named by a configuration" in one.reason for one in found.excluded] == [True, True]


OWN = {
    "a variable": {"args": ["${WORKBENCH_TOKEN}"]},
    "a variable with a default": {"args": ["${env:workbench_token:-x}"]},
    "a variable in the default of another": {"args": ["${NONE:-${WORKBENCH_TOKEN}}"]},
    "an input": {"env": {"A": "${input:WORKBENCH_TOKEN}"}},
    "a secret": {"env": {"A": "secret:WORKBENCH_TOKEN"}},
    "a secret of a source": {"env": {"A": "x${secret:env:WORKBENCH_TOKEN}"}},
    "a secret in a default": {"env": {"A": "${NONE:-secret:WORKBENCH_TOKEN}"}},
    "a secret in a file of variables": {"envFile": "own.env"},
    "a secret in the value of a variable": {"env": {"A": "${CRAFTED}"}},
}


@pytest.mark.parametrize("name", OWN)
def test_no_credential_of_the_gateway_reaches_a_server(tmp_path: Path, name: str) -> None:
    write(tmp_path / "own.env", "A=secret:WORKBENCH_TOKEN\n")
    path = write(tmp_path / "mcp.json", {"mcpServers": {"a": {**NPX, **OWN[name]}, "b": NPX}})
    env = {"WORKBENCH_TOKEN": "canary", "CRAFTED": "${secret:WORKBENCH_TOKEN}"}
    found = read_configuration(path, env=env, has_secret=lambda name: True)
    assert [spec.id for spec in found.servers] == ["b"]
    assert "is the gateway's own" in found.excluded[0].reason


def test_a_secret_does_not_come_onto_a_command_line_by_a_detour(tmp_path: Path) -> None:
    entries = {
        "a": {"command": "x", "args": ["${NONE:-secret:other}"]},
        "b": {"command": "x", "args": ["${CRAFTED}"]},
        "c": {"url": "https://x.example/${CRAFTED}"},
        "d": {"command": "x", "args": ["--key=${input:mine}"]},
    }
    path = write(tmp_path / "mcp.json", {"mcpServers": entries})
    found = read_configuration(path, env={"CRAFTED": "${secret:other}"}, has_secret=lambda name: True)
    assert [spec.command for spec in found.servers] == [("x", "--key=${secret:mine}")]
    assert ["a secret is named here" in one.reason for one in found.excluded] == [True, True, True]


def test_credentials_in_an_address_are_not_shown(tmp_path: Path) -> None:
    urls = ["https://ada:canary1@x.example/mcp", "https://x.example/mcp?a=1&api_key=canary2&b=2#f"]
    path = write(tmp_path / "mcp.json", {"mcpServers": {f"s{n}": {"url": url} for n, url in enumerate(urls)}})
    specs = read_configuration(path).servers
    assert [spec.url for spec in specs] == urls
    assert [spec.public()["url"] for spec in specs] == [
        "https://***@x.example/mcp",
        "https://x.example/mcp?a=1&api_key=***&b=2#f",
    ]
    assert "canary" not in f"{specs!r}{[spec.public() for spec in specs]}"


def test_a_file_that_is_too_large_or_no_text_is_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"A=1\n" * MAX_FILE_BYTES)
    (tmp_path / "bytes").write_bytes(b"A=\xff")
    path = write(tmp_path / "mcp.json", {"mcpServers": {n: {**NPX, "envFile": n} for n in ("big", "bytes")}})
    big, data = read_configuration(path).excluded
    assert "is larger than" in big.reason
    assert "is not UTF-8 text" in data.reason


def test_lines_of_a_file_of_variables() -> None:
    text = "# no\nA=1\nexport B = two words # no\nC='3 # 4'\nD=\"a\\nb\"\nE=\nbroken\n F: 6\n=x\nG=a=b\n"
    expected = {"A": "1", "B": "two words", "C": "3 # 4", "D": "a\nb", "E": "", "F": "6", "G": "a=b"}
    assert read_env_file(text) == expected


# --- inputs


def test_an_input_is_read_from_the_secrets_and_stands_nowhere(settings: Settings, tmp_path: Path) -> None:
    folder = settings.home / "secrets"
    write(folder / "api-key", "from-the-secrets\n").chmod(0o600)
    asked = [{"id": "api-key", "password": True}, {"id": "city", "password": False}, {"id": "never"}]
    env = {"K": "${input:api-key}", "C": "${input:city}"}
    servers = {"a": {**NPX, "env": env}, "b": {"url": "https://x.example/mcp?key=${input:api-key}"},
               "c": {**NPX, "args": ["${input:never}"]}}  # fmt: skip
    path = write(tmp_path / "mcp.json", {"inputs": asked, "servers": servers})
    settings = settings.replace(mcp_config=path)
    found = foreign_servers(settings)
    assert list(found.inputs) == ["city", "never"]
    SecretResolver.of(settings).supply("city", "Bern-on-Aare", hidden=False)
    found = foreign_servers(settings)
    assert list(found.inputs) == ["never"]
    a, b = found.servers
    assert a.env == {"K": "${secret:api-key}", "C": "${secret:city}"}
    assert b.url == "https://x.example/mcp?key=${secret:api-key}"
    assert "from-the-secrets" not in repr(found)
    assert SecretResolver.of(settings).read(a.env["C"]) == "Bern-on-Aare"
    assert hide("from-the-secrets in Bern-on-Aare") == "<secret> in Bern-on-Aare"


async def test_what_a_person_gave_lasts_and_is_not_looked_for_elsewhere(settings: Settings) -> None:
    now = [0.0]
    secrets = SecretResolver(settings, env={"TOKEN": "of-the-environment"}, ticks=lambda: now[0])
    secrets.supply("TOKEN", "given-by-a-person")
    now[0] = 1e9
    assert secrets.read("secret:TOKEN") == "given-by-a-person"
    assert await secrets.renew("secret:TOKEN", "given-by-a-person") is None
    assert await secrets.fetch("secret:TOKEN") == "given-by-a-person"
    assert [origin.source for origin in secrets.where()] == ["given"]


# --- where clients keep them


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
@pytest.mark.parametrize("client", CLIENTS)
def test_every_client_has_a_place_on_every_system(client: str, platform: str) -> None:
    env = {"HOME": "/h", "USERPROFILE": "/h", "APPDATA": "/h/AppData/Roaming"}
    places = places_of(client, env=env, cwd=Path("/p"), platform=platform)
    assert places
    assert all(str(place).startswith(("/h/", "/p/")) for place in places)


def test_places_depend_on_the_system() -> None:
    desktop = {
        platform: str(places_of("Claude Desktop", env={"HOME": "/h", "APPDATA": "/a"}, platform=platform)[0])
        for platform in ("linux", "darwin", "win32")
    }
    assert desktop == {
        "linux": "/h/.config/Claude/claude_desktop_config.json",
        "darwin": "/h/Library/Application Support/Claude/claude_desktop_config.json",
        "win32": "/a/Claude/claude_desktop_config.json",
    }
    with pytest.raises(MisuseError, match="Did you mean cursor"):
        places_of("cursr")


def test_what_is_installed_is_counted_and_what_is_broken_passed_over(tmp_path: Path) -> None:
    write(tmp_path / ".cursor" / "mcp.json", {"mcpServers": {"a": NPX, "b": NPX}})
    write(tmp_path / ".claude.json", "{")
    write(tmp_path / ".gemini" / "settings.json", {"theme": "Dark"})
    write(tmp_path / "project" / ".vscode" / "mcp.json", {"servers": {"a": NPX}})
    found = installed(env={"HOME": str(tmp_path)}, cwd=tmp_path / "project")
    assert found == {
        "cursor": {tmp_path / ".cursor" / "mcp.json": 2},
        "vscode": {tmp_path / "project" / ".vscode" / "mcp.json": 1},
    }


# --- what is kept

STRANGE = {
    "gemini": ({"mcpServers": {"a": {"httpUrl": "https://x.example/mcp", "headers": {"K": "$T"}, "includeTools": ["t"]}}},
               ".gemini/settings.json"),
    "codex": ('[mcp_servers.a]\ncommand = "./run"\nenv_vars = ["T"]\ntool_timeout_sec = 9\n', ".codex/config.toml"),
    "opencode": ({"mcp": {"a": {"type": "local", "command": ["x", "{file:k.txt}"], "environment": {"K": "{env:T}"}}}},
                 "opencode.json"),
    "vscode": ({"inputs": [{"id": "i", "default": "d"}], "servers": {"a": {**NPX, "env": {"I": "${input:i}"}, "envFile": ".env"}}},
               ".vscode/mcp.json"),
    "claude-code": ({"projects": {"/srv/site": {"mcpServers": {"a": {"command": "./x", "args": ["${B:-b}"]}}}}}, ".claude.json"),
    "sse": ({"mcpServers": {"a": {"type": "sse", "url": ["https://x.example/sse", "https://y.example/sse"], "disabledTools": ["t"],
                                  "auth": {"type": "secret", "secret": "secret:x"}, "tls": {"ca": "ca.pem"}}}}, "mcp.json"),
}  # fmt: skip


@pytest.mark.parametrize("name", STRANGE)
def test_what_is_kept_of_a_server_means_the_same_elsewhere(tmp_path: Path, name: str) -> None:
    value, file = STRANGE[name]
    path = write(tmp_path / "there" / file, value)
    for folder in {path.parent, tmp_path / "there"}:
        write(folder / "k.txt", "of the file")
        write(folder / ".env", "E=5")
    env = {"T": "t0ken", "PATH": "/bin"}
    (before,) = read_configuration(path, env=env).servers
    found = find_servers(parse_document(path.read_bytes(), path).value, path)
    (server,) = found.servers
    added = AddedServers(tmp_path / "home")
    _, kept = portable(server, entry_of(server), ConfigurationSource(path, {}, inputs=found.inputs), "a")
    assert "t0ken" not in json.dumps(kept)
    assert "of the file" not in json.dumps(kept)
    added.add({"a": kept}, found.inputs)
    (after,) = read_configuration(added.path, env=env).servers
    for key in (
        "command",
        "env",
        "cwd",
        "url",
        "more_urls",
        "sse",
        "headers",
        "auth",
        "tls",
        "call_timeout_s",
        "hidden_tools",
        "only_tools",
    ):
        assert getattr(after, key) == getattr(before, key), key
    assert stat.S_IMODE(added.path.stat().st_mode) == 0o600


def test_added_servers_are_forgotten_all_or_none(tmp_path: Path) -> None:
    added = AddedServers(tmp_path / "home")
    added.add({"a": NPX, "b": NPX}, {})
    added.add({"c": NPX}, {"i": {"default": "d"}})
    with pytest.raises(MisuseError, match=r"No server 'x' was added\. Added are a, b, c"):
        added.remove(["a", "x"])
    added.remove(["a", "c"])
    assert list(added.entries()) == ["b"]
    write(added.path, "[]")
    with pytest.raises(MisuseError, match="has no 'mcpServers'"):
        added.entries()


def test_added_and_configured_servers_run_together(settings: Settings, tmp_path: Path) -> None:
    AddedServers(settings.home).add({"a": NPX, "off": {**NPX, "disabled": True}}, {})
    path = write(tmp_path / "mcp.json", {"mcpServers": {"a": NPX, "off": NPX}})
    found = foreign_servers(settings.replace(mcp_config=path))
    assert [spec.id for spec in found.servers] == ["a", "a-2", "off-2"]
    assert [one.id for one in found.excluded] == ["off"]
