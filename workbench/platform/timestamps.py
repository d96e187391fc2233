"""Times as people write them."""

from __future__ import annotations

from datetime import UTC, datetime

from workbench.events import MisuseError


def microseconds(text: str | None) -> int:
    """An ISO 8601 time (UTC unless it says otherwise) as µs since the epoch; 0 for None.

    Raises:
        MisuseError: it is none.
    """
    if text is None:
        return 0
    try:
        found = datetime.fromisoformat(text)
    except ValueError as e:
        raise MisuseError(f"{text!r} is no time.", hint="Expected e.g. 2026-11-20 or 2026-11-20T14:30.") from e
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1e6)
