"""How soon a server that hangs is known to."""

from __future__ import annotations

from workbench.config import Settings
from workbench.registry import health


def test_a_hanging_server_is_known_to_within_fifteen_seconds_of_any_moment() -> None:
    first = Settings().health_interval + health.PATIENCE
    assert first + (health.MISSES - 1) * (health.RECHECK + health.PATIENCE) <= 15
    listing = 2 * health.PATIENCE  # the same when it hangs while it is asked for its tools
    assert listing + (health.MISSES - 1) * (health.RECHECK + health.PATIENCE) <= 15
