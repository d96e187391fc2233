"""A call under way: looked at, waited for, or cancelled from another thread than the one that began it."""

from __future__ import annotations

import time
from concurrent.futures import CancelledError, Future, wait

from workbench.client.results import Result
from workbench.events import JSON, Outcome


class PendingCall:
    """A tool call that was started with `Workbench.start_call` and can be waited for or cancelled.

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
        """Seconds since the call was started."""
        return time.monotonic() - self._began

    @property
    def done(self) -> bool:
        """Whether the call has ended; true for a cancelled one, too."""
        return self._future.done()

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` ended the call."""
        return self._future.cancelled()

    def wait(self, seconds: float) -> bool:
        """Wait for at most `seconds`; returns whether the call has ended."""
        return bool(wait((self._future,), seconds).done)

    def cancel(self) -> None:
        """Cancel the call at the tool; it is recorded as cancelled. Does nothing when the call has ended."""
        self._future.cancel()

    def result(self) -> Result | None:
        """Wait until the call has ended, and return its result; None when it was cancelled.

        Raises:
            NotRecordedError: the record cannot be written, so nothing is answered.
            UnreachableError: the platform went away.
        """
        try:
            return Result(self.tool, self.arguments, self._future.result())
        except CancelledError:
            return None

    def __repr__(self) -> str:
        state = "cancelled" if self.cancelled else "done" if self.done else "under way"
        return f"<PendingCall {self.tool}, {state}>"
