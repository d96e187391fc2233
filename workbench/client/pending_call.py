"""A call under way: looked at, waited for, or cancelled from another thread than the one that began it."""

from __future__ import annotations

import time
from concurrent.futures import CancelledError, Future, wait

from workbench.client.results import Result
from workbench.events import JSON, Outcome


class PendingCall:
    """What `Workbench.start_call` gives.

    Args:
        tool: qualified name.
        arguments: as sent.
        future: of the outcome; cancelling it cancels the call, down to the tool.
    """

    def __init__(self, tool: str, arguments: JSON, future: Future[Outcome]) -> None:
        self.tool = tool
        self.arguments = arguments
        self._future = future
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._began

    @property
    def done(self) -> bool:
        """Whether it is over, cancelled included."""
        return self._future.done()

    @property
    def cancelled(self) -> bool:
        """Whether it was ended by `cancel`."""
        return self._future.cancelled()

    def wait(self, seconds: float) -> bool:
        """Whether it is over after at most `seconds`."""
        return bool(wait((self._future,), seconds).done)

    def cancel(self) -> None:
        """End it: the tool is told, and the record has the call as cancelled. Nothing happens when it is over."""
        self._future.cancel()

    def result(self) -> Result | None:
        """How it ended, once it has; None when it was cancelled. Waits when it is not over.

        Raises:
            NotRecorded: the record cannot be written, so nothing is answered.
            Unreachable: the platform went away.
        """
        try:
            return Result(self.tool, self.arguments, self._future.result())
        except CancelledError:
            return None

    def __repr__(self) -> str:
        state = "cancelled" if self.cancelled else "done" if self.done else "under way"
        return f"<PendingCall {self.tool}, {state}>"
