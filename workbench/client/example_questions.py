"""Questions to try first, as the command line and the app offer them."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.registry import ServerState
from workbench.server_manifests import bundled_manifests


def examples(servers: Sequence[ServerState]) -> tuple[str, ...]:
    """What can be asked of these servers, as their manifests say; empty when nothing is known of what they hold."""
    ids = {s.id for s in servers}
    found = [e for manifest in bundled_manifests() if manifest.id in ids for e in manifest.examples]
    return tuple(e.question for e in sorted(found, key=lambda e: e.order) if ids.issuperset(e.servers))
