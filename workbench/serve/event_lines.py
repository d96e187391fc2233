"""What happens while `workbench up` runs, one line each: servers that end or come back, changed files refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from workbench.events import JSON, counted
from workbench.show import brief

if TYPE_CHECKING:
    from workbench.platform.platform import Platform

INTERVAL_S: Final = 1.0
"""Seconds between two looks at what is said of rules, roles and the control store; each is read again as often."""
WIDTH: Final = 300
"""Characters of a reason."""


class EventLines:
    """Says in words what happens to servers and to files that are read again.

    Args:
        platform: of which it tells from now on.
        say: is given each line.
    """

    def __init__(self, platform: Platform, say: Callable[[str], None]) -> None:
        self._platform = platform
        self._say = say
        self._said: dict[str, tuple[str, str]] = {
            state.id: (state.status, brief(state.last_error, WIDTH)) for state in platform.servers()
        }
        self._problems = self._look()
        platform.registry.on_event.append(self.server)

    def server(self, server: str, event: str, detail: JSON) -> None:
        """Something was put on the record about a server: say it, unless it is what was said last of that server."""
        if server == "platform":
            self._say(f"platform: {event.replace('_', ' ')}{_reason(detail)}")
        elif event in ("down", "failed"):
            told = (event, brief(str(detail.get("why", "")), WIDTH))
            if self._said.get(server) != told:
                self._said[server] = told
                self._say(f"{server}: {event}{_reason(detail)}")
        elif event == "ready" and self._said.get(server, ("", ""))[0] != "ready":
            self._said[server] = ("ready", "")
            more = f", {counted(int(detail['tools']), 'tool')}" if "tools" in detail else ""
            process = f", process {detail['pid']}" if detail.get("pid") else ""
            self._say(f"{server}: ready{more}{process}")

    def look(self) -> None:
        """Say what has changed of what stands in the way of rules, roles and the control store."""
        self._platform.access.look_at_roles()
        found = self._look()
        for what, problem in found.items():
            if problem != self._problems[what]:
                self._say(f"{what}: {problem or 'in order again'}")
        self._problems = found

    async def follow(self) -> None:
        """Look once in each period, until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            self.look()

    def _look(self) -> dict[str, str]:
        status = self._platform.status()
        return {what: str(status[what].get("problem") or "") for what in ("policy", "access", "control")}


def _reason(detail: JSON) -> str:
    why = brief(str(detail.get("why") or ""), WIDTH)
    return f". {why}" if why else ""
