"""Configurations in the style of every client: which servers each gives, what is said of it, what is left out.

The table has one row for each style. `good` beside every other server shows that none of them costs another one.
"""

# ruff: noqa: E501 - a table is read by its rows

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from workbench.registry import Configuration, ServerSpec, read_configuration

ENV = {"TOKEN": "t0ken", "EMPTY": "", "HOME": "/home/ada", "PATH": "/usr/bin:/bin"}
SECRETS = {"api-key", "exa"}


class Style(NamedTuple):
    """A file, and what is read from it."""

    text: str | dict[str, Any] | list[Any]
    servers: dict[str, str]
    """Id → command line or address."""
    excluded: dict[str, str] = {}
    """Id → a part of the reason."""
    notices: tuple[str, ...] = ()
    """Parts of what is said of servers and file, in any order; nothing else may be said."""
    name: str = "mcp.json"
    unread: str = ""
    """Keys at the top that are said not to be read."""
    more: dict[str, dict[str, Any]] = {}
    """Id → further fields of the server."""


def mcp(**servers: Any) -> dict[str, Any]:
    return {"mcpServers": servers}


NPX = {"command": "npx", "args": ["-y", "pkg"]}
RUN = "npx -y pkg"
FAR = "https://mcp.example/mcp"
REACHED = {"url": FAR}

