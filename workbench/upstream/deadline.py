"""How long a request may take: as long as its server shows that it works on it, up to a bound.

The specification allows the clock to be set back by progress, and wants a bound that holds in any case (2025-06-18 and
later, basic/lifecycle, "Timeouts").
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from workbench.events import JSON
from workbench.upstream.jsonrpc_messages import Notify

Renew = Callable[[], None]
"""Called with each sign of life of one request."""


def renewal(timer: asyncio.Timeout, timeout: float | None, longest: float | None) -> Renew | None:
    """What sets `timer` back to `timeout` seconds from now; None when nothing does.

    Only messages about this very request count. Comments that keep a stream open come from the web server of a tool
    that hangs as well as from that of one that works.

    Args:
        timer: of the request, just started.
        timeout: seconds without a sign of life.
        longest: seconds in all; None or no more than `timeout`: nothing extends the deadline.
    """
    if timeout is None or longest is None or longest <= timeout:
        return None
    clock = asyncio.get_running_loop().time
    end = clock() + longest

    def renew() -> None:
        until = timer.when()
        if until is not None and (later := min(clock() + timeout, end)) > until:  # it may stand later for a person
            with contextlib.suppress(RuntimeError):  # it is over already
                timer.reschedule(later)

    return renew


def renewing(notify: Notify | None, renew: Renew | None) -> Notify | None:
    """`notify` that takes each notification for a sign of life, before anybody has read it."""
    if notify is None or renew is None:
        return notify
    tell = notify

    async def told(message: JSON) -> None:
        renew()
        await tell(message)

    return told
