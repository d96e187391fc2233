"""Writes `server.json` of every server: `python -m servers.manifest`.

The format is that of the official registry (schema of 2025-12-11). What it has no field for, scopes and personal
columns of each tool, stands where it lets publishers add their own.
"""

from __future__ import annotations

import asyncio
import importlib
import json
from pathlib import Path
from typing import Any

SCHEMA = "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"
OURS = "io.modelcontextprotocol.registry/publisher-provided"
FOLDER = Path(__file__).resolve().parent
NAMES = ("products", "crm", "tickets", "payments", "calendar", "analytics", "knowledge", "files", "tables")


def load(name: str) -> Any:
    """The server of that name over what it serves by default; `tables` over the sample company's files."""
    module = importlib.import_module(f"servers.{name}.server")
    if name == "files":
        return module.build(module.Tree(module.SAMPLE))
    if name == "knowledge":
        return module.build(module.default_library())
    if name == "tables":
        return module.build(module.Folder(FOLDER.parent / "data" / "files"))
    return module.server


async def manifest(name: str) -> dict[str, Any]:
    """The content of a server's `server.json`, from what the server says of itself."""
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
    return {
        "$schema": SCHEMA,
        "name": f"local.mcp-workbench/{name}",
        "title": str(server.title).split(" in ")[0],
        "description": server.description,
        "version": server.version,
        "_meta": {
            OURS: {
                "workbench/command": ["python", "server.py"],
                "workbench/transports": ["stdio", "streamable-http"],
                "workbench/scopes": sorted({scope for t in tools.values() for scope in t["scopes"]}),
                "workbench/tools": tools,
            }
        },
    }


def main() -> None:
    """Write all manifests."""
    for name in NAMES:
        text = json.dumps(asyncio.run(manifest(name)), indent=2) + "\n"
        (FOLDER / name / "server.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
