"""Addresses of resources where several servers stand behind one endpoint.

A resource keeps its address, because results and tools of servers refer to it; `gateway://server/address` is understood
for each, too. Pages of apps (`ui://`, extension MCP Apps) are referred to by definitions of tools, which pass through
here: they always get an address that names their server, in lists and in definitions alike. It has to begin with `ui://`.
"""

from __future__ import annotations

from typing import Final

from workbench.events import JSON

PREFIX: Final = "gateway://"
PAGE: Final = "ui://"
PAGE_PREFIX: Final = "ui://gateway/"

_FLAT: Final = "ui/resourceUri"
"""The key of `_meta` in which the first servers with apps said what is in `ui.resourceUri` now."""


def qualified(server: str, uri: str) -> str:
    """The address that names the server."""
    if uri.startswith(PAGE):
        return f"{PAGE_PREFIX}{server}/{uri.removeprefix(PAGE)}"
    return f"{PREFIX}{server}/{uri}"


def split(uri: str) -> tuple[str, str] | None:
    """The server that an address names, and its own address there; None when it names none."""
    for prefix, own in ((PREFIX, ""), (PAGE_PREFIX, PAGE)):
        if uri.startswith(prefix):
            server, _, rest = uri.removeprefix(prefix).partition("/")
            return server, own + rest
    return None


def with_page(definition: JSON, server: str) -> JSON:
    """The definition of a tool with the address under which its page is listed here."""
    meta = definition.get("_meta")
    if not isinstance(meta, dict):
        return definition
    found: JSON = {}
    app = meta.get("ui")
    if isinstance(app, dict) and _is_page(app.get("resourceUri")):
        found["ui"] = {**app, "resourceUri": qualified(server, app["resourceUri"])}
    if _is_page(meta.get(_FLAT)):
        found[_FLAT] = qualified(server, meta[_FLAT])
    return {**definition, "_meta": {**meta, **found}} if found else definition


def _is_page(uri: object) -> bool:
    return isinstance(uri, str) and uri.startswith(PAGE)
