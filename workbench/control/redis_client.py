"""Connections to Redis, for whatever all processes of a deployment share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.events import MisuseError

if TYPE_CHECKING:
    from redis.asyncio import Redis

_MAX_CONNECTIONS = 64


def redis_client(url: str, timeout: float | None, setting: str = "redis_url") -> Redis:
    """A client that connects when it is used.

    Args:
        url: `redis://`, `rediss://` or `unix://`.
        timeout: seconds for connecting and for each answer; None waits, as a subscription has to.
        setting: where the URL comes from, for messages.

    Raises:
        MisuseError: redis-py is not installed, or it cannot read the URL.
    """
    try:
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ImportError as e:
        raise MisuseError(f"Setting {setting} needs the package redis.", hint="pip install redis") from e
    try:
        client: Redis = Redis.from_url(
            url,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            max_connections=_MAX_CONNECTIONS,
            # once more at once: a connection that Redis closed while idle is no failure
            retry=Retry(NoBackoff(), 1),
        )
    except ValueError as e:
        # the URL may hold a password, so it is not repeated
        raise MisuseError(
            f"Setting {setting} cannot be read.", hint="Expected redis://host:6379/0 or rediss://…"
        ) from e
    return client
