"""A question under way. It runs on a thread of its own, so that the screen can be redrawn, left and come back to."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import workbench


class LiveRun:
    """Collects the events of one run as they happen."""

    def __init__(
        self, bench: workbench.Workbench, question: str, *, provider: str | None, history: Sequence[dict[str, str]]
    ) -> None:
        self.question = question
        self.events: list[workbench.AnyRunEvent] = []
        self.error: workbench.WorkbenchError | None = None
        self.fault: BaseException | None = None
        self.stopping = False
        self._bench, self._provider, self._history = bench, provider, list(history)
        self._news, self._over = threading.Condition(), False
        threading.Thread(target=self._read, name="run", daemon=True).start()

    @property
    def finished(self) -> bool:
        return self._over

    @property
    def id(self) -> str:
        return self.events[0].run if self.events else ""

    def wait(self, seen: int, seconds: float) -> None:
        """Until there are more than `seen` events or the run is over, at most `seconds`."""
        with self._news:
            self._news.wait_for(lambda: len(self.events) > seen or self.finished, seconds)

    def stop(self) -> None:
        """Cancel the run: the provider stops, tools are cancelled. Returns at once."""
        self.stopping = True
        if self.id:
            threading.Thread(target=self._cancel, args=(self.id,), daemon=True).start()

    def _cancel(self, run: str) -> None:
        try:
            self._bench.cancel(run)
        except workbench.WorkbenchError as e:
            self.error = self.error or e

    def _read(self) -> None:
        stream = self._bench.ask_stream(self.question, provider=self._provider, history=self._history)
        try:
            for event in stream:
                with self._news:
                    self.events.append(event)
                    self._news.notify_all()
                if self.stopping and len(self.events) == 1:  # asked to stop before there was an id
                    self._bench.cancel(event.run)
        except workbench.WorkbenchError as e:
            self.error = e
        except Exception as e:  # noqa: BLE001  a bug: raised again on the script's thread, where it shows
            self.fault = e
        finally:
            with self._news:
                self._over = True
                self._news.notify_all()
