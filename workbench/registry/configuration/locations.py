"""Where clients keep their configuration of MCP servers on this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from workbench.events import MisuseError
from workbench.registry.configuration.client_layouts import find_servers
from workbench.registry.configuration.file_syntax import read_document
from workbench.suggestions import close_names

MAX_LOOKED_AT: Final = 4 << 20
"""Largest file, in bytes, whose servers are counted for an offer."""

_PLACES: Final[dict[str, tuple[str, ...]]] = {
    # client → files, the user's own before those of the project in the working folder ({cwd});
    # {config} is where programs with windows keep things, {code} is that folder of VS Code
    "claude": ("{config}/Claude/claude_desktop_config.json",),
    "claude-code": ("{home}/.claude.json", "{cwd}/.mcp.json"),
    "cursor": ("{home}/.cursor/mcp.json", "{cwd}/.cursor/mcp.json"),
    "vscode": (
        "{code}/mcp.json", "{code}/settings.json", "{config}/Code - Insiders/User/mcp.json",
        "{config}/VSCodium/User/mcp.json", "{cwd}/.vscode/mcp.json",
    ),
    "windsurf": ("{home}/.codeium/windsurf/mcp_config.json", "{home}/.codeium/mcp_config.json"),
    "cline": (
        "{code}/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json",
        "{home}/.cline/data/settings/cline_mcp_settings.json",
    ),
    "roo": ("{code}/globalStorage/rooveterinaryinc.roo-cline/settings/mcp_settings.json", "{cwd}/.roo/mcp.json"),
    "kiro": ("{home}/.kiro/settings/mcp.json", "{cwd}/.kiro/settings/mcp.json"),
    "amazonq": ("{home}/.aws/amazonq/mcp.json", "{home}/.aws/amazonq/default.json", "{cwd}/.amazonq/mcp.json"),
    "gemini": ("{home}/.gemini/settings.json", "{cwd}/.gemini/settings.json"),
    "qwen": ("{home}/.qwen/settings.json", "{cwd}/.qwen/settings.json"),
    "copilot": ("{home}/.copilot/mcp-config.json",),
    "codex": ("{codex}/config.toml", "{cwd}/.codex/config.toml"),
    "opencode": (
        "{xdg}/opencode/opencode.json", "{xdg}/opencode/opencode.jsonc", "{cwd}/opencode.json", "{cwd}/opencode.jsonc",
    ),
    "crush": ("{xdg}/crush/crush.json", "{cwd}/.crush.json", "{cwd}/crush.json"),
    "zed": ("{xdg}/zed/settings.json", "{config}/Zed/settings.json", "{cwd}/.zed/settings.json"),
    "goose": ("{xdg}/goose/config.yaml", "{config}/Block/goose/config/config.yaml"),
    "continue": ("{home}/.continue/config.yaml", "{home}/.continue/config.json"),
    "lmstudio": ("{home}/.lmstudio/mcp.json", "{home}/.cache/lm-studio/mcp.json"),
    "junie": ("{home}/.junie/mcp/mcp.json", "{cwd}/.junie/mcp/mcp.json"),
    "amp": ("{xdg}/amp/settings.json", "{cwd}/.amp/settings.json"),
    "visualstudio": ("{home}/.mcp.json", "{cwd}/.vs/mcp.json"),
    "trae": ("{config}/Trae/User/mcp.json", "{cwd}/.trae/mcp.json"),
}  # fmt: skip

CLIENTS: Final = tuple(_PLACES)

_OTHER_NAMES: Final = {
    "claude-desktop": "claude", "claudecode": "claude-code", "code": "vscode", "vs-code": "vscode",
    "amazon-q": "amazonq",
    "q": "amazonq", "gemini-cli": "gemini", "copilot-cli": "copilot", "github-copilot": "copilot", "roo-code": "roo",
    "lm-studio": "lmstudio", "jetbrains": "junie", "visual-studio": "visualstudio", "qwen-code": "qwen",
}  # fmt: skip


def places_of(
    client: str, *, env: Mapping[str, str] | None = None, cwd: Path | None = None, platform: str = sys.platform
) -> list[Path]:
    """The files in which a client may keep its servers, whether they exist or not.

    Args:
        client: one of CLIENTS.
        env: the environment, for the folders that it names; default is that of the process.
        cwd: the project; default is the working folder.
        platform: as `sys.platform`.

    Raises:
        MisuseError: no such client is known.
    """
    name = client.strip().lower().replace(" ", "-").replace("_", "-")
    name = _OTHER_NAMES.get(name, name)
    if name not in _PLACES:
        close = close_names(name, CLIENTS)
        hint = f"Did you mean {' or '.join(close)}?" if close else f"Known are {', '.join(CLIENTS)}."
        raise MisuseError(f"No client {client!r} is known.", hint=hint)
    folders = _folders(os.environ if env is None else env, cwd or Path.cwd(), platform)
    return list(dict.fromkeys(Path(place.format_map(folders)) for place in _PLACES[name]))


def _folders(env: Mapping[str, str], cwd: Path, platform: str) -> dict[str, str]:
    home = env.get("USERPROFILE" if platform == "win32" else "HOME") or str(Path.home())
    xdg = env.get("XDG_CONFIG_HOME") or f"{home}/.config"
    if platform == "darwin":
        config = f"{home}/Library/Application Support"
    elif platform == "win32":
        config = env.get("APPDATA") or f"{home}/AppData/Roaming"
    else:
        config = xdg
    return {"home": home, "cwd": str(cwd), "xdg": xdg, "config": config, "code": f"{config}/Code/User",
            "codex": env.get("CODEX_HOME") or f"{home}/.codex"}  # fmt: skip


def installed(*, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> dict[str, dict[Path, int]]:
    """The configurations that are on this machine: client → file → how many servers it has. Nothing of them is run."""
    found: dict[str, dict[Path, int]] = {}
    for client in CLIENTS:
        for path in places_of(client, env=env, cwd=cwd):
            try:
                if not path.is_file() or path.stat().st_size > MAX_LOOKED_AT:
                    continue
                number = len(find_servers(read_document(path).value, path).servers)
            except (MisuseError, OSError):  # whoever adds it is told what is wrong with it
                continue
            if number:
                found.setdefault(client, {})[path] = number
    return found