STYLES: dict[str, Style] = {
    "Claude Desktop": Style(
        {"globalShortcut": "Ctrl+Space", "mcpServers": {"good": NPX}, "preferences": {"sidebarMode": "chat"}},
        {"good": RUN}, name="claude_desktop_config.json", unread="globalShortcut, preferences",
    ),
    "Claude Code, project": Style(
        mcp(
            far={"type": "http", "url": "${BASE:-https://mcp.example}/mcp", "headers": {"Authorization": "Bearer ${TOKEN}"},
                 "oauth": {"clientId": "abc", "callbackPort": 8080}, "headersHelper": "/bin/true"},
            good={"type": "stdio", **NPX, "env": {}},
        ),
        {"far": FAR, "good": RUN}, notices=("far: 'oauth' needs a browser", "far: 'headersHelper' is no program to run"),
        name=".mcp.json", more={"far": {"headers": {"Authorization": "Bearer t0ken"}}},
    ),
    "Claude Code, the user's own file": Style(
        {"numStartups": 7, "mcpServers": {"good": NPX}, "projects": {
            "/work/site": {"allowedTools": [], "mcpServers": {"site": {"command": "./serve"}}, "history": []},
            "/work/other": {"allowedTools": []},
        }},
        {"good": RUN, "site": "/work/site/serve"}, name=".claude.json", more={"site": {"cwd": "/work/site"}}, unread="numStartups",
    ),
    "Claude Code, a variable that is not set": Style(
        mcp(needs={"type": "http", "url": FAR, "headers": {"Authorization": "Bearer ${NOT_SET}"}}, good=NPX),
        {"good": RUN}, {"needs": "headers.Authorization: the variable NOT_SET is not set. Set it: export NOT_SET=…"},
    ),
    "Claude Code, a plugin's file": Style(
        {"good": NPX, "own": {"command": "${CLAUDE_PLUGIN_ROOT}/servers/own", "args": ["--data", "${CLAUDE_PLUGIN_ROOT}/data"]}},
        {"good": RUN, "own": "{folder}/servers/own --data {folder}/data"}, name=".mcp.json",
    ),
    "Claude Code, a plugin's manifest": Style(
        {"name": "plugin", "version": "1.0.0", "mcpServers": {"good": NPX}}, {"good": RUN}, name="plugin.json", unread="name, version",
    ),
    "VS Code": Style(
        """{
          // VS Code
          "inputs": [{"type": "promptString", "id": "api-key", "description": "API key", "password": true}],
          "servers": {
            "good": {"type": "stdio", "command": "npx", "args": ["-y", "pkg"], "dev": {"watch": "*"}, "gallery": true},
            "needs": {"type": "http", "url": "https://mcp.example/mcp", "headers": {"Authorization": "Bearer ${input:api-key}"}}, /* trailing */
          },
        }""",
        {"good": RUN, "needs": FAR}, notices=("good: Not used here: dev, gallery.",),
        more={"needs": {"headers": {"Authorization": "Bearer ${secret:api-key}"}}},
    ),
    "VS Code, an input that nobody gave": Style(
        {"inputs": [{"type": "promptString", "id": "other"}, {"type": "promptString", "id": "region", "default": "eu"}],
         "servers": {"needs": {"command": "npx", "env": {"K": "${input:other}"}},
                     "good": {**NPX, "env": {"REGION": "${input:region}"}}}},
        {"good": RUN}, {"needs": "the input 'other' was not given. Start on a terminal to be asked"},
        more={"good": {"env": {"REGION": "eu"}}},
    ),
    "VS Code, a secret on the command line": Style(
        {"inputs": [{"type": "promptString", "id": "api-key", "password": True}],
         "servers": {"good": {"command": "npx", "args": ["-y", "pkg", "--key", "${input:api-key}"]}}},
        {"good": "npx -y pkg --key ${secret:api-key}"}, notices=("good: A secret is on its command line",),
    ),
    "VS Code, settings": Style(
        {"editor.fontSize": 12, "mcp": {"inputs": [], "servers": {"good": NPX}}}, {"good": RUN}, name="settings.json", unread="editor.fontSize",
    ),
    "VS Code, settings in one key": Style(
        {"editor.fontSize": 12, "mcp.servers": {"good": NPX}}, {"good": RUN}, name="settings.json", unread="editor.fontSize",
    ),
    "VS Code, a development container": Style(
        {"image": "debian", "customizations": {"vscode": {"mcp": {"servers": {"good": NPX}}}}}, {"good": RUN},
        name="devcontainer.json", unread="image",
    ),
    "VS Code, variables of the editor": Style(
        {"servers": {"good": {"command": "node", "args": ["${workspaceFolder}/x.js", "${userHome}", "a${/}b", "${env:TOKEN}"]},
                     "pick": {"command": "x", "args": ["${command:pickPort}"]}}},
        {"good": "node {folder}/x.js {home} a/b t0ken"}, {"pick": "known to the editor alone"}, name=".vscode/mcp.json",
    ),
    "VS Code, an address to install from": Style({"name": "good", **NPX}, {"good": RUN}),
    "Visual Studio": Style({"inputs": [], "servers": {"good": NPX}}, {"good": RUN}, name=".mcp.json"),
    "Cursor": Style(
        mcp(good=NPX, far={"url": FAR, "headers": {"X-Key": "${env:TOKEN}"}}), {"good": RUN, "far": FAR},
        name=".cursor/mcp.json", more={"far": {"headers": {"X-Key": "t0ken"}}},
    ),
    "Cursor, a file of variables": Style(
        mcp(good={"type": "stdio", **NPX, "envFile": "${workspaceFolder}/.env", "env": {"B": "2"}}), {"good": RUN},
        name=".cursor/mcp.json", more={"good": {"env": {"A": "one two", "B": "2", "C": "three"}}},
    ),
    "Cursor, a file of variables that is not there": Style(
        mcp(good={**NPX, "envFile": "none.env"}), {"good": RUN}, notices=("good: envFile: The file",),
    ),
    "Cursor, a client of OAuth": Style(
        mcp(good={"url": FAR, "auth": {"CLIENT_ID": "x", "CLIENT_SECRET": "y", "scopes": []}}), {"good": FAR},
        notices=("good: 'auth' needs a browser",),
    ),
    "Windsurf": Style(
        mcp(good={"serverUrl": FAR, "disabled": False, "disabledTools": ["x"]}, old=NPX), {"good": FAR, "old": RUN},
        notices=("good: These tools are hidden: x.",), name="mcp_config.json", more={"good": {"hidden_tools": ("x",)}},
    ),
    "Windsurf, a secret in a file": Style(
        mcp(good={"serverUrl": FAR, "headers": {"Authorization": "Bearer ${file:key.txt}"}}), {"good": FAR},
        more={"good": {"headers": {"Authorization": "Bearer from-a-file"}}},
    ),
    "Cline": Style(
        mcp(**{"github.com/modelcontextprotocol/servers/tree/main/src/time": {
            "autoApprove": ["get_current_time"], "disabled": False, "timeout": 60, "type": "stdio", **NPX}},
            good={"transportType": "stdio", **NPX, "disabledTools": []}),
        {"servers-tree-main-src-time-6a219336": RUN, "good": RUN},
        notices=("time-6a219336: It is called", "autoApprove (get_current_time) is a hint", "Calls may take 60 s"),
        name="cline_mcp_settings.json", more={"servers-tree-main-src-time-6a219336": {"call_timeout_s": 60.0}},
    ),
    "Roo": Style(
        mcp(good={**NPX, "alwaysAllow": ["echo"], "disabledTools": ["rm"], "watchPaths": ["x"], "timeout": 300, "cwd": "."},
            far={"type": "streamable-http", "url": FAR, "headers": {}}),
        {"good": RUN, "far": FAR},
        notices=("good: alwaysAllow (echo) is a hint", "good: Calls may take 300 s", "watchPaths", "hidden: rm"),
        name=".roo/mcp.json", more={"good": {"hidden_tools": ("rm",)}},
    ),
    "Kiro": Style(
        mcp(good={**NPX, "disabled": False, "autoApprove": ["*"], "disabledTools": ["a"], "timeout": 45000}), {"good": RUN},
        notices=("autoApprove (*)", "hidden: a", "Calls may take 45 s"), name=".kiro/settings/mcp.json",
        more={"good": {"cwd": "{folder}"}},
    ),
    "Amazon Q": Style(
        mcp(**{"awslabs.docs": {**NPX, "env": {"FASTMCP_LOG_LEVEL": "ERROR"}, "timeout": 120000, "disabled": False,
                                "autoApprove": [], "disabledTools": [], "registryId": "x"}}),
        {"awslabs-docs": RUN}, notices=("Calls may take 120 s", "It is called 'awslabs.docs'", "Not used here: registryId."),
        more={"awslabs-docs": {"call_timeout_s": 120.0}},
    ),
    "Amazon Q, an agent": Style(
        {"name": "helper", "tools": ["*"], "allowedTools": ["fs_read"], "mcpServers": {"good": NPX}}, {"good": RUN}, unread="name, tools, allowedTools",
    ),
    "Gemini CLI": Style(
        {"theme": "Dark", "mcpServers": {
            "far": {"httpUrl": FAR, "trust": True, "includeTools": ["a", "b(x)"], "excludeTools": ["b"], "timeout": 600000},
            "good": {**NPX, "env": {"KEY": "$TOKEN"}}}},
        {"far": FAR, "good": RUN}, name=".gemini/settings.json",
        notices=("far: trust (true) is a hint", "far: Only these tools are offered: a, b.", "far: These tools are hidden: b.",
                 "far: Calls may take 600 s"),
        more={"far": {"only_tools": ("a", "b"), "hidden_tools": ("b",)}, "good": {"env": {"KEY": "t0ken"}}}, unread="theme",
    ),
    "Gemini CLI, servers switched off by name": Style(
        {"mcp": {"excluded": ["off"]}, "mcpServers": {"off": NPX, "good": NPX}}, {"good": RUN},
        {"off": "the file excludes it by name"}, name=".gemini/settings.json",
    ),
    "Gemini CLI, an extension": Style(
        {"name": "ext", "version": "1", "mcpServers": {"good": {"command": "node", "args": ["${extensionPath}${/}s.js"], "cwd": "${extensionPath}"}}},
        {"good": "node {folder}/s.js"}, name="gemini-extension.json", more={"good": {"cwd": "{folder}"}}, unread="name, version",
    ),
    "Copilot CLI": Style(
        mcp(good={"type": "local", **NPX, "tools": ["*"]}, few={"type": "http", **REACHED, "headers": {}, "tools": ["a"]}),
        {"good": RUN, "few": FAR}, notices=("few: Only these tools are offered: a.",), name=".copilot/mcp-config.json",
        more={"few": {"only_tools": ("a",)}},
    ),
    "Codex": Style(
        """
        model = "o"
        [mcp_servers.good]
        command = "npx"
        args = ["-y", "pkg"]
        env = { A = "1" }
        env_vars = ["TOKEN", "NOT_SET"]
        startup_timeout_sec = 20
        tool_timeout_sec = 90
        enabled_tools = ["a"]
        disabled_tools = ["b"]
        [mcp_servers.far]
        url = "https://mcp.example/mcp"
        bearer_token_env_var = "TOKEN"
        http_headers = { X-Region = "eu" }
        env_http_headers = { X-Key = "TOKEN" }
        [mcp_servers.off]
        command = "x"
        enabled = false
        """,
        {"good": RUN, "far": FAR}, {"off": "'enabled' is false"}, name="config.toml",
        notices=("Only these tools are offered: a.", "hidden: b", "Calls may take 90 s", "Not used here: startup_timeout_sec."),
        more={"good": {"env": {"A": "1", "TOKEN": "t0ken"}, "call_timeout_s": 90.0},
              "far": {"headers": {"X-Region": "eu", "X-Key": "t0ken", "Authorization": "Bearer t0ken"}}}, unread="model",
    ),
    "opencode": Style(
        {"$schema": "https://opencode.ai/config.json", "mcp": {
            "good": {"type": "local", "command": ["npx", "-y", "pkg"], "environment": {"K": "{env:TOKEN}"}, "enabled": True,
                     "timeout": 5000},
            "far": {"type": "remote", **REACHED, "enabled": True, "oauth": {}, "headers": {"X": "{file:key.txt}"}},
            "off": {"type": "remote", **REACHED, "enabled": False}}},
        {"good": RUN, "far": FAR}, {"off": "'enabled' is false"}, notices=("good: timeout is opencode's for listing",),
        name="opencode.json", more={"good": {"env": {"K": "t0ken"}}, "far": {"headers": {"X": "from-a-file"}}},
    ),
    "Crush": Style(
        {"mcp": {"good": {"type": "stdio", **NPX, "timeout": 120, "env": {"K": "$TOKEN"}}, "far": {"type": "http", **REACHED}}},
        {"good": RUN, "far": FAR}, notices=("Calls may take 120 s",), name="crush.json", more={"good": {"env": {"K": "t0ken"}}},
    ),
    "Zed": Style(
        {"theme": "One", "context_servers": {
            "good": {"source": "custom", "command": "npx", "args": ["-y", "pkg"], "env": {}},
            "old": {"source": "custom", "command": {"path": "npx", "args": ["-y", "pkg"], "env": {"A": "1"}}},
            "ext": {"source": "extension", "settings": {}}}},
        {"good": RUN, "old": RUN}, {"ext": "it has neither 'command' nor 'url'"},
        notices=("good: Not used here: source.", "old: Not used here: source."), name="settings.json",
        more={"old": {"env": {"A": "1"}}}, unread="theme",
    ),
    "Cherry Studio": Style(
        mcp(**{"9yJKmNv": {"name": "good", "type": "streamableHttp", "description": "", "isActive": True, "baseUrl": FAR,
                           "command": "", "args": [], "env": {}},
               "off": {"name": "idle", "type": "stdio", "isActive": False, **NPX},
               "mem": {"name": "@cherry/memory", "type": "inMemory", "isActive": True}}),
        {"9yJKmNv": FAR}, {"off": "'isActive' is false", "mem": "its type is 'inMemory': it is part of its client"},
        more={"9yJKmNv": {"title": "good"}},
    ),
    "LM Studio": Style(mcp(good={"url": FAR, "headers": {"Authorization": "Bearer x"}}), {"good": FAR}),
    "Goose": Style(
        """
        GOOSE_PROVIDER: x
        extensions:
          developer: {bundled: true, enabled: true, name: developer, timeout: 300, type: builtin}
          good:
            name: Good one
            type: stdio
            cmd: npx
            args: [-y, pkg]
            envs: {A: 1}
            env_keys: [TOKEN]
            timeout: 300
            enabled: true
            available_tools: []
          far: {type: streamable_http, uri: "https://mcp.example/mcp", headers: {}, enabled: true}
        """,
        {"good": RUN, "far": FAR}, {"developer": "its type is 'builtin': it is part of its client"}, name="config.yaml",
        notices=("Calls may take 300 s", "envs.A: a number became the text '1'"),
        more={"good": {"env": {"A": "1", "TOKEN": "t0ken"}, "title": "Good one", "only_tools": None}}, unread="GOOSE_PROVIDER",
    ),
    "Continue": Style(
        """
        name: Local
        mcpServers:
          - name: Good one
            command: npx
            args: ["-y", "pkg"]
            env: {K: "${{ secrets.api-key }}"}
          - name: far
            type: streamable-http
            url: https://mcp.example/mcp
            requestOptions: {headers: {X: "1"}}
        """,
        {"Good-one": RUN, "far": FAR}, notices=("It is called 'Good one'",), name=".continue/config.yaml",
        more={"Good-one": {"env": {"K": "${secret:api-key}"}}, "far": {"headers": {"X": "1"}}}, unread="name",
    ),
    "Continue, the older file": Style(
        {"models": [], "experimental": {"modelContextProtocolServers": [{"transport": {"type": "stdio", **NPX}}]}},
        {"server-1": RUN}, name="config.json", unread="models",
    ),
    "LibreChat": Style(
        "version: 1.2\nmcpServers:\n  good:\n    type: streamable-http\n    url: https://mcp.example/mcp\n    timeout: 60000\n",
        {"good": FAR}, notices=("Calls may take 60 s",), name="librechat.yaml", unread="version",
    ),
    "JetBrains": Style(mcp(good={**NPX, "workingDirectory": "/srv"}), {"good": RUN}, more={"good": {"cwd": "/srv"}}),
    "mcpo": Style(mcp(good={"type": "streamable_http", **REACHED}, old={"type": "sse", **REACHED}), {"good": FAR, "old": FAR},
                  more={"old": {"sse": True}}),
    "MCP Inspector, all servers": Style(
        mcp(**{"default-server": {"type": "stdio", **NPX, "env": {}}}), {"default-server": RUN},
    ),
    "MCP Inspector, one server over stdio": Style({"command": "npx", "args": ["-y", "pkg"], "env": {}}, {"server": RUN}),
    "MCP Inspector, one server over SSE": Style(
        {"type": "sse", **REACHED, "note": "For SSE connections, add this URL directly in your MCP Client"}, {"server": FAR},
        notices=("Not used here: note.",), more={"server": {"sse": True}},
    ),
    "Amp": Style({"amp.mcpServers": {"good": NPX}}, {"good": RUN}, name="settings.json"),
    "Augment": Style({"augment.advanced": {"mcpServers": [{"name": "good", **NPX}]}}, {"good": RUN}, name="settings.json"),
    "AnythingLLM": Style(
        mcp(good={**NPX, "anythingllm": {"autoStart": True}}), {"good": RUN}, notices=("Not used here: anythingllm.",),
    ),
    "Open WebUI": Style(
        [{"url": FAR, "path": "", "type": "mcp", "auth_type": "none", "info": {"id": "good", "name": "good"}}], {"good": FAR},
        notices=("Not used here: path, auth_type, info.",),
    ),
    "one server under mcpServers": Style({"mcpServers": {"command": "npx", "args": ["-y", "pkg"]}}, {"server": RUN}),
    "a list of servers": Style([{"name": "good", **NPX}, {"far": REACHED}, 7], {"good": RUN, "far": FAR},
                               {"server-3": "'server-3' is a number"}),
    "servers by name without a key": Style({"good": NPX, "far": REACHED}, {"good": RUN, "far": FAR}),
    "a key with another punctuation": Style({"mcp-servers": {"good": NPX}}, {"good": RUN}),
    "a misspelt key": Style({"mcpServer": {"good": NPX}}, {"good": RUN}, notices=("The key 'mcpServer' was read as 'mcpServers'.",)),
    "two keys at once": Style({"mcpServers": {"good": NPX}, "servers": {"far": REACHED}}, {"good": RUN, "far": FAR}),
    "a server.json with a package": Style(
        {"$schema": "https://static.modelcontextprotocol.io/schemas/server.schema.json", "name": "io.example/good",
         "description": "Does good.", "version": "1.0.2", "packages": [{
             "registryType": "npm", "identifier": "@example/good", "version": "1.0.2", "transport": {"type": "stdio"},
             "packageArguments": [{"type": "positional", "value": "serve"}, {"type": "named", "name": "--port", "default": "1"}],
             "environmentVariables": [{"name": "API_KEY", "isRequired": False, "isSecret": True}, {"name": "MODE", "value": "x"}]}]},
        {"io-example-good": "npx -y @example/good@1.0.2 serve --port 1"}, notices=("It is called 'io.example/good'",),
        name="server.json", more={"io-example-good": {"env": {"MODE": "x"}, "description": "Does good."}},
    ),
    "a server.json with remotes": Style(
        {"name": "good", "description": "", "version": "1", "remotes": [
            {"type": "streamable-http", **REACHED, "headers": [{"name": "X-Key", "value": "Bearer {exa}", "variables": {"exa": {"isSecret": True}}}]},
            {"type": "sse", "url": "https://mcp.example/sse"}]},
        {"good": FAR}, notices=("Of 2 ways to reach it, this one was taken",), name="server.json",
        more={"good": {"headers": {"X-Key": "Bearer ${secret:exa}"}}},
    ),
    "a server.json that wants a key": Style(
        {"name": "good", "version": "1", "packages": [{"registry_type": "pypi", "identifier": "good-mcp", "version": "1",
         "environment_variables": [{"name": "NO_SUCH_KEY", "is_required": True, "is_secret": True}]}]},
        {}, {"good": "the input 'NO_SUCH_KEY' was not given"}, name="server.json",
    ),
    "the answer of a registry": Style(
        {"servers": [{"server": {"name": "good", "version": "1", "packages": [{"registryType": "pypi", "identifier": "good-mcp", "version": "1.2"}]},
                      "_meta": {}}], "metadata": {"count": 1}},
        {"good": "uvx good-mcp==1.2"}, unread="metadata",
    ),
    "the manifest of a bundle": Style(
        {"manifest_version": "0.3", "name": "good", "display_name": "Good", "version": "1", "user_config": {"exa": {"sensitive": True}},
         "server": {"type": "node", "entry_point": "x.js", "mcp_config": {
             "command": "node", "args": ["${__dirname}/x.js"], "env": {"K": "${user_config.exa}"}}}},
        {"good": "node {folder}/x.js"}, name="manifest.json", more={"good": {"env": {"K": "${secret:exa}"}, "title": "Good"}},
    ),
    "Docker": Style(
        mcp(good={"command": "docker", "args": ["run", "-i", "--rm", "-e", "K", "mcp/time"], "env": {"K": "v"}}),
        {"good": "docker run -i --rm -e K mcp/time"},
    ),
    "Windows": Style(
        mcp(fs={"command": "cmd", "args": ["/c", "npx", "-y", "fs", "C:\\Users\\me\\Desktop"]},
            exe={"command": "C:\\Program Files\\nodejs\\npx.cmd", "args": ["-y", "x"]},
            var={"command": "node", "args": ["%APPDATA%\\x.js"]}, share={"command": "\\\\nas\\tools\\x.exe"},
            one={"command": "cmd /c npx -y pkg"}, two={"command": "cmd.exe", "args": ["/C", "npx -y pkg"]},
            three={"command": "npx.cmd", "args": ["-y", "pkg"]}),
        {"one": RUN, "two": RUN, "three": RUN},
        {"fs": "has a path of Windows", "exe": "has a path of Windows", "var": "has a path of Windows", "share": "has a path of Windows"},
        notices=("one: The command was split", "one: Windows' cmd /c was left out", "two: Windows' cmd.exe /c was left out",
                 "three: npx.cmd is Windows' name of npx."),
    ),
    "a command in one text": Style(
        mcp(good={"command": "npx -y 'a b'"}, more={"command": "npx -y", "args": ["pkg"]}, list={"command": ["npx", "-y", "pkg"]},
            text={"command": "npx", "args": "-y pkg"}),
        {"good": "npx -y a b", "more": RUN, "list": RUN, "text": RUN},
        notices=("good: The command was split", "more: The command was split", "text: 'args' was one text, and was split."),
    ),
    "numbers, booleans and nothing": Style(
        mcp(good={"command": "npx", "args": ["-y", 8080, True, 1.0, None, ["a", 2]],
                  "env": {"PORT": 8080, "DEBUG": True, "N": None, "my-var": "x", "X": {"a": 1}, "A=B": "1"}}),
        {"good": "npx -y 8080 true 1 a 2"}, more={"good": {"env": {"PORT": "8080", "DEBUG": "true", "my-var": "x", "X": '{"a": 1}'}}},
        notices=("args.1: a number became the text '8080'", "args.2: true or false became the text 'true'",
                 "args.3: a number became the text '1'", "args.4 is null", "args.5 is a list", "args.5.1: a number became",
                 "env.PORT: a number became the text '8080'", "env.DEBUG: true or false became the text 'true'",
                 "env.N is null and was left out", "env.X: an object became JSON text", "env.A=B: no variable can have that name"),
    ),
    "variables as a list": Style(
        mcp(good={**NPX, "env": ["A=1", {"name": "B", "value": "2"}]}, far={**REACHED, "headers": ["X: 1", "Y=2"]}),
        {"good": RUN, "far": FAR}, more={"good": {"env": {"A": "1", "B": "2"}}, "far": {"headers": {"X": "1", "Y": "2"}}},
    ),
    "headers that the gateway sets": Style(
        mcp(good={**REACHED, "headers": {"Accept": "application/json, text/event-stream", "content-type": "application/json",
                                         "MCP-Protocol-Version": "2025-06-18", "X-Key": "k", "X-None": None}}),
        {"good": FAR}, more={"good": {"headers": {"X-Key": "k"}}},
        notices=("'Accept' is set by the gateway", "'content-type' is set", "'MCP-Protocol-Version' is set", "headers.X-None is null"),
    ),
    "names of many scripts": Style(
        mcp(**{"高德地图": NPX, "Поиск": NPX, "カレンダー": NPX, "한국어 검색": NPX, "Überblick": NPX, "Ψηφίο": NPX, "amap-高德": NPX, "🔥": NPX, "a\u200bb": NPX, "": NPX}),
        {"server-586dfed1": RUN, "Poisk": RUN, "karenda": RUN, "hangugeo-geomsaeg": RUN, "Uberblick": RUN, "Psifio": RUN, "amap-2c3080ad": RUN, "server-c5ef17fa": RUN,
         "ab": RUN, "server-12ae32cb": RUN},
        notices=("'高德地图'", "'Поиск'", "'カレンダー'", "'한국어 검색'", "'Überblick'", "'Ψηφίο'", "'amap-高德'", "'🔥'", "'a\\u200bb'", "''"),
        more={"server-586dfed1": {"title": "高德地图"}},
    ),
    "names that are taken": Style(
        mcp(calendar=NPX, files=NPX, CRM=NPX, fi1es=NPX, tables=NPX, **{"a/b": NPX, "a b": NPX, "a.b": NPX}),
        {"calendar-2": RUN, "files-2": RUN, "CRM-2": RUN, "fi1es-3": RUN, "tables-2": RUN, "a-b": RUN, "a-b-2": RUN, "a-b-3": RUN},
        notices=("'calendar'", "'files'", "'CRM'", "'fi1es'", "'tables'", "'a/b'", "'a b'", "'a.b'"),
    ),
    "types as they are spelt": Style(
        mcp(**{f"s{n}": {kind: spelling, **REACHED} for n, (kind, spelling) in enumerate((
            ("type", "http"), ("type", "HTTP"), ("type", "streamable-http"), ("type", "streamableHttp"), ("type", "streamable_http"),
            ("transport", "streamable-http"), ("transportType", "http"), ("type", "remote"), ("type", "url"),
            ("transport_type", "Streamable HTTP")))}),
        {f"s{n}": FAR for n in range(10)},
    ),
    "addresses as they are spelt": Style(
        mcp(**{f"s{n}": {key: FAR} for n, key in enumerate(("url", "serverUrl", "httpUrl", "baseUrl", "uri", "endpoint", "server_url"))}),
        {f"s{n}": FAR for n in range(7)},
    ),
    "an address without http": Style(
        mcp(good={"url": "localhost:9000/mcp"}), {"good": "http://localhost:9000/mcp"}, notices=("was read as http://localhost:9000/mcp",),
    ),
    "comments, and keys that people make up": Style(
        '{"_readme": "mine", "mcpServers": {"good": {"_comment": "note", "command": "npx", "args": ["-y", "pkg"], "note": 1}}}',
        {"good": RUN}, notices=("Not used here: _comment, note.",), unread="_readme",
    ),
    "single quotes and a byte order mark": Style(
        "\ufeff{mcpServers: {'good': {command: 'npx', args: ['-y', 'pkg'],},},}", {"good": RUN},
    ),
    "a key that stands twice": Style(
        '{"mcpServers": {"good": {"command": "x", "command": "npx", "args": ["-y", "pkg"]}}}', {"good": RUN},
        notices=("good: The key 'command' is there twice; the last one counts.",),
    ),
    "switches as they are spelt": Style(
        mcp(a={**NPX, "disabled": True}, b={**NPX, "enabled": False}, c={**NPX, "disabled": "false"}, d={**NPX, "enabled": 1}),
        {"c": RUN, "d": RUN}, {"a": "'disabled' is true", "b": "'enabled' is false"},
        notices=("c: 'disabled' is \"false\"", "d: 'enabled' is 1"),
    ),
    "filters as they are spelt": Style(
        mcp(a={**NPX, "disabled_tools": ["x"]}, b={**NPX, "tools": {"x": {"enabled": False}, "y": {}}}, c={**NPX, "allowedTools": ["y*"]},
            d={**NPX, "tools": {"exclude": ["x"]}}, e={**NPX, "excludeTools": "x"}),
        dict.fromkeys("abcde", RUN),
        notices=("a: These tools are hidden: x.", "b: These tools are hidden: x.", "c: Only these tools are offered: y*.",
                 "d: These tools are hidden: x.", "e: These tools are hidden: x."),
    ),
    "home and relative paths": Style(
        mcp(good={"command": "~/bin/x", "args": ["~/data", "./rel", "~x"], "cwd": "sub"}, rel={"command": "./run.sh"}),
        {"good": "{home}/bin/x {home}/data ./rel ~x", "rel": "{folder}/run.sh"},
        more={"good": {"cwd": "{folder}/sub"}, "rel": {"cwd": "{folder}"}},
    ),
}  # fmt: skip


