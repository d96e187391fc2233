"""Configuration files of other programs are read as they are, and refused with the line and the key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from workbench.config import BUNDLED_SERVERS
from workbench.events import Misuse
from workbench.registry import ServerSpec, read_mcp_json

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


def test_disabled_servers_are_left_out(tmp_path: Path) -> None:
    assert read(tmp_path, {"mcpServers": {"a": {"command": "x", "disabled": True}, "b": {"command": "y"}}})[0].id == "b"
    assert read(tmp_path, {"mcpServers": {}}) == []


def test_a_byte_order_mark_is_no_obstacle(tmp_path: Path) -> None:
    assert read(tmp_path, b'\xef\xbb\xbf{"mcpServers": {"a": {"command": "x"}}}')[0].id == "a"


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    (spec,) = read(tmp_path, {"mcpServers": {"a": {"url": "https://x.example/mcp", "headers": {"X-Key": "${TOKEN}"}}}})
    assert "t0ken" not in repr(spec)
    assert "t0ken" not in str(spec.public())
    assert spec.public()["headers"] == ["X-Key"]


def server(entry: str) -> str:
    return '{\n"mcpServers": {\n"a": ' + entry + "\n}\n}"


MALFORMED = {
    # what is in the file → what the refusal says, the line included
    "": "line 1: Expecting value",
    "{": "line 1: Expecting property name",
    '{"mcpServers": {\n"a": {"command": "x"\n}': "line 3: Expecting ',' delimiter",
    '{"mcpServers": {"a": {"command": x}}}': "line 1: Expecting value",
    "[]": "line 1: the file holds a list",
    "null": "line 1: the file holds null",
    '"text"': "the file holds a text",
    "{}": "neither 'mcpServers' nor 'servers'",
    '{"mcpServers": {}, "servers": {}}': "both 'mcpServers' and 'servers'",
    '{\n"mcpServer": {}}': "line 2, key mcpServer: unknown key 'mcpServer'. Did you mean 'mcpServers'?",
    '{\n\n"mcpServers": []}': "line 3, key mcpServers: 'mcpServers' is a list. Expected an object.",
    server('["x"]'): "line 3, key mcpServers.a: 'a' is a list",
    server("{}"): "line 3, key mcpServers.a: server 'a' has neither 'command' nor 'url'",
    server('{"command": "x",\n"url": "http://x"}'): "both 'command' and 'url'",
    server('{"comand": "x"}'): "key mcpServers.a.comand: unknown key 'comand'. Did you mean 'command'?",
    server('{"command": "x",\n"arg": []}'): "line 4, key mcpServers.a.arg: unknown key 'arg'. Did you mean 'args'?",
    server('{"command": ["x"]}'): "'command' is a list. Expected a text.",
    server('{"command": "  "}'): "the command is empty",
    server('{"command": null}'): "'command' is null",
    server('{"command": "x", "args": "--flag"}'): "'args' is a text. Expected a list of texts.",
    server('{"command": "x", "args": ["a",\n["b"]]}'): "line 4, key mcpServers.a.args.1: 1 is a list",
    server('{"command": "x", "args": [true]}'): "is true or false. Expected a text.",
    server('{"command": "x", "env": ["A=1"]}'): "'env' is a list",
    server('{"command": "x", "env": {"A": {}}}'): "'A' is an object",
    server('{"command": "x", "env": {"A=B": "1"}}'): "'A=B' is no name of a variable",
    server('{"command": "x", "env": {\n"A": "${NOT_SET}"}}'): (
        "line 4, key mcpServers.a.env.A: the variable NOT_SET is not set. Set it: export NOT_SET=…"
    ),
    server('{"command": "x", "env": {"A": "${env:NOT_SET}"}}'): "the variable NOT_SET is not set",
    server('{"command": "x", "args": ["${input:key}"]}'): "'${input:key}' asks a person",
    server('{"command": "x", "args": ["${1+1}"]}'): "'${1+1}' is no variable",
    server('{"command": "x", "args": ["a\\u0000b"]}'): "has a character that no program can be given",
    server('{"command": "x", "args": ["\\ud800"]}'): "has a character that no program can be given",
    server('{"command": "x", "cwd": 3}'): "'cwd' is a number",
    server('{"command": "x", "disabled": "yes"}'): "'disabled' is a text. Expected true or false.",
    server('{"command": "x", "headers": {}}'): "'headers' beside 'command'",
    server('{"url": "http://x", "args": []}'): "'args' beside 'url'",
    server('{"type": "carrier-pigeon", "command": "x"}'): "'type' is 'carrier-pigeon'. Expected one of stdio, http",
    server('{"type": "http", "command": "x"}'): "type 'http' without 'url'",
    server('{"type": "stdio", "url": "http://x"}'): "type 'stdio' without 'command'",
    server('{"type": {}, "url": "http://x"}'): "'type' is {}",
    server('{"url": "ftp://x"}'): "'url' is 'ftp://x'. Expected http://",
    server('{"url": "http://[::1"}'): "Expected http://",
    server('{"url": "http://x:99999/"}'): "Expected http://",
    server('{"url": "https:///mcp"}'): "Expected http://",
    server('{"url": "http://x/a b"}'): "Expected http://",
    server('{"url": "http://x", "headers": {"Bad Name": "1"}}'): "'Bad Name' is no name of a header",
    server('{"url": "http://x", "headers": {"A": "1\\r\\nB: 2"}}'): "header 'A' has line breaks",
    server('{"url": "http://x", "headers": {"A": null}}'): "'A' is null",
    server('{"url": "http://x", "headers": {"Mcp-Session-Id": "1"}}'): "'Mcp-Session-Id' is set by the gateway itself",
    server('{"url": "http://x", "headers": {"HOST": "y"}}'): "'HOST' is set by the gateway itself",
    '{"mcpServers": {"": {"command": "x"}}}': "Server name '' cannot be used",
    '{"mcpServers": {"a/b": {"command": "x"},\n"a b": {"command": "x"}}}': "line 2, key mcpServers.a b: Server name",
    '{"mcpServers": {"\u0441rm": {"command": "x"}}}': "has the character U+0441",
    '{"mcpServers": {"cr\u200bm": {"command": "x"}}}': "has the character U+200B",
    '{"mcpServers": {"crm": {"command": "x"}}}': "is already taken",
    '{"mcpServers": {"CRM": {"command": "x"}}}': "can be taken for 'crm'",
    '{"mcpServers": {"fi1es": {"command": "x"}}}': "can be taken for 'files'",
    '{"mcpServers": {"tables": {"command": "x"}}}': "is already taken",
    '{"mcpServers": {"a": {"command": "x"},\n"a": {"command": "y"}}}': "line 2: the key 'a' is there twice",
    server('{"command": "x", "timeout": NaN}'): "NaN is not JSON",
    server("[" * 40 + "]" * 40): "nested deeper than 32 levels",
    server('{"command": "x" /* never closed }'): "line 3: Expecting ',' delimiter",
    b"\xff\xfe{}": "is not UTF-8 text",
    b'{"mcpServers"' + b" " * (1 << 20): "is larger than",
}


@pytest.mark.parametrize("text", MALFORMED, ids=lambda text: repr(text)[:60])
def test_what_cannot_be_meant_is_refused_where_it_stands(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(Misuse) as refusal:
        read(tmp_path, text)
    assert str(tmp_path / "mcp.json") in str(refusal.value)
    assert MALFORMED[text] in str(refusal.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match=r"nowhere\.json cannot be read: No such file"):
        read_mcp_json(tmp_path / "nowhere.json")
    with pytest.raises(Misuse, match="cannot be read: Is a directory"):
        read_mcp_json(tmp_path)


def test_ids_do_not_depend_on_anything_but_the_name(tmp_path: Path) -> None:
    names = ["@scope/server-x", "My Server", "a.b.c", "x" * 48, "\uff26\uff55\uff4c\uff4c", "_under_"]
    ids = [s.id for s in read(tmp_path, {"mcpServers": {n: {"command": "x"} for n in names}})]
    assert ids == ["scope-server-x", "My-Server", "a-b-c", "x" * 48, "Full", "under"]


def read_or_refuse(folder: Path, text: bytes) -> tuple[list[ServerSpec], str | None]:
    try:
        return read(folder, text), None
    except Misuse as e:
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
    assert all(isinstance(s, ServerSpec) and s.id not in BUNDLED_SERVERS for s in specs)
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
    for wrong, why in (([], "empty list"), (["https://a.example"] * 2, "stands twice"), (["nowhere"], "nowhere")):
        with pytest.raises(Misuse, match=why):
            read(tmp_path, {"mcpServers": {"far": {"url": wrong}}})
