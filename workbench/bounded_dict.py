"""A dict that keeps its newest entries: what stands behind caches that are bounded by a number of entries."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedDict(OrderedDict[K, V]):
    """A dict of at most so many entries: writing one more drops the oldest. Writing a key makes it the newest.

    Reading costs what it costs with a dict. Threads may share it as they may share a dict: one that loses a race with
    another finds an entry gone, and never more entries than were agreed.

    Bounds of another kind are not for it: caches that count bytes (`gateway/results/result_cache.py`), or whose
    entries must
    not go while they are in use (`upstream/per_caller.py`) or not written (`audit/write/repeated_refusals.py`).

    Args:
        most: entries that are kept, at least one.
        dropped: called with key and value of an entry that made room for another; not of one that was removed.
    """

    def __init__(self, most: int, *, dropped: Callable[[K, V], object] | None = None) -> None:
        if most < 1:
            raise ValueError(f"A dict of at most {most} entries keeps nothing.")
        super().__init__()
        self._most = most
        self._dropped = dropped

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        if len(self) > self._most:
            self._drop(self._most)
        else:
            self._renew(key)  # a new one is the newest already

    def use(self, key: K) -> V | None:
        """The value of `key`, which is the newest now; None when there is none."""
        value = self.get(key)
        if value is not None:
            self._renew(key)
        return value

    def make_room(self) -> None:
        """Drop the oldest where one more would be too many: before something scarce is opened for the new one."""
        if len(self) >= self._most:
            self._drop(self._most - 1)

    def _renew(self, key: K) -> None:
        try:
            self.move_to_end(key)
        except KeyError:  # another thread dropped it meanwhile
            return

    def _drop(self, left: int) -> None:
        while len(self) > left:
            try:
                key, value = self.popitem(last=False)
            except KeyError:  # another thread was quicker
                return
            if self._dropped is not None:
                self._dropped(key, value)