def read(folder: Path, style: Style) -> Configuration:
    path = folder / style.name
    path.parent.mkdir(parents=True, exist_ok=True)
    (folder / ".env").write_text("A='one two'\nexport C=three # of three\nB=1\n")
    (folder / "key.txt").write_text("from-a-file\n")
    path.write_text(style.text if isinstance(style.text, str) else json.dumps(style.text), encoding="utf-8")
    return read_configuration(path, env=ENV, has_secret=SECRETS.__contains__)


SAMPLE = json.dumps({
    "inputs": [{"id": "i", "type": "promptString", "default": "d"}],
    "mcpServers": {
        "one": {"type": "stdio", "command": "npx", "args": ["-y", "pkg", 1], "env": {"A": "${TOKEN}"}, "cwd": ".", "envFile": ".env",
                "disabled": False, "timeout": 60, "disabledTools": ["x"], "includeTools": ["y"], "autoApprove": ["z"], "title": "One",
                "description": "d", "name": "n", "env_vars": ["TOKEN"], "tools": {"a": {"enabled": False}}},
        "two": {"type": "http", "url": "https://mcp.example/mcp", "headers": {"X": "${input:i}"}, "oauth": {"a": 1},
                "auth": {"type": "secret", "secret": "secret:x"}, "tls": {"ca": "ca.pem"}, "transport": {"type": "http"}},
    },
    "mcp": {"servers": {"three": {"command": {"path": "x", "args": []}}}, "excluded": ["none"]},
    "projects": {"/p": {"mcpServers": {"four": {"command": "x"}}}},
    "context_servers": {"five": {"command": "x"}},
    "extensions": {"six": {"cmd": "x", "type": "stdio", "envs": {"A": "1"}, "env_keys": ["TOKEN"]}},
    "wrapped": {"mcpServers": [{"name": "seven", "command": "x"}]},
    "mcp_servers": {"eight": {"name": "n", "packages": [{"registryType": "npm", "identifier": "p", "runtimeArguments": [
        {"type": "named", "name": "--a", "value": "{v}", "variables": {"v": {"default": "1"}}}], "environmentVariables": [{"name": "E"}],
        "transport": {"type": "stdio"}}], "remotes": [{"type": "sse", "url": "https://x.example", "headers": [{"name": "H", "value": "v"}]}]}},
    "servers": {"nine": {"manifest_version": "1", "name": "b", "user_config": {"k": {"default": "d"}},
                         "server": {"type": "node", "mcp_config": {"command": "node", "args": ["x"], "env": {"K": "v"}}}}},
})  # fmt: skip
"""One file with a part of every kind."""


