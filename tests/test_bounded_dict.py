"""A dict that keeps its newest entries."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.bounded_dict import BoundedDict


def test_writing_one_more_drops_the_oldest() -> None:
    kept: BoundedDict[str, int] = BoundedDict(2)
    kept["a"], kept["b"], kept["c"] = 1, 2, 3
    assert list(kept.items()) == [("b", 2), ("c", 3)]


def test_setdefault_and_update_are_bounded_as_well() -> None:
    kept: BoundedDict[str, list[int]] = BoundedDict(2)
    for key in "abc":
        kept.setdefault(key, []).append(1)
    assert list(kept) == ["b", "c"]
    kept.update({"d": [], "e": []})
    assert list(kept) == ["d", "e"]


def test_an_entry_that_is_used_or_written_again_outlives_older_ones() -> None:
    kept: BoundedDict[str, int] = BoundedDict(3)
    kept["a"], kept["b"], kept["c"] = 1, 2, 3
    assert kept.use("a") == 1
    kept["b"] = 4
    kept["d"] = 5
    assert list(kept.items()) == [("a", 1), ("b", 4), ("d", 5)]
    assert kept.use("c") is None


def test_reading_without_use_changes_no_order() -> None:
    kept: BoundedDict[str, int] = BoundedDict(2)
    kept["a"], kept["b"] = 1, 2
    assert (kept.get("a"), kept["a"]) == (1, 1)
    kept["c"] = 3
    assert list(kept) == ["b", "c"]


def test_what_made_room_is_handed_over_and_what_was_removed_is_not() -> None:
    gone: list[tuple[str, int]] = []
    kept: BoundedDict[str, int] = BoundedDict(2, dropped=lambda key, value: gone.append((key, value)))
    kept["a"], kept["b"] = 1, 2
    kept.pop("a")
    kept.make_room()
    assert gone == []
    kept["c"] = 3
    kept.make_room()
    assert (gone, list(kept)) == ([("b", 2)], ["c"])


@given(st.integers(1, 5), st.lists(st.tuples(st.integers(0, 9), st.booleans())))
def test_it_keeps_exactly_the_keys_touched_last(most: int, steps: list[tuple[int, bool]]) -> None:
    kept: BoundedDict[int, int] = BoundedDict(most)
    order: list[int] = []
    for key, write in steps:
        if write:
            kept[key] = key
        if kept.use(key) is not None:
            order = [*(other for other in order if other != key), key][-most:]
    assert list(kept) == order


def test_threads_that_write_at_once_leave_at_most_the_bound() -> None:
    kept: BoundedDict[int, int] = BoundedDict(8)
    start = threading.Barrier(4)

    def write(first: int) -> None:
        start.wait()
        for key in range(first, first + 5_000):
            kept[key % 50] = key
            kept.use((key * 7) % 50)

    with ThreadPoolExecutor(4) as pool:
        for written in [pool.submit(write, n * 13) for n in range(4)]:
            written.result()
    assert 1 <= len(kept) <= 8


def test_a_bound_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="keeps nothing"):
        BoundedDict(0)
