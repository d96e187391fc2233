"""What a tool says of itself: the protocol's annotations, and the scopes and personal columns we add in `_meta`."""

from __future__ import annotations

from typing import Any

from mcp_types import ToolAnnotations

READ = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
"""Changes nothing."""

ADD = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False)
"""Adds something; calling twice adds it twice."""

DESTROY = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=False, open_world_hint=False)
"""Ends, cancels or pays back something; a person has to approve it."""

CONTACT = {"email": "email", "phone": "phone"}
"""Columns with contact data, and the kind of each."""


CATALOGUE_S = 60
"""Seconds for which answers over tables that no tool changes may be given again."""


def labels(*scopes: str, pii: dict[str, str] | None = None, cache_s: int = 0) -> dict[str, Any]:
    """The `_meta` of a tool.

    Args:
        scopes: all of them are needed to call the tool.
        pii: name of each column with personal data, and its kind (`email`, `phone`, `ssn`).
        cache_s: seconds for which the same question has the same answer, whoever asks; 0 when that is not so.
    """
    meta: dict[str, Any] = {"workbench/scopes": list(scopes)}
    if pii:
        meta["workbench/pii"] = pii
    if cache_s:
        meta["workbench/cache"] = {"ttl_ms": cache_s * 1000, "scope": "public"}
    return meta
