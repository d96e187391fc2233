"""The colour and the words of every way in which a call can end."""

from __future__ import annotations

from parts.formatting import plain

OUTCOMES = {
    "ok": ("green", "ok"),
    "tool_error": ("red", "tool error"),
    "invalid": ("orange", "invalid arguments"),
    "not_found": ("orange", "not found"),
    "denied": ("red", "denied"),
    "approval_required": ("orange", "needs approval"),
    "throttled": ("orange", "throttled"),
    "timeout": ("red", "timed out"),
    "unavailable": ("red", "unavailable"),
    "cancelled": ("gray", "cancelled"),
    "failed": ("red", "failed"),
}
"""Every way a call can end: its colour, and what a person reads."""


def outcome(kind: str) -> str:
    """How a call ended, coloured, as Markdown."""
    colour, word = OUTCOMES.get(kind, ("gray", kind))
    return f":{colour}[{plain(word)}]"
