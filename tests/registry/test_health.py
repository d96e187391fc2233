"""How soon a server that hangs is known to."""

from __future__ import annotations

from workbench.config import Settings
from workbench.registry import health


def test_a_hanging_server_is_known_to_within_fifteen_seconds_of_any_moment() -> None:
    first = Settings().health_interval + health.PROBE_TIMEOUT_S
    assert first + (health.MAX_MISSES - 1) * (health.RECHECK_INTERVAL_S + health.PROBE_TIMEOUT_S) <= 15
    listing = 2 * health.PROBE_TIMEOUT_S  # the same when it hangs while it is asked for its tools
    assert listing + (health.MAX_MISSES - 1) * (health.RECHECK_INTERVAL_S + health.PROBE_TIMEOUT_S) <= 15