def places(value: Any, where: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of every part of `value`."""
    yield where
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from places(each, (*where, key))


PLACES = [where for where in places(json.loads(SAMPLE)) if where]

texts = st.text(max_size=12) | st.sampled_from(
    ["${X}", "${TOKEN}", "${input:i}", "${secret:a}", "secret:a", "${file:/etc/shadow}", "{env:TOKEN}", "stdio", "http", "sse", "http://x",
     "C:\\x", "cmd /c", "~/x", "~nobody-of-that-name/x", "'", "a\0b", "\ud800", "//[", "npm", "%APPDATA%", "${" * 9, "a" * 5000, "\u202e"]
)  # fmt: skip
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts | st.sampled_from(["command", "url", "type", "name", "id", "value"]), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@hypothesis_settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.sampled_from(PLACES), value=values)
def test_whatever_stands_in_place_of_a_part_a_good_server_beside_it_survives(
    tmp_path: Path, where: tuple[str | int, ...], value: Any
) -> None:
    document = json.loads(SAMPLE)
    inside = document
    for key in where[:-1]:
        inside = inside[key]
    inside[where[-1]] = value
    if not isinstance(document["mcpServers"], dict):
        document["mcpServers"] = {}
    document["mcpServers"]["good"] = NPX
    text = json.dumps(document)
    (tmp_path / "mcp.json").write_text(text)
    found = read_configuration(tmp_path / "mcp.json", env=ENV, closed=[tmp_path / "state"])
    assert "good" in {spec.id for spec in found.servers}
    ids = [spec.id for spec in found.servers] + [one.id for one in found.excluded]
    assert len(set(ids)) == len(ids)
    for spec in found.servers:
        json.dumps(spec.public(), ensure_ascii=False).encode()
        assert "\0" not in "".join((*spec.command, *spec.env, *spec.env.values(), spec.cwd))
        " ".join((*spec.command, *spec.env, *spec.env.values())).encode()
    for one in found.excluded:
        assert one.reason.startswith(str(tmp_path))
        json.dumps(one.to_dict(), ensure_ascii=False).encode()
    "".join((*found.notices, *found.problems)).encode()


def brief(spec: ServerSpec) -> str:
    return spec.url or " ".join(spec.command)


@pytest.mark.parametrize("name", STYLES)
def test_every_style_gives_its_servers(tmp_path: Path, name: str) -> None:
    style = STYLES[name]

    def filled(value: Any) -> Any:
        return (
            value.format(folder=tmp_path, home=Path.home())
            if isinstance(value, str) and "{" in value[:8] + value
            else value
        )

    found = read(tmp_path, style)
    servers = {spec.id: spec for spec in found.servers}
    expected = {
        id: text.replace("{folder}", str(tmp_path)).replace("{home}", str(Path.home()))
        for id, text in style.servers.items()
    }
    assert {id: brief(spec) for id, spec in servers.items()} == expected
    assert {one.id for one in found.excluded} == style.excluded.keys()
    for one in found.excluded:
        assert style.excluded[one.id] in one.reason
    for id, fields in style.more.items():
        for key, value in fields.items():
            wanted = value.replace("{folder}", str(tmp_path)) if isinstance(value, str) else value
            assert getattr(servers[id], key) == wanted, (id, key)
    unread = [f"{tmp_path / style.name}: not read: {style.unread}."] if style.unread else []
    assert [notice for notice in found.notices if "not read" in notice] == unread
    assert found.problems == ()
    said = [f"{spec.id}: {notice}" for spec in found.servers for notice in spec.notices]
    said += [notice for notice in found.notices if notice not in unread]
    for part in style.notices:
        assert any(part in line for line in said), (part, said)
    assert len(said) == len(style.notices), said


def test_the_table_has_every_client_and_more() -> None:
    assert len(STYLES) >= 60
