"""The same thing elsewhere: a call in Python, in a terminal and with curl; the platform in other clients."""

from __future__ import annotations

import json
import keyword
import shlex
from typing import Any

JSON = dict[str, Any]

TOKEN = "$WORKBENCH_TOKEN"
"""What stands in a snippet while the token is hidden."""


def python_call(tool: str, arguments: JSON) -> str:
    """The call in a script or a notebook."""
    if all(k.isidentifier() and not keyword.iskeyword(k) and k != "timeout" for k in arguments):
        given = "".join(f",\n    {k}={v!r}" for k, v in arguments.items())
        line = f"result = wb.call({tool!r}{given}{chr(10) if given else ''})"
    else:
        line = f"result = wb.call_with({tool!r}, {arguments!r})"
    return f"import workbench\n\nwb = workbench.open()\n{line}\nresult.data"


def terminal_call(tool: str, arguments: JSON) -> str:
    """The call in a terminal: `key=text`, and `key:=json` for everything that is no text."""
    words = ["workbench", "call", tool]
    for key, value in arguments.items():
        plain = isinstance(value, str) and ":" not in key and "=" not in key and key
        words.append(f"{key}={value}" if plain else f"{key}:={json.dumps(value, ensure_ascii=False)}")
    if any("=" in key or key.endswith(":") or not key for key in arguments):  # no pair can say such a name
        words = ["workbench", "call", tool, "--args", json.dumps(arguments, ensure_ascii=False)]
    return shlex.join(words)


def curl_call(url: str, tool: str, arguments: JSON) -> str:
    """The call over the management API."""
    body = shlex.quote(json.dumps({"tool": tool, "arguments": arguments}, ensure_ascii=False))
    return (
        f'curl -s {url}/api/platform/call \\\n  -H "Authorization: Bearer {TOKEN}" \\\n'
        f"  -H 'Content-Type: application/json' \\\n  -d {body}"
    )


def clients(url: str, token: str) -> dict[str, tuple[str, str, str]]:
    """Per client: where the text goes, its language, and the text.

    Args:
        url: the MCP endpoint.
        token: the bearer token, or the name of the variable that holds it.
    """
    bearer = f"Bearer {token}"
    entry = {"url": url, "headers": {"Authorization": bearer}}
    return {
        "Claude Code": (
            "In a terminal:",
            "bash",
            f'claude mcp add --transport http workbench {url} \\\n  --header "Authorization: {bearer}"',
        ),
        "Cursor": (
            "In `~/.cursor/mcp.json`, or `.cursor/mcp.json` of a project:",
            "json",
            json.dumps({"mcpServers": {"workbench": entry}}, indent=2),
        ),
        "VS Code": (
            "In `.vscode/mcp.json`:",
            "json",
            json.dumps({"servers": {"workbench": {"type": "http", **entry}}}, indent=2),
        ),
        "Python": (
            "With this project, in a script or a notebook on this machine; no token is needed:",
            "python",
            "import workbench\n\nwb = workbench.open()\nwb.tools()\nwb.ask('How many support tickets are open?')",
        ),
        "Any MCP client": (
            "Streamable HTTP with one header:",
            "text",
            f"{url}\nAuthorization: {bearer}",
        ),
    }
