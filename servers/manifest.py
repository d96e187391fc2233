"""Writes `server.json` of every server: `python -m servers.manifest`.

The format is that of the official registry (schema of 2025-12-11). What it has no field for stands where it lets
publishers add their own: scopes and personal columns of each tool, which are written from what the server says of
itself, and how the workbench launches it, which is kept as it was written by hand.
"""

from __future__ import annotations

import asyncio
import importlib
import json
from pathlib import Path
from typing import Any

from servers.tool_server import ToolServer

SCHEMA = "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"
OURS = "io.modelcontextprotocol.registry/publisher-provided"
FOLDER = Path(__file__).resolve().parent
NAMES = tuple(sorted(path.parent.name for path in FOLDER.glob("*/server.py")))
"""Every folder with a `server.py` is a server."""

BY_HAND: dict[str, Any] = {
    "workbench/command": ["python", "server.py"],
    "workbench/launch": {},
    "workbench/examples": [],
}
"""What is kept from the present file, and what it is in a new one. `workbench/server_manifests.py` reads it."""


def load(name: str) -> ToolServer[Any]:
    """The server of that name, without what it serves: enough to list what it offers."""
    server: ToolServer[Any] = importlib.import_module(f"servers.{name}.server").server
    return server


async def manifest(name: str) -> dict[str, Any]:
    """The content of a server's `server.json`."""
    server = load(name)
    tools = {}
    for tool in await server.list_tools():
        meta, hints = tool.meta or {}, tool.annotations
        tools[tool.name] = {
            "scopes": meta.get("workbench/scopes", []),
            "pii": meta.get("workbench/pii", {}),
            "readOnly": bool(hints and hints.read_only_hint),
            "destructive": bool(hints and hints.destructive_hint),
        }
    written = _written(name)
    by_hand = {key: written.get(key, value) for key, value in BY_HAND.items()}
    return {
        "$schema": SCHEMA,
        "name": f"local.mcp-workbench/{name}",
        "title": server.title,
        "description": server.description,
        "version": server.version,
        "_meta": {
            OURS: {
                **by_hand,
                "workbench/transports": ["stdio", "streamable-http"],
                "workbench/scopes": sorted({scope for t in tools.values() for scope in t["scopes"]}),
                "workbench/tools": tools,
            }
        },
    }


def _written(name: str) -> dict[str, Any]:
    """What publishers add, in the present file; empty when there is none."""
    try:
        text = (FOLDER / name / "server.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    added: dict[str, Any] = json.loads(text)["_meta"][OURS]
    return added


def main() -> None:
    """Write all manifests."""
    for name in NAMES:
        text = json.dumps(asyncio.run(manifest(name)), indent=2) + "\n"
        (FOLDER / name / "server.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
