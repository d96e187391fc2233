"""Configuration files of other programs are read as they are, and refused with the line and the key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from workbench.events import MisuseError
from workbench.registry import ServerSpec, read_configuration, read_mcp_json
from workbench.server_manifests import selectable_servers

ENV = {"TOKEN": "t0ken", "EMPTY": "", "HOME": "/home/ada"}


def read(folder: Path, text: str | bytes | dict[str, Any]) -> list[ServerSpec]:
    path = folder / "mcp.json"
    if isinstance(text, dict):
        text = json.dumps(text)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_mcp_json(path, env=ENV)


def test_the_format_of_claude_desktop_and_cursor(tmp_path: Path) -> None:
    time, search = read(
        tmp_path,
        """{
          "mcpServers": {
            "time": {"command": "uvx", "args": ["mcp-server-time", "--local-timezone=UTC"], "env": {"DEBUG": "1"}},
            "web search": {"url": "https://search.example.com/mcp", "headers": {"Authorization": "Bearer ${TOKEN}"}}
          }
        }""",
    )
    assert time.kind == "command"
    assert time.stdio
    assert time.command == ("uvx", "mcp-server-time", "--local-timezone=UTC")
    assert time.env == {"DEBUG": "1"}
    assert time.source == str(tmp_path / "mcp.json")
    assert (search.id, search.title, search.kind, search.stdio) == ("web-search", "web search", "url", False)
    assert search.headers == {"Authorization": "Bearer t0ken"}
    assert {time.trust, search.trust} == {"configured"}


def test_the_format_of_vs_code(tmp_path: Path) -> None:
    (tmp_path / ".vscode").mkdir()
    here, there, old = read(
        tmp_path / ".vscode",
        """// my servers
        {
          "inputs": [],
          "servers": {
            "here": {
              "type": "stdio", "command": "python", /* the one on the PATH */
              "args": ["${workspaceFolder}/server.py", "https://example.com // not a comment", 7,],
              "cwd": "sub", "dev": {"watch": "*"},
            },
            "there": {"type": "http", "url": "https://example.com/mcp"},
            "old": {"type": "sse", "url": "http://127.0.0.1:9000/sse"},
          },
        }""",
    )
    assert here.command == ("python", f"{tmp_path}/server.py", "https://example.com // not a comment", "7")
    assert here.cwd == str(tmp_path / ".vscode" / "sub")
    assert (there.url, old.url) == ("https://example.com/mcp", "http://127.0.0.1:9000/sse")
    assert (there.sse, old.sse) == (False, True)


def test_variables_are_filled_in(tmp_path: Path) -> None:
    (spec,) = read(
        tmp_path,
        {
            "mcpServers": {
                "a": {
                    "command": "${HOME}/bin/x",
                    "args": ["${env:TOKEN}", "${NONE:-fallback}", "${EMPTY:-fallback}", "$TOKEN", "${userHome}"],
                    "env": {"A": "x${TOKEN}y${TOKEN}", "N": 3, "B": True, "GONE": None},
                }
            }
        },
    )
    assert spec.command == ("/home/ada/bin/x", "t0ken", "fallback", "fallback", "$TOKEN", str(Path.home()))
    assert spec.env == {"A": "xt0keny t0ken".replace(" ", ""), "N": "3", "B": "true"}


@pytest.mark.parametrize(
    "off",
    [
        {"disabled": True},
        {"enabled": False},
        {"isActive": False},
        {"disabled": "true"},
        {"enabled": 0},
        {"state": "disabled"},
    ],
)
def test_disabled_servers_are_left_out_and_named(tmp_path: Path, off: dict[str, Any]) -> None:
    entries = {"a": {"command": "x", **off}, "b": {"command": "y"}}
    assert [spec.id for spec in read(tmp_path, {"mcpServers": entries})] == ["b"]
    (left_out,) = read_configuration(tmp_path / "mcp.json", env=ENV).excluded
    assert (left_out.id, left_out.status) == ("a", "disabled")
    assert f"{next(iter(off))!r} is" in left_out.reason


def test_a_byte_order_mark_is_no_obstacle(tmp_path: Path) -> None:
    assert read(tmp_path, b'\xef\xbb\xbf{"mcpServers": {"a": {"command": "x"}}}')[0].id == "a"


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    (spec,) = read(tmp_path, {"mcpServers": {"a": {"url": "https://x.example/mcp", "headers": {"X-Key": "${TOKEN}"}}}})
    assert "t0ken" not in repr(spec)
    assert "t0ken" not in str(spec.public())
    assert spec.public()["headers"] == ["X-Key"]


def server(entry: str) -> str:
    return '{\n"mcpServers": {\n"a": ' + entry + "\n}\n}"


UNREADABLE: dict[str | bytes, str] = {
    # what is in the file → what the refusal says, with line and column
    "": "line 1, column 1: Expecting value",
    "{": "line 1, column 2: Expecting property name",
    '{"mcpServers": {\n"a": {"command": "x"\n}': "line 3, column 2: Expecting ',' delimiter",
    '{"mcpServers": {"a": {"command": x}}}': "line 1, column 34: Expecting value",
    server('{"command": "x" /* never closed }'): "line 3, column 22: Expecting ',' delimiter",
    '{"mcpServers": {}} trailing': "line 1, column 20: Expected the end of the file",
    b"\xff\xfe{": "it is not UTF-8 text",
    b'{"mcpServers": "\n\xff"}': "line 2, column 1: it is not UTF-8 text",
    b'{"mcpServers"' + b" " * (4 << 20): "is larger than",
}


@pytest.mark.parametrize("text", UNREADABLE, ids=lambda text: repr(text)[:60])
def test_a_file_is_refused_only_where_its_text_cannot_be_read(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(MisuseError) as refusal:
        read(tmp_path, text)
    assert str(tmp_path / "mcp.json") in str(refusal.value)
    assert UNREADABLE[text] in str(refusal.value)


WITHOUT_SERVERS = {
    # a file that can be read and has no servers → what is said of it; None: nothing, as it says so itself
    "[]": None, "{}": None, '{"mcpServers": {}}': None, '{"mcpServers": {}, "servers": {}}': None,
    '{"mcp": {}}': None,
    '{"mcpServers": null}': None,
    "null": "no servers were found: it holds null",
    '"text"': "no servers were found: it holds a text",
    "7": "it holds a number",
    '{"theme": "dark", "telemetry": {"off": true}}': "its keys are 'theme', 'telemetry'",
    '{\n\n"mcpServers": []}': None,
    '{\n\n"mcpServers": "x"}': "line 3, key mcpServers: 'mcpServers' is a text, where servers by name are expected",
}  # fmt: skip


@pytest.mark.parametrize("text", WITHOUT_SERVERS)
def test_a_file_without_servers_is_said_to_have_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "mcp.json").write_text(text)
    found = read_configuration(tmp_path / "mcp.json", env=ENV)
    assert (found.servers, found.excluded) == ((), ())
    expected = WITHOUT_SERVERS[text]
    assert found.notices == ()
    assert len(found.problems) == (expected is not None)
    assert all(str(expected) in problem for problem in found.problems)


BROKEN = {
    # what is one server's entry → what is said of it, the line included
    '["x"]': "line 3, key mcpServers.a: 'a' is a list. Expected an object",
    "null": "line 3, key mcpServers.a: 'a' is null",
    "{}": "line 3, key mcpServers.a: it has neither 'command' nor 'url'",
    '{"command": "x",\n"url": "http://x"}': "it has both 'command' and 'url'. Say which counts",
    '{"comand": "x"}': "Did you mean 'command' instead of 'comand'?",
    '{"image": "mcp/time"}': "such as docker run -i --rm IMAGE",
    '{"command": ["x", null]}': "key mcpServers.a.command.1: 1 is null",
    '{"command": "  "}': "key mcpServers.a.command: the command is empty",
    '{"command": null}': "neither 'command' nor 'url'",
    '{"command": 7}': "'command' is a number. Expected a text.",
    '{"command": "x \'y"}': "the command line cannot be split",
    '{"command": "x",\n"args": 7}': "line 4, key mcpServers.a.args: 'args' is a number. Expected a list of texts.",
    '{"command": "x", "env": 7}': "'env' is a number",
    '{"command": "x", "env": [7]}': "env.0 is a number. Expected NAME=value.",
    '{"command": "x", "env": {\n"A": "${NOT_SET}"}}': (
        "line 4, key mcpServers.a.env.A: the variable NOT_SET is not set. Set it: export NOT_SET=…"
    ),
    '{"command": "x", "env": {"A": "${env:NOT_SET}"}}': "the variable NOT_SET is not set",
    '{"command": "x", "env": {"A": "${WORKBENCH_TOKEN:-x}"}}': "the variable WORKBENCH_TOKEN is the gateway's own",
    '{"command": "x", "args": ["${input:key}"]}': "key mcpServers.a.args.0: the input 'key' was not given",
    '{"command": "x", "args": ["${command:pick}"]}': "'${command:pick}' is known to the editor alone",
    '{"command": "x", "args": ["${1+1}"]}': "'${1+1}' is no variable",
    '{"command": "x", "args": ["a\\u0000b"]}': "it has a character that no program can be given",
    '{"command": "x", "args": ["\\ud800"]}': "it has a character that no program can be given",
    '{"command": "x", "env": {"A": "\\ud800"}}': "it has a character that no program can be given",
    '{"command": "x", "cwd": 3}': "'cwd' is a number",
    '{"command": "x", "disabled": "perhaps"}': "'disabled' is a text. Expected true or false.",
    '{"command": "x", "disabledTools": 7}': "'disabledTools' is a number. Expected a list of names of tools.",
    '{"command": "x", "includeTools": [{}]}': "'includeTools' holds what is no name",
    '{"command": "x", "envFile": "/proc/self/environ"}': "may not be named by a configuration",
    '{"command": "x", "envFile": "/"}': "'/' is no file",
    '{"type": "carrier-pigeon"}': "'type' is 'carrier-pigeon'. Expected stdio, http or sse.",
    '{"type": "builtin", "name": "developer"}': "its type is 'builtin': it is part of its client",
    '{"type": {}, "url": []}': "'type' is an object",
    '{"type": [1], "url": "http://x"}': "'type' is a list",
    '{"url": 7}': "'url' is a number",
    '{"url": "ftp://x"}': "'url' is 'ftp://x'. Expected http://",
    '{"url": "http://[::1"}': "Expected http://",
    '{"url": "http://x:99999/"}': "Expected http://",
    '{"url": "https:///mcp"}': "Expected http://",
    '{"url": "http://x/a b"}': "Expected http://",
    '{"url": "wss://x/mcp"}': "Expected http://",
    '{"url": "http://x", "headers": {"Bad Name": "1"}}': "'Bad Name' is no name of a header",
    '{"url": "http://x", "headers": {"A": "1\\r\\nB: 2"}}': "header 'A' has line breaks",
    '{"url": "http://x", "headers": 7}': "'headers' is a number",
    '{"url": "http://x", "tls": {}}': "'tls' beside an address without TLS",
    '{"url": "http://x", "tls": 7}': "'tls' is a number",
    '{"url": "http://x", "auth": {"type": "carrier_pigeon"}}': "'type' of 'auth' is 'carrier_pigeon'",
}


@pytest.mark.parametrize("entry", BROKEN)
def test_what_cannot_be_used_is_left_out_alone_and_said_where_it_stands(tmp_path: Path, entry: str) -> None:
    (tmp_path / "mcp.json").write_text(server(entry).replace("\n}\n}", ',\n"good": {"command": "x"}\n}\n}'))
    found = read_configuration(tmp_path / "mcp.json", env=ENV)
    assert [spec.id for spec in found.servers] == ["good"]
    (left_out,) = found.excluded
    assert (left_out.id, left_out.status, left_out.source) == ("a", "invalid", str(tmp_path / "mcp.json"))
    assert str(tmp_path / "mcp.json") in left_out.reason
    assert BROKEN[entry] in left_out.reason


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MisuseError, match=r"nowhere\.json cannot be read: No such file"):
        read_mcp_json(tmp_path / "nowhere.json")
    with pytest.raises(MisuseError, match="cannot be read: Is a directory"):
        read_mcp_json(tmp_path)


def test_ids_do_not_depend_on_anything_but_the_name(tmp_path: Path) -> None:
    names = ["@scope/server-x", "My Server", "a.b.c", "x" * 48, "\uff26\uff55\uff4c\uff4c", "_under_"]
    ids = [s.id for s in read(tmp_path, {"mcpServers": {n: {"command": "x"} for n in names}})]
    assert ids == ["scope-server-x", "My-Server", "a-b-c", "x" * 48, "Full", "under"]


def read_or_refuse(folder: Path, text: bytes) -> tuple[list[ServerSpec], str | None]:
    try:
        return read(folder, text), None
    except MisuseError as e:
        return [], str(e)


texts = st.text(max_size=20) | st.sampled_from(["${X}", "${TOKEN}", "stdio", "http", "http://x", "crm", "a"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(["command", "args", "env", "cwd", "url", "headers", "type", "disabled", "title", "timeout"])
entries = st.dictionaries(keys | texts, values, max_size=5) | values
documents = st.fixed_dictionaries({"mcpServers": st.dictionaries(texts, entries, max_size=3)}) | values


@hypothesis_settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=documents)
def test_any_document_is_read_or_refused(tmp_path: Path, document: Any) -> None:
    specs, refusal = read_or_refuse(tmp_path, json.dumps(document).encode())
    assert refusal is None or str(tmp_path) in refusal
    assert all(isinstance(s, ServerSpec) and s.id not in selectable_servers() for s in specs)
    assert len({s.id for s in specs}) == len(specs)


@hypothesis_settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.binary(max_size=60) | st.text('{}[]",:/*\\\n 1aé\t', max_size=60).map(str.encode))
@example(b'{"mcpServers": {"a": {"command": "x", "args": [' + b"1" * 5000 + b"]}}}")
@example(b'{"a": 1e999}')
@example(b"}" * 10 + b"]")
def test_any_bytes_are_read_or_refused(tmp_path: Path, text: bytes) -> None:
    _, refusal = read_or_refuse(tmp_path, text)
    assert refusal is None or str(tmp_path) in refusal


def test_a_list_of_addresses_is_one_server_with_replicas(tmp_path: Path) -> None:
    (found,) = read(tmp_path, {"mcpServers": {"far": {"url": ["https://a.example/mcp", "https://b.example/mcp"]}}})
    assert (found.url, found.more_urls) == ("https://a.example/mcp", ("https://b.example/mcp",))
    for wrong, why in (
        ([], "neither 'command' nor 'url'"),
        (["https://a.example"] * 2, "stands twice"),
        (["no"], "'no'"),
    ):
        assert read(tmp_path, {"mcpServers": {"far": {"url": wrong}}}) == []
        assert why in read_configuration(tmp_path / "mcp.json").excluded[0].reason
