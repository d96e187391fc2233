"""An event loop on a thread of its own, for a caller that is synchronous."""

from __future__ import annotations

import contextlib
import queue
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any, TypeVar

from workbench.events import MisuseError

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal

T = TypeVar("T")


class BackgroundLoop:
    """The event loop of one `Workbench`.

    With it the same object works in a plain script, in a kernel whose own loop runs, and in Streamlit's threads.
    """

    def __init__(self) -> None:
        from anyio.from_thread import start_blocking_portal

        self._stack = contextlib.ExitStack()
        self._closed = False
        self.portal: BlockingPortal = self._stack.enter_context(start_blocking_portal())

    def check_open(self) -> None:
        """Refuse to go on after `close`.

        Raises:
            MisuseError: this was closed.
        """
        if self._closed:
            raise MisuseError("This workbench is closed.", hint="Open another with workbench.open().")

    def start(self, function: Callable[..., Awaitable[T]], *args: Any) -> Future[T]:
        """Start a coroutine function on the loop; cancelling the future cancels it."""
        self.check_open()
        return self.portal.start_task_soon(function, *args)

    def run(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Run a coroutine function on the loop; interrupting cancels it."""
        future = self.start(function, *args)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise

    def iterate(self, source: Callable[[], AsyncIterator[T]]) -> Iterator[T]:
        """An asynchronous iterator as a synchronous one. Leaving it early cancels what it stands for."""
        self.check_open()
        items: queue.SimpleQueue[Any] = queue.SimpleQueue()
        end = object()

        async def pump() -> None:
            try:
                async with contextlib.aclosing(source()) as stream:  # type: ignore[type-var]
                    async for item in stream:
                        items.put(item)
            finally:
                items.put(end)

        future = self.portal.start_task_soon(pump)
        try:
            while (item := items.get()) is not end:
                yield item
            with contextlib.suppress(CancelledError):
                future.result()
        finally:
            if not future.done():
                future.cancel()
                if sys.exc_info()[0] is GeneratorExit:
                    while items.get() is not end:  # let the provider and the tools notice before the caller goes on
                        pass

    def close(self, last: Callable[[], Awaitable[object]]) -> None:
        """Run `last` on the loop and end it; does nothing the second time."""
        if self._closed:
            return
        self._closed = True
        with self._stack:
            self.portal.call(last)

    def abandon(self) -> None:
        """End the loop from an `except` block; what was started on it is cancelled."""
        # With the exception, so that the loop's thread cancels what was begun: an interrupt may have come before
        # the task was in our hands, and the thread would wait for it for ever.
        self._closed = True
        self._stack.__exit__(*sys.exc_info())
